"""Pictures without labels: checked, packed, joined to those of train, and heard of from teachers alone."""

import csv
import shutil
import sys

import numpy as np
import pytest
from conftest import draw_tiny_images, edit_params

from src.ground.errors import UserError
from src.ground.params import read_params
from src.pictures.manifest import read_manifest
from src.pictures.reading import Joined, read_pictures
from src.pictures.unlabelled import FOLDER, join_pictures, read_unlabelled
from src.teaching.curriculum import find_truth_probs
from src.teaching.knowledge import Knowledge
from src.teaching.labels import LabelTargets, Lesson, add_unlabelled
from stages import check_images, check_unlabelled
from tools import tidy


@pytest.fixture
def extra(place, tiny_images, monkeypatch):
    """A folder with six pictures that train lacks, two levels deep, beside tiny_images' splits."""
    more = draw_tiny_images(tiny_images.parent / "more", 10, ("train",)) / "train"
    for name in ("red", "green", "blue"):
        for number in (8, 9):
            target = tiny_images / "web/batch" / name / f"{number}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(more / name / f"{number}.png", target)
    edit_params(place, data__root=str(tiny_images), data__unlabelled=["web"])
    monkeypatch.setattr(sys, "argv", ["check_unlabelled", "web"])
    return tiny_images / "web"


def check():
    check_images.main()
    check_unlabelled.main()
    return read_unlabelled(["web"], "letterbox", False)


def read_ledger():
    with open("data/unlabelled/web.files.csv", encoding="utf-8", newline="") as file:
        return {row["path"]: (row["verdict"], row["reason"]) for row in csv.DictReader(file)}


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.slow
def test_pictures_at_any_depth_follow_those_of_train(extra, place, packed, capsys):
    edit_params(place, images__pack=packed)
    (extra / ".hidden").mkdir()
    (extra / ".hidden/x.png").write_bytes(b"x")
    found = check()
    names = [f"web/batch/{name}/{number}.png" for name in ("blue", "green", "red") for number in (8, 9)]
    assert found.paths == names and read_ledger()["web/.hidden/x.png"][0] == "passed over"
    train = read_pictures("train", "letterbox", False)
    joined = join_pictures(train, found)
    assert isinstance(joined, Joined) and len(joined) == 24 + 6 and joined.shape[1:] == train.shape[1:]
    some = joined[[25, 3, 29, 0]]
    (own,) = found.pictures
    for picture, expected in zip(some, (own[[1]], train[[3]], own[[5]], train[[0]]), strict=True):
        assert np.array_equal(picture, expected[0])
    assert np.array_equal(joined[22:26], np.concatenate([train[22:24], own[0:2]]))
    assert join_pictures(train, read_unlabelled([], "letterbox", False)) is train
    assert "folders of classes" not in capsys.readouterr().out  # they lie deeper


@pytest.mark.slow
def test_pictures_of_val_and_test_are_refused(extra, place, tiny_images):
    shutil.copy(tiny_images / "test/red/3.png", extra / "known.png")
    with pytest.raises(
        UserError, match=r"web.files.csv: 1 refused, first .*/web/known.png: in test: the netw"
    ):
        check()
    edit_params(place, data__on_bad="skip")
    assert len(check().paths) == 6 and read_ledger()["web/known.png"][0] == "refused"


@pytest.mark.slow
def test_pictures_of_train_and_repeated_ones_are_passed_over(extra, tiny_images):
    shutil.copy(tiny_images / "train/red/3.png", extra / "labelled.png")
    shutil.copy(extra / "batch/red/8.png", extra / "again.png")
    assert [path for path in check().paths if "batch" not in path] == ["web/again.png"]
    ledger = read_ledger()
    assert ledger["web/labelled.png"] == ("passed over", "in train, with its label")
    assert ledger["web/batch/red/8.png"][1].startswith("repeated: the same pixels as web/again.png")


