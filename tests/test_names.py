"""Every file format gives back every name that a file system can hold, as a picture's and as a class's."""

import csv
import io
import random

import numpy as np
import pytest

from src.ground.files import read_json, start_csv, write_json
from src.pictures.ledger import Ledger, write_refused
from src.pictures.manifest import CLASSES, manifest_path, read_manifest, start_manifest
from src.results.predictions import Predictions, read_predictions, write_predictions, write_table
from src.teaching.curriculum_file import read_weights, write_weights
from src.teaching.knowledge import Knowledge
from src.teaching.knowledge_file import read_knowledge, write_knowledge

TRICKY = [
    "bee\r", "\rbee", "a\r\nb", "a\nb", "\r", "\n", "\r\n", 'q"', '"', '""', ",", " lead", "trail ", "\t",
    "# base=bce", "#", "'", "\\", "a\\", "p_", "p_p_", "path", "NA", "nan", "null", "1e3", "007", "-",
    "=1+1", "\ufeffbom", "\x0b\x0c", "\x1c\x1d\x1e", "\x85", "\u2028\u2029", "\x1b[31mred", "\x7f",
    "\ufffd", "\U0001f436", "u\u0308", "\u00fc", "\ue000", "\ufffe", "x" * 255, "\u732b" * 85, ";", "|",
    "%", "$5_$10", "{x}", "*", "~",
]  # fmt: skip


def draw_names(count):
    """Names of any code points but /, NUL and surrogates; half of them of characters that formats use."""
    draw, special = random.Random(0), "\r\n\",#\\' \t=\x85\u2028;"
    names = []
    for number in range(count):
        letters = special if number % 2 else [chr(draw.randrange(1, 0x10FFFF)) for _ in range(8)]
        name = "".join(draw.choice(letters) for _ in range(draw.randrange(1, 9))).replace("/", "|")
        names.append(name.encode("utf-8", "ignore").decode() or "x")
    return names


NAMES = list(dict.fromkeys([*TRICKY, *draw_names(400)]))
PATHS = [f"train/{name}/{name}" for name in NAMES]
PROBS = np.random.default_rng(0).dirichlet(np.ones(len(NAMES)), len(NAMES)).round(7)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_rows_are_read_back_unchanged():
    text = io.StringIO()
    start_csv(text).writerows([[name, 1, name] for name in NAMES])
    text.seek(0)
    assert list(csv.reader(text)) == [[name, "1", name] for name in NAMES]


def test_plain_rows_end_in_line_feeds_and_have_no_quotes():
    text = io.StringIO()
    start_csv(text).writerows([("train/cat/1.jpg", 0.5), ("a,b", 'c"')])
    assert text.getvalue() == 'train/cat/1.jpg,0.5\n"a,b","c"""\n'


def test_manifest():
    write_json(CLASSES, NAMES)
    manifest_path("train").parent.mkdir(parents=True, exist_ok=True)
    with open(manifest_path("train"), "w", encoding="utf-8", newline="") as file:
        start_manifest(file).writerows(zip(PATHS, NAMES, ["0"] * len(NAMES), strict=True))
    manifest = read_manifest("train")
    assert manifest.paths == PATHS and manifest.classes == tuple(NAMES) == tuple(read_json(CLASSES))
    assert manifest.labels.tolist() == list(range(len(NAMES)))


def test_knowledge(folder):
    for base in ("softmax", "bce"):
        write_knowledge(folder / "distill.txt", Knowledge(base, PROBS), PATHS, NAMES)
        knowledge = read_knowledge(folder / "distill.txt", PATHS, NAMES)
        assert knowledge.base == base and np.array_equal(knowledge.probs, PROBS)


def test_curriculum(folder):
    write_weights(folder / "curriculum.txt", PATHS, np.arange(len(PATHS)))
    assert np.array_equal(read_weights(folder / "curriculum.txt", PATHS), np.arange(len(PATHS)))


def test_predictions(folder):
    labels = np.arange(len(NAMES))
    write_predictions(folder / "predictions.csv", Predictions(tuple(NAMES), labels, PROBS), PATHS)
    predictions, paths = read_predictions(folder / "predictions.csv")
    assert paths == PATHS and predictions.classes == tuple(NAMES)
    assert np.array_equal(predictions.labels, labels)
    assert np.array_equal(predictions.probs, PROBS)


def read_rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return [list(row.values()) for row in csv.DictReader(file)]


def test_tables_and_the_ledger(folder):
    write_table(folder / "table.csv", ("label", "prediction"), zip(NAMES, reversed(NAMES), strict=True))
    assert read_rows(folder / "table.csv") == [
        list(pair) for pair in zip(NAMES, reversed(NAMES), strict=True)
    ]
    with open(folder / "files.csv", "w", encoding="utf-8", newline="") as file:
        ledger = Ledger(file)
        for path in PATHS:
            ledger.add("train", path, "refused", f"the same pixels as {path}")
    assert read_rows(folder / "files.csv") == [
        [path, "refused", f"the same pixels as {path}"] for path in PATHS
    ]
    write_refused(folder / "bad.csv", ledger.refused)
    assert [path for path, _ in read_rows(folder / "bad.csv")] == PATHS
