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
    """Neither on the order of the list nor on the numbers."""
    pictures = [elpv.Cell(number, "a", "mono", content) for number, content in enumerate(cells.values())]
    renamed = [cell._replace(number=cell.number + 200) for cell in reversed(pictures)]
    first, second = (
        {name: {cell.content for cell in some} for name, some in elpv.split(one).items()}
        for one in (iter(pictures), iter(renamed))
    )
    assert first == second and [len(some) for some in first.values()] == [112, 24, 24]


def test_both_photos_of_a_cell_are_in_one_split(cells, monkeypatch):
    """Also where the experts gave them different classes."""
    monkeypatch.setattr(elpv, "FIRST", {number + 80: number for number in range(80)})
    labels = [*PUBLISHED]
    pictures = [
        elpv.Cell(number, labels[number % 80 % 4 - number // 80], "mono", content)
        for number, content in enumerate(cells.values())
    ]
    numbers = {name: {cell.number for cell in some} for name, some in elpv.split(iter(pictures)).items()}
    assert {name: len(some) for name, some in numbers.items()} == {"train": 112, "val": 24, "test": 24}
    assert all({(number + 80) % 160 for number in some} == some for some in numbers.values())


@pytest.mark.slow
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
    """2,624 cells, as many of each class as its authors count; skipped without a connection."""
    command = [sys.executable, "-m", "tools.elpv"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    if pypi.OFFLINE in result.stderr:
        pytest.skip(result.stderr.strip())
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "data/elpv"
    counts = count_pictures(folder)
    for label, number in PUBLISHED.items():
        of_label = [counts[split, label] for split in ("train", "val", "test")]
        assert sum(of_label) == number and of_label[1:] == pytest.approx([0.15 * number] * 2, rel=0.1)
    places = {int(path.name[4:8]): path for path in folder.glob("*/*/*.png")}
    assert len(places) == 2624 == len({path.read_bytes() for path in places.values()})
    assert {Image.open(path).size for path in places.values()} == {(300, 300)}
    for second, first in elpv.FIRST.items():
        assert places[second].parts[-3] == places[first].parts[-3]
        both = [np.asarray(Image.open(places[one]).resize((24, 24))).ravel() for one in (first, second)]
        assert np.corrcoef(both)[0, 1] > 0.8, first
