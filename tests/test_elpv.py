"""The photos of solar cells are written unchanged, by class, and split the same way every time."""

import io
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, write_wheel
from PIL import Image

from src.ground.errors import UserError
from tools import elpv, pypi

KINDS = ("mono", "poly")
PROBABILITIES = ("0.0", "0.3333333333333333", "0.6666666666666666", "1.0")
PUBLISHED = {"000-intact": 1508, "033-perhaps": 295, "067-probably": 106, "100-defective": 715}


@pytest.fixture
def cells(shelf, monkeypatch):
    """Stands for the package: 160 cells, 20 of each probability and kind; their files by name."""
    generator, labels, files = np.random.default_rng(0), [], {}
    for number in range(160):
        buffer = io.BytesIO()
        Image.fromarray(generator.integers(0, 256, (8, 8), dtype=np.uint8)).save(buffer, "PNG")
        path = f"images/cell{number:04d}.png"
        labels.append(f"{path}  {PROBABILITIES[number % 4]}   {KINDS[number // 4 % 2]}\n")
        files[path] = buffer.getvalue()
    inside = {f"elpv_dataset/data/{path}": content for path, content in files.items()}
    package = write_wheel(shelf, "cells", {elpv.LABELS: "".join(labels), **inside})
    monkeypatch.setattr(elpv, "PACKAGE", package)
    return {Path(path).stem: content for path, content in files.items()}


def count_pictures(folder):
    """Numbers of pictures by split and class."""
    return Counter(path.parts[-3:-1] for path in folder.glob("*/*/*.png"))


def test_cells_are_written_unchanged_in_one_split_each(cells, place, capsys):
    elpv.main()
    assert count_pictures(place / "data/elpv") == {
        (split, label): number
        for split, number in (("train", 28), ("val", 6), ("test", 6))  # .15 of 20 is 3, of each kind
        for label in PUBLISHED
    }
    found = {}
    for path in (place / "data/elpv").glob("*/*/*.png"):
        name, kind = path.stem.split("-")
        number = int(name.removeprefix("cell"))
        assert path.parent.name == [*PUBLISHED][number % 4] and kind == KINDS[number // 4 % 2]
        found[name] = path.read_bytes()
    assert found == cells
    said = capsys.readouterr().out
    licence = (place / "data/elpv/LICENSE.md").read_text()
    assert all("CC BY-NC-SA 4.0: not for commercial use" in text for text in (said, licence))
    assert licence.endswith("do as you like\n")
    elpv.main()
    assert "exists already; remove it to write it again" in capsys.readouterr().out


def test_the_split_depends_on_the_pictures_alone(cells):
    """Neither on the order of the list nor on the names."""
    pictures = [elpv.Cell(name, "a", "mono", content) for name, content in cells.items()]
    renamed = [cell._replace(name=f"other-{cell.name}") for cell in reversed(pictures)]
    first, second = (
        {name: {cell.content for cell in some} for name, some in elpv.split(one).items()}
        for one in (iter(pictures), iter(renamed))
    )
    assert first == second and [len(some) for some in first.values()] == [112, 24, 24]


def test_an_interrupted_run_leaves_no_dataset(cells, place, monkeypatch):
    def raise_full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError) as error:
        patch.setattr(Path, "write_bytes", raise_full)
        elpv.main()
    assert error.value.filename == "data/elpv" and [*(place / "data").iterdir()] == []
    elpv.main()
    assert sum(count_pictures(place / "data/elpv").values()) == 160


def test_without_the_package_the_error_says_what_to_do(cells, monkeypatch):
    monkeypatch.setattr(elpv, "PACKAGE", elpv.PACKAGE._replace(name="gone"))
    with pytest.raises(UserError, match=r"^data/elpv: pip cannot download gone 0.1.0: .*connect to the in"):
        elpv.main()


@pytest.mark.slow
def test_make_elpv_writes_the_published_numbers(tmp_path):
    """2,624 cells, in the numbers that the facts of the dataset give; skipped without a connection."""
    command = [sys.executable, "-m", "tools.elpv"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    if pypi.OFFLINE in result.stderr:
        pytest.skip(result.stderr.strip())
    assert result.returncode == 0, result.stderr
    counts = count_pictures(tmp_path / "data/elpv")
    for label, number in PUBLISHED.items():
        of_label = [counts[split, label] for split in ("train", "val", "test")]
        assert sum(of_label) == number and of_label[1] == of_label[2]
        assert of_label[1] == pytest.approx(0.15 * number, abs=1)  # rounded for each of two kinds
    contents = {path.read_bytes() for path in (tmp_path / "data/elpv").glob("*/*/*.png")}
    assert len(contents) == 2624
    assert Image.open(next((tmp_path / "data/elpv").glob("*/*/*.png"))).size == (300, 300)
