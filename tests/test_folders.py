"""Which layouts of a user's folders are accepted, and the errors for the others."""

import os
import shutil

import pytest
from PIL import Image

from src.ground.errors import UserError
from src.pictures.folders import scan


def test_classes_and_files_are_sorted(tiny_images):
    splits, classes, warnings = scan(tiny_images)
    assert classes == ("blue", "green", "red") and not warnings
    assert [split.name for split in splits] == ["train", "val", "test"]
    assert splits[0].files[:2] == [("train/blue/0.png", "blue"), ("train/blue/1.png", "blue")]
    assert [len(split.files) for split in splits] == [24, 24, 24]


def test_hidden_entries_are_neither_pictures_nor_classes(tiny_images):
    (tiny_images / "train/.ipynb_checkpoints").mkdir()
    for name in ("._0.png", ".DS_Store", "Thumbs.db"):
        (tiny_images / "train/red" / name).write_bytes(b"x")
    splits, classes, _ = scan(tiny_images)
    assert classes == ("blue", "green", "red")
    assert len(splits[0].files) == 24 and splits[0].hidden == 3


def test_a_class_missing_in_val_is_a_warning(tiny_images):
    shutil.rmtree(tiny_images / "val/red")
    _, classes, warnings = scan(tiny_images)
    assert classes == ("blue", "green", "red")
    assert warnings == [f"{tiny_images}/val: no folder for class 'red' of train, it is not measured here"]


def add_unknown_class(root):
    (root / "test/zebra").mkdir()
    return "test/zebra: train has no class 'zebra'"


def remove_split(root):
    shutil.rmtree(root / "val")
    return "val: no such folder"


def remove_root(root):
    shutil.rmtree(root)
    return ": no such folder (set data.root"


def add_empty_class(root):
    (root / "train/zebra").mkdir()
    return "train/zebra: no pictures"


def remove_classes(root):
    shutil.rmtree(root / "train")
    (root / "train").mkdir()
    return "train: 0 class folders"


def remove_pictures(root):
    for folder in (root / "test").iterdir():
        shutil.rmtree(folder)
        folder.mkdir()
    return "test: no pictures"


def add_non_utf8_name(root):
    Image.new("RGB", (9, 9)).save(os.fsencode(root / "train/red") + b"/l\xe9.png", "PNG")
    return r"train/red: the name b'l\xe9.png' is not UTF-8"


@pytest.mark.parametrize(
    "damage",
    [
        add_unknown_class,
        remove_split,
        remove_root,
        add_empty_class,
        remove_classes,
        remove_pictures,
        add_non_utf8_name,
    ],
)
def test_invalid_folders_are_refused(tiny_images, damage):
    expected = damage(tiny_images)
    with pytest.raises(UserError) as error:
        scan(tiny_images)
    assert expected in str(error.value) and len(str(error.value).splitlines()) == 1
