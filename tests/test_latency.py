"""benchmarks.latency runs to its end on tiny sizes, and its contestants say the same."""

import math
import re
import sys

import numpy as np
import pytest
import torch

from benchmarks import latency
from src.ground.errors import UserError
from src.ground.files import write_json
from src.networks.checkpoint import Facts, save_weights
from src.networks.libraries import build_model

ARCH, SIDE = "timm/test_resnet", 32
FORMATS = ["eager", "torchscript", "torch_export", "onnx", "openvino", "openvino_int8"]


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Short turns; torch's threads, which they set, are restored."""
    for name, value in dict(ROUNDS=2, TURN=0.001, WARMING=1, BATCHES=(1, 3), THREADS=(2,), SEEN=4).items():
        monkeypatch.setattr(latency, name, value)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    """A network in all formats."""
    torch.manual_seed(0)
    return latency.export(ARCH, SIDE, tmp_path_factory.mktemp("latency"))


def read_table(monkeypatch, capsys, *arguments):
    """What it prints: names of the contestants -> ms, lowest, highest, and so the speed; all finite."""
    monkeypatch.setattr(sys, "argv", ["latency", *map(str, arguments)])
    latency.main()
    head, line, *rows, empty, last = capsys.readouterr().out.splitlines()
    assert head.startswith("| network | batch | threads | format | ms per picture |") and empty == ""
    assert re.fullmatch(r"\|( ---:? \|){8}", line) and last.startswith("Median and range of 2 rounds on ")
    table = {}
    for row in rows:
        *name, milliseconds, span, speed, speeds = row.strip("| ").split(" | ")
        numbers = [float(n) for n in (milliseconds, *span.split(" to "), speed, *speeds.split(" to "))]
        assert all(map(math.isfinite, numbers)) and min(numbers) >= 0, row
        assert numbers[1] <= numbers[0] <= numbers[2] and numbers[4] <= numbers[3] <= numbers[5], row
        assert name[3] != "eager" or numbers[3:] == [1, 1, 1], row
        table[tuple(name)] = numbers
    return table


@pytest.mark.slow
def test_every_format_of_a_network_is_timed(monkeypatch, capsys, subject):
    monkeypatch.setattr(latency, "export", lambda arch, side, folder: subject)
    table = read_table(monkeypatch, capsys, ARCH, "--side", SIDE)
    assert list(table) == [(ARCH, batch, "2", form) for batch in "13" for form in FORMATS]
    assert min(numbers[0] for numbers in table.values()) > 0


@pytest.mark.slow
def test_the_contestants_say_the_same(subject):
    """All of them of the same pictures; 8 bits up to their rounding."""
    answers = {name: np.asarray(call()) for name, call in latency.build_calls([subject]).items()}
    assert len(answers) == 2 * len(FORMATS)
    for name, probs in answers.items():
        assert probs.shape == (name.batch, latency.CLASSES)
        allowed = 0.05 if name.form == "openvino_int8" else 1e-5
        assert np.abs(probs - answers[name._replace(form="eager")]).max() < allowed, name


@pytest.mark.slow
def test_the_student_is_timed_in_the_formats_that_it_has(monkeypatch, capsys, place, subject):
    normal = (0.5,) * 3, (0.5,) * 3
    facts = Facts(ARCH, "softmax", tuple("abcdef"), SIDE, SIDE, *normal, "none", "", "", "cpu")
    save_weights(latency.STUDENT, build_model(ARCH, latency.CLASSES, "x"), facts)
    write_json(latency.CALIBRATION, {"temperature": 2.0, "threshold": 0.5, "wanted_accuracy": 0.9})
    with pytest.raises(UserError, match=r"^data/export: holds no exported file \(dvc repro\)$"):
        read_table(monkeypatch, capsys)
    latency.EXPORT.mkdir()
    (latency.EXPORT / "student.onnx").write_bytes((subject.folder / "student.onnx").read_bytes())
    table = read_table(monkeypatch, capsys)
    assert [name[3] for name in table] == ["eager", "onnx"] * 2


@pytest.mark.parametrize(
    "arguments, line",
    [
        (["resnet81"], "^ARCH: unknown network 'resnet81', did you mean "),
        ([ARCH, "--side", 0], "^--side: must be from 1 to 4096, got 0$"),
        ([ARCH, "--side", 10**6], "^--side: must be from 1 to 4096, got 1000000$"),
        (["timm/vit_tiny_patch16_224", "--side", 32], "^ARCH, --side: "),
    ],
)
def test_a_network_that_cannot_be_timed_is_refused_at_once(monkeypatch, capsys, arguments, line):
    with pytest.raises(UserError, match=line):
        read_table(monkeypatch, capsys, *arguments)


def test_speeds_are_compared_within_a_round():
    """Eager took 2 and 8 ms where the other took 1 and 2: 2 and 4 times as fast."""
    eager, other = latency.Name("net", 1, 1, "eager"), latency.Name("net", 1, 1, "onnx")
    row = latency.format_markdown({eager: [2.0, 8.0], other: [1.0, 2.0]}).splitlines()[-1]
    assert row == "| net | 1 | 1 | onnx | 1.500 | 1.000 to 2.000 | 3.00 | 2.00 to 4.00 |"
