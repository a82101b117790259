"""Figures of other pictures never stand beside those of this run."""

import hashlib
import json
from pathlib import Path

import pytest
from conftest import edit_params

from src.ground.errors import UserError
from src.results.stale import find_stale_figures
from src.teaching.teachers import find_dropped_figures
from stages import check_images
from tools import tidy

TEACHER = ["metrics/teacher/big.json", "plots/teacher/big.csv"]
STUDENT = ["metrics/student.json", "plots/student.csv"]
TEST = ["metrics/test.json", "plots/test/confusion.png", "data/predictions.csv", "data/classes.csv",
        "data/suspects.csv"]  # fmt: skip
EXPORT = ["metrics/export.json"]
LEARNING, TESTING = ["data/manifest/train.csv", "data/manifest/val.csv"], ["data/manifest/test.csv"]
OTHERS = ["metrics/ablation/x.csv", "metrics/models.csv", "plots/models.png"]  # of no stage
WEIGHTS = ["data/models/student.safetensors"]
STAGES = {  # name -> dependencies, outputs; no order, as in a lock
    "evaluate": ([*WEIGHTS, "data/models/teachers", *TESTING], TEST),
    "export_jit": ([*WEIGHTS, *TESTING], EXPORT),
    "train_student": ([*LEARNING, "data/distill"], [*WEIGHTS, *STUDENT]),
    "dump_knowledge": (["data/models/teachers", LEARNING[0]], ["data/distill"]),
    "train_teacher@big": (LEARNING, ["data/models/teachers/big.safetensors", *TEACHER]),
    "check_images": (["/a/train"], [*LEARNING, *TESTING, "metrics/data.json"]),
}


def md5(path):
    return hashlib.md5(Path(path).read_bytes()).hexdigest() if Path(path).is_file() else "x"


@pytest.fixture
def lock(place):
    """The figures of a finished run and its dvc.lock, which records the data root /a."""
    for path in (*LEARNING, *TESTING, *TEACHER, *STUDENT, *TEST, *EXPORT, *OTHERS, "metrics/data.json"):
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(path)
    stages = {
        name: {
            "deps": [{"path": path, "md5": md5(path)} for path in deps],
            "outs": [{"path": path, "md5": md5(path)} for path in outs],
        }
        for name, (deps, outs) in STAGES.items()
    }
    stages["check_images"]["params"] = {"params.yaml": {"data": {"root": "/a"}}}
    (place / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": stages}))  # JSON is YAML
    return place


@pytest.mark.parametrize(
    "root, changed, stale",
    [
        ("/a", [*LEARNING, *TESTING], []),
        ("/b", [], []),
        ("/b", TESTING, [*TEST, *EXPORT]),
        ("/b", LEARNING[1:], [*TEACHER, *STUDENT, *TEST, *EXPORT]),
        ("/b", [*LEARNING, *TESTING], [*TEACHER, *STUDENT, *TEST, *EXPORT]),
    ],
)
def test_figures_are_stale_for_another_root_with_other_pictures(lock, root, changed, stale):
    for path in changed:
        (lock / path).write_text("other")
    assert sorted(map(str, find_stale_figures(root))) == sorted(stale)


@pytest.mark.parametrize("text", ["", "schema: '2.0'\n", "stages: {check_images: {cmd: x}}\n"])
def test_without_a_recorded_root_nothing_is_stale(place, text):
    assert find_stale_figures("/b") == []
    (place / "dvc.lock").write_text(text)
    assert find_stale_figures("/b") == []


def test_a_broken_lock_is_named(place):
    (place / "dvc.lock").write_text("stages: [\n")
    with pytest.raises(UserError, match="dvc.lock: line 2, column 1: "):
        find_stale_figures("/b")


@pytest.mark.parametrize("broken", [False, True])
def test_check_images_removes_stale_figures_even_if_it_fails(lock, tiny_images, broken):
    edit_params(lock, data__root=str(tiny_images))
    if broken:
        (tiny_images / "train/red/0.png").write_bytes(b"")
        with pytest.raises(UserError):
            check_images.main()
    else:
        check_images.main()
    left = {
        str(path.relative_to(lock))
        for folder in ("metrics", "plots")
        for path in (lock / folder).rglob("*.*")
    }
    assert left == {*OTHERS, "metrics/data.json"}


def test_figures_of_a_dropped_teacher_are_removed(lock, monkeypatch, capsys):
    assert find_dropped_figures(["big"]) == []
    edit_params(lock, knowledge__teachers=[])
    tidy.main()
    assert not any((lock / path).exists() for path in TEACHER) and (lock / STUDENT[0]).exists()
    assert "metrics/teacher/big.json: removed, it is not in knowledge.teachers" in capsys.readouterr().out