@pytest.mark.slow
def test_folders_named_like_classes_are_warned_of(extra, capsys):
    (extra / "red").mkdir()
    shutil.move(extra / "batch/red/8.png", extra / "red/8.png")
    check()
    assert "has folders of classes, red, but their names are not looked at" in capsys.readouterr().out


@pytest.mark.parametrize(
    "spoil, message",
    [
        (shutil.rmtree, "/web: no such folder (create it, or take it out of data.unlabelled)"),
        (lambda folder: shutil.rmtree(folder / "batch"), "/web: no pictures (add some, or take it out of"),
    ],
)
@pytest.mark.slow
def test_a_missing_or_empty_folder_is_refused(extra, spoil, message):
    spoil(extra)
    with pytest.raises(UserError) as error:
        check()
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["a/b", "..", "", "a b", "-a"])
def test_a_name_that_dvc_cannot_watch_is_refused(place, name):
    edit_params(place, data__unlabelled=[name])
    with pytest.raises(UserError, match=r"^params.yaml: data.unlabelled\.?.*must be"):
        read_params()


@pytest.mark.parametrize("train", ["val", "val/photos"])
def test_a_folder_of_a_split_is_refused(place, train):
    edit_params(place, data__unlabelled=["val"], data__train=train, data__val="other")
    with pytest.raises(UserError, match=r"^params.yaml: data.unlabelled: must not be a folder of labelled"):
        read_params()


@pytest.mark.slow
def test_a_folder_may_lie_among_class_folders_in_the_root(extra, place, tiny_images, capsys):
    root = tiny_images.parent / "poured"
    shutil.copytree(tiny_images / "train", root)
    here = dict.fromkeys(("data__train", "data__val", "data__test"), ".")
    edit_params(place, data__root=str(root), data__unlabelled=[], **here)
    check_images.main()
    alone, counts = read_manifest("train"), (place / "data/counts.csv").read_text()
    extra.rename(root / "web")
    edit_params(place, data__unlabelled=["web"])
    assert len(check().paths) == 6
    assert read_manifest("train").paths == alone.paths and (place / "data/counts.csv").read_text() == counts
    assert "web/" not in (place / "data/files.csv").read_text()
    assert "not read" not in capsys.readouterr().out


def test_a_lesson_is_made_longer():
    lesson = Lesson(LabelTargets(np.array([1, 0, 2]), 3, 0.1), [], np.ones(3), np.array([0, 2]))
    longer = add_unlabelled(lesson, 0.1, 2, 0.5)
    assert longer.rows.tolist() == [0, 2, 3, 4] and longer.weights.tolist() == [1, 1, 1, 0.5, 0.5]
    assert np.array_equal(longer.targets[[0, 1, 2]], lesson.targets[[0, 1, 2]])
    assert not longer.targets[[3, 4]].any() and longer.soft == [longer.targets]


def test_the_curriculum_of_a_picture_without_label_is_its_largest_probability():
    teacher = Knowledge("softmax", np.array([[0.2, 0.8], [0.3, 0.7], [0.9, 0.1]]))
    assert find_truth_probs([teacher], np.array([0, -1, -1])).tolist() == [0.2, 0.7, 0.9]


@pytest.mark.slow
def test_manifests_are_those_without_them(extra):
    check()
    assert len(read_manifest("train").paths) == 24


@pytest.mark.slow
def test_what_is_left_of_a_folder_that_is_no_longer_listed_is_removed(extra, place, capsys):
    """Of the others it stays, of one whose name begins alike too."""
    check()
    for name in ("web-2.csv", "web-2.npy", "web-2.files.csv"):
        shutil.copy("data/unlabelled/web.csv", f"data/unlabelled/{name}")
    tidy.main()
    kept = ["classes.json", "web.csv", "web.files.csv", "web.npy"]
    assert sorted(path.name for path in FOLDER.iterdir()) == kept
    edit_params(place, data__unlabelled=[])
    assert "data/unlabelled/web-2.npy: removed, it is not in data.unlabelled" in capsys.readouterr().out
    tidy.main()
    assert [path.name for path in FOLDER.iterdir()] == ["classes.json"]
