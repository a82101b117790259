"""Which layouts of a user's folders are accepted, and the errors for the others."""

import errno
import os
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import read_shipped
from dvc.utils.hydra import to_hydra_overrides
from PIL import Image

from src.ground.errors import UserError
from src.pictures import folders
from src.pictures.layouts import Layout, find_layout
from src.pictures.settings import DataSettings


def scan(root, **changes):
    return folders.scan(replace(read_shipped(DataSettings, "data"), root=str(root), **changes))


def test_classes_and_files_are_sorted(tiny_images):
    splits, classes, warnings = scan(tiny_images)
    assert classes == ("blue", "green", "red") and not warnings
    assert [split.name for split in splits] == ["train", "val", "test"]
    assert splits[0].files[:2] == [("train/blue/0.png", "blue"), ("train/blue/1.png", "blue")]
    assert [len(split.files) for split in splits] == [24, 24, 24]


def test_hidden_entries_are_neither_pictures_nor_classes(tiny_images):
    (tiny_images / "train/.ipynb_checkpoints").mkdir()
    for name in ("._0.png", ".DS_Store", "Thumbs.db", ".mine.png"):
        (tiny_images / "train/red" / name).write_bytes(b"x")
    splits, classes, _ = scan(tiny_images)
    assert classes == ("blue", "green", "red")
    assert len(splits[0].files) == 24 and [reason for _, reason in splits[0].passed] == [
        "junk of macOS", "junk of macOS", "hidden: the name begins with a dot", "junk of Windows",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "@eaDir", "__MACOSX", "lost+found", "Icon\r", "a.jpg:Zone.Identifier", "A.JPG.ZONE.IDENTIFIER",
        "DESKTOP.INI", "thumbs.db", "Thumbs.db:encryptable", "#Recycle", "$Recycle.Bin", ".AppleDouble",
        "System Volume Information", ".nomedia", ".thumbnails", "ehthumbs_vista.db", ".@__thumb",
        ".Trash-1000", "~$list.xlsx", "Picasa.ini",
        ".trashed-1700000000-a.jpg", "a.jpg\uf022Zone.Identifier", "Icon\uf00d",
    ],
)  # fmt: skip
def test_junk_is_known_in_any_case_as_file_and_as_folder(tiny_images, name):
    for folder in ("train", "train/green"):
        (tiny_images / folder / name).mkdir()
        (tiny_images / folder / name / "0.png").write_bytes(b"x")
    (tiny_images / "val/red" / name.swapcase()).write_bytes(b"x")
    splits, classes, _ = scan(tiny_images)
    assert classes == ("blue", "green", "red") and [len(split.files) for split in splits] == [24, 24, 24]
    assert [len(split.passed) for split in splits] == [2, 1, 0] and splits[0].misplaced() == []
    assert all(reason.startswith("junk of ") for split in splits for _, reason in split.passed)


def test_every_file_is_opened_or_passed_over_with_the_reason(tiny_images):
    """An independent count: all files that os.walk finds."""
    train = tiny_images / "train"
    for path in (
        "loose.png",
        "labels.csv",
        ".cat/0.png",
        "red/2023/1.JPG",
        "red/2023/may/2.png",
        "red/2023/x.txt",
    ):
        (train / path).parent.mkdir(parents=True, exist_ok=True)
        (train / path).write_bytes(b"x")
    (train / "red/link").symlink_to(tiny_images / "val")
    (train / "blue/empty").mkdir()
    found = {
        os.path.relpath(os.path.join(folder, name), tiny_images)
        for folder, _, names in os.walk(train, followlinks=True)
        for name in names
    }
    splits, _, warnings = scan(tiny_images)
    assert warnings == [
        f"{train}/.cat: 1 file passed over, the name begins with a dot (rename the folder if it is a class)"
    ]
    split = splits[0]
    listed = [path for path, _ in (*split.files, *split.passed)]
    assert sorted(listed) == sorted(found) and len(split.files) == 24
    deeper = [
        path for path, reason in split.passed if reason.startswith("in a folder inside a class folder (move")
    ]
    assert len(deeper) == 3 + 24 and ("train/loose.png", folders.LOOSE) in split.passed
    assert dict(split.passed)["train/.cat/0.png"].startswith(
        "hidden: in a folder whose name begins with a dot (rename"
    )
    misplaced = {path for path, _ in split.misplaced()}
    assert misplaced == {path for path in deeper if not path.endswith("x.txt")} | {"train/loose.png"}


def test_links_to_folders_are_warned_of(tiny_images, tmp_path):
    """DVC's hash of a folder has no entry for them, see `walk` of its file systems."""
    for path in ("train/red", "train/blue", "val"):
        (tiny_images / path).rename(tmp_path / path.replace("/", " "))
        (tiny_images / path).symlink_to(tmp_path / path.replace("/", " "))
    sources, _, warnings = scan(tiny_images)
    assert sum(len(source.files) for source in sources) == 72
    assert warnings == [
        f"{tiny_images}/train/blue: 2 links to a folder, in which DVC sees no change (after one: dvc "
        "repro -sf check_images, then make repro; or put the folder itself there)"
    ]


def test_links_in_circles_end(tiny_images):
    blue = tiny_images / "train/blue"
    (blue / "self.png").symlink_to("self.png")
    (blue / "up").symlink_to("..")
    split = scan(tiny_images)[0][0]
    assert len(split.files) == 25 and ("train/blue/self.png", "blue") in split.files
    assert (
        len(split.passed) == 24 + 2
    )  # train again, where self.png is a link to a file, and up one to a folder


def test_a_class_in_another_unicode_form_is_the_same_class(tiny_images):
    composed, decomposed = "b\u00fccher", "bu\u0308cher"
    (tiny_images / "train/red").rename(tiny_images / "train" / composed)
    (tiny_images / "val/red").rename(tiny_images / "val" / decomposed)
    (tiny_images / "test/red").rename(tiny_images / "test" / composed)
    splits, classes, warnings = scan(tiny_images)
    assert classes == ("blue", composed, "green")
    assert splits[1].files[8] == (f"val/{decomposed}/0.png", composed)
    assert warnings == [f"{tiny_images}/val/{decomposed}: taken for train's class, in another Unicode form"]
    shutil.copytree(tiny_images / "val" / decomposed, tiny_images / "train" / decomposed)
    with pytest.raises(
        UserError, match=r"'b\\xfccher' and 'bu\\u0308cher' are one name in two Unicode forms"
    ):
        scan(tiny_images)


@pytest.mark.parametrize("name", ["Red", "red ", "\uff52\uff45\uff44", "RED\u00a0"])
def test_a_class_that_looks_like_one_of_train_is_pointed_out(tiny_images, name):
    (tiny_images / "test/red").rename(tiny_images / "test" / name)
    with pytest.raises(UserError, match="train has no class .*, did you mean 'red'\\? \\(rename"):
        scan(tiny_images)


def test_many_wrong_classes_are_all_reported_in_few_lines(tiny_images):
    for number in range(500):
        (tiny_images / f"val/x{number}").mkdir()
    with pytest.raises(UserError) as error:
        scan(tiny_images)
    lines = str(error.value).splitlines()
    assert len(lines) == 11 and lines[10].endswith("490 more such folders")


def move(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)


def name_split(root):
    move(root / "val", root / "Valid")
    return (
        f"{root}: no folder 'val', but 'train' can be train, 'Valid' can be val, 'test' can be test (dvc exp "
        f"run -S data.val=Valid, or make init DATA={root})"
    )


def add_space(root):
    move(root / "train", root / "train ")
    return "(dvc exp run -S 'data.train='\"'\"'train '\"'\"'', or make init"


def add_words(root):
    move(root / "val", root / "Valid Set")
    return "(dvc exp run -S 'data.val='\"'\"'Valid Set'\"'\"'', or make init"


def add_year(root):
    move(root / "test", root / "test2017")
    return "(dvc exp run -S data.test=test2017, or make init"


def swap_levels(root):
    for folder in list(root.glob("*/*")):
        move(folder, root / folder.name / folder.parent.name)
    for split in ("train", "val", "test"):
        (root / split).rmdir()
    return (
        f"{root}: no train, val and test, but in each of 3 folders, first {root}/blue (if they "
        "are the classes, swap the levels: train/CLASS, val/CLASS, test/CLASS; else set data.root to one)"
    )


def add_level(root):
    for split in ("train", "val", "test"):
        move(root / split, root / "photos v2/images" / split)
    return f"they are in {root}/photos v2/images (set data.root to {root}/photos v2/images)"


def drop_test(root):
    shutil.rmtree(root / "test")
    return (
        f"{root}: no folder 'test', but 'train' can be train and test, 'val' can be val (dvc exp run -S "
        "data.test=train, or"
    )


def keep_classes(root):
    move(root / "train", root.parent / "moved")
    shutil.rmtree(root)
    move(root.parent / "moved", root)
    return (
        f"{root}: no folder 'train', 'val', 'test', but class folders, which can be divided (dvc exp "
        f"run -S data.train=. -S data.val=. -S data.test=., or make init DATA={root})"
    )


def name_split_twice(root):
    shutil.copytree(root / "val", root / "VALIDATION")
    return f"{root}: 'VALIDATION' and 'val' are both a name of val (move the pictures of one into the other"


def empty_root(root):
    shutil.rmtree(root)
    root.mkdir()
    (root / "docs").mkdir()
    return f"{root}: no train, val and test and no class folders with pictures (is a disk not mounted?)"


def mix_levels(root):
    keep_classes(root)
    move(root / "red/0.png", root / "0.png")
    return (
        f"{root}: pictures (0.png) beside class folders (blue, green, red) (move each into the folder of its"
    )


def flatten(root):
    for path in list(root.glob("train/*/*.png")):
        path.rename(root / f"{path.parent.name}-{path.name}")
    for split in ("train", "val", "test"):
        shutil.rmtree(root / split)
    return (
        "pictures (blue-0.png, blue-1.png, blue-2.png, ...) in no class folder (move them into a folder per"
    )


def keep_test(root):
    shutil.rmtree(root / "train")
    return (
        f"{root}: 'val' and 'test', but no folder for train (move its class folders into {root}/train, or "
        "rename what is a class)"
    )


def keep_one_class(root):
    keep_classes(root)
    shutil.rmtree(root / "red")
    shutil.rmtree(root / "blue")
    return f"{root}: 1 class folder, 'green' (create one folder per class, at least 2)"


def keep_one_picture(root):
    for path in (*root.glob("train/red/[1-7].png"), *root.glob("[vt]*[lt]/red/*.png")):
        path.unlink()
    return f"{root}: fewer than 2 pictures of 1 class: red 1 (add some or remove the class)"


def add_level_in_train(root):
    move(root / "train", root / "moved")
    move(root / "moved", root / "train/images")
    return f"{root}/train: 1 class folder, 'images', with 3 folders inside (if these are the classes, move"


def link_split(root):
    shutil.rmtree(root / "test")
    (root / "test").symlink_to("val")
    return f"{root}/test: the same folder as val (each picture may be in one split only)"


def use_file(root):
    shutil.rmtree(root)
    root.write_bytes(b"PK")
    return f"{root}: a file, not a folder (unpack it"


@pytest.mark.parametrize(
    "damage",
    [name_split, add_space, add_words, add_year, swap_levels, add_level, drop_test, keep_classes]
    + [add_level_in_train, link_split, use_file, name_split_twice, empty_root, mix_levels, flatten]
    + [keep_test, keep_one_class, keep_one_picture],
)
def test_a_layout_that_is_not_ours_is_named_with_what_to_do(tiny_images, damage):
    expected = damage(tiny_images)
    with pytest.raises(UserError) as error:
        scan(tiny_images)
    assert expected in str(error.value) and len(str(error.value).splitlines()) == 1


NAMES = [("Train", "Valid", "TEST"), ("training", "validation", "testing"), ("train", "val", "test-set")]
NAMES += [("train", "dev", "holdout"), ("Train_2017", "val", "tests")]


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("kept", ["train val test", "train val", "train test", "train"])
def test_splits_are_found_by_any_spelling_and_the_missing_ones_share_trains_folder(tiny_images, names, kept):
    spelling = dict(zip(("train", "val", "test"), names, strict=True))
    for split, name in spelling.items():
        move(tiny_images / split, tiny_images / "moved")
        move(tiny_images / "moved", tiny_images / name)
        if split not in kept.split():
            shutil.rmtree(tiny_images / name)
    parts = {split: spelling[split if split in kept.split() else "train"] for split in spelling}
    layout = find_layout(tiny_images)
    assert layout == Layout(tiny_images, **parts) and layout.parts() == parts
    sources, classes, _ = scan(tiny_images, **parts)
    assert classes == ("blue", "green", "red")
    assert sorted(split for source in sources for split in source.splits) == ["test", "train", "val"]
    assert {source.folder for source in sources} == set(parts.values())


def test_class_folders_alone_are_one_source(tiny_images):
    """A class may be called train, if its pictures lie in it directly."""
    root = tiny_images / "train"
    (root / "red").rename(root / "train")
    assert find_layout(root) == Layout(root, ".", ".", ".")
    (source,), classes, warnings = scan(root, train=".", val=".", test=".")
    assert source.splits == ("train", "val", "test") and source.name == "train, val and test"
    assert classes == ("blue", "green", "train") and not warnings
    assert source.files[0] == ("blue/0.png", "blue") and len(source.files) == 24 and not source.passed


@pytest.mark.parametrize("name", ["train", "dev", "test", "eval"])
def test_a_class_with_groups_may_be_called_like_a_split(tiny_images, name):
    """Vehicles, say: bus, car, train, each with a folder per place."""
    root = tiny_images / "train"
    if name == "eval":  # beside another name of val
        (root / "green").rename(root / "dev")
    (root / "red").rename(root / name)
    for folder in list(root.iterdir()):
        (folder / "place 1").mkdir()
        for path in folder.glob("*.png"):
            path.rename(folder / "place 1" / path.name)
    data = replace(read_shipped(DataSettings, "data"), root=str(root), train=".", val=".", test=".")
    data = replace(data, split=replace(data.split, group="subfolder"))
    (source,), classes, warnings = folders.scan(data)
    assert name in classes and len(classes) == 3 and len(source.files) == 24 and not warnings
    if name == "train":
        with pytest.raises(UserError, match=r"it holds folders of splits, but .*data.train=train"):
            scan(root, train=".", val=".", test=".")
        shutil.rmtree(root / "blue")
        shutil.rmtree(root / "green")
        (root / "val/cat").mkdir(parents=True)
        shutil.copy(root / "train/place 1/0.png", root / "val/cat")
        with pytest.raises(UserError, match="it holds folders of splits"):
            folders.scan(data)


def test_folders_beside_those_of_the_splits_are_named(tiny_images):
    shutil.copytree(tiny_images / "train/red", tiny_images / "purple")
    shutil.copytree(tiny_images / "val", tiny_images / "holdout")
    (tiny_images / "docs").mkdir()
    (tiny_images / "docs/about.txt").write_text("about")
    expected = (
        f"{tiny_images}: folders that are not read: holdout, purple (move pictures of classes into the "
        "folders of splits; if all these are classes, set data.train, "
    )
    (warning,) = scan(tiny_images)[2]
    assert warning.startswith(expected)
    assert not scan(tiny_images, unlabelled=("holdout", "purple"))[2]
    tiny_images.rename(tiny_images.parent / "images")
    tiny_images.mkdir()
    (tiny_images.parent / "images").rename(tiny_images / "images")
    (warning,) = scan(tiny_images, **{split: f"images/{split}" for split in ("train", "val", "test")})[2]
    assert warning.startswith(f"{tiny_images}/images: folders that are not read: holdout, purple (")
    shutil.rmtree(tiny_images / "images/holdout")
    shutil.rmtree(tiny_images / "images/purple")
    (warning,) = scan(tiny_images, train="images/train", val="images/train", test="images/test")[2]
    assert "not read: val (" in warning


def test_a_csv_file_is_a_layout_of_its_folder(tiny_images):
    (tiny_images / "my list.CSV").write_text("path,label\n")
    layout = find_layout(tiny_images / "my list.CSV")
    assert layout == Layout(tiny_images, ".", ".", ".", "my list.CSV")
    with pytest.raises(
        UserError, match="a list of pictures, not their folder .dvc exp run -S data.root=/.* -S"
    ) as error:
        scan(tiny_images / "my list.CSV")
    words = shlex.split(str(error.value).partition("dvc exp run ")[2].partition(", or make")[0])
    overrides = [word for word in words if word != "-S"]
    shown = {one.key_or_group: one.value() for one in to_hydra_overrides(overrides)}
    assert shown == {
        "data.root": str(tiny_images), "data.train": ".", "data.val": ".", "data.test": ".",
        "data.list": "my list.CSV",
    }  # fmt: skip


def test_folders_of_splits_are_not_taken_for_classes(tiny_images):
    with pytest.raises(
        UserError, match="it holds folders of splits, but .* .dvc exp run -S data.train=train -S"
    ):
        scan(tiny_images, train=".", val=".", test=".")


def test_a_folder_that_holds_the_outputs_is_refused(place, tiny_images):
    """The project's own data folder may be the root, with train, val and test beside the outputs."""
    tiny_images.rename(place / "data")
    (place / "data/manifest").mkdir()
    assert [source.folder for source in scan("data")[0]] == ["train", "val", "test"]
    for split in ("val", "test"):
        shutil.rmtree(place / f"data/{split}")
    for name in ("blue", "green", "red"):
        (place / f"data/train/{name}").rename(place / f"data/{name}")
    (place / "data/train").rmdir()
    with pytest.raises(
        UserError, match=r"^data: holds this project's own data folder \(keep the pictures in "
    ):
        scan("data", train=".", val=".", test=".")


@pytest.mark.parametrize(
    "root, expected",
    [
        ("~/pictures", "params.yaml: data.root: ~/pictures: no such folder, ~ and $ are not expanded ("),
        ("$HOME/pictures", "(write {home}/pictures)"),
        (" {home} ", "spaces or quotes are part of it (write {home})"),
        ("'{home}'", "spaces or quotes are part of it (write {home})"),
        ("C:\\my\\pictures", "a path of Windows (inside WSL it is /mnt/c/my/pictures)"),
        ("s3://bucket/pictures", "not a folder of this machine (copy the pictures to a disk here)"),
        ("/mnt-x/pictures", "/mnt-x/pictures: no such folder (set data.root to the folder of your pictures; "
         "/ is there: is a disk not mounted?)"),
    ],
)  # fmt: skip
def test_a_root_that_cannot_be_found_is_explained(tmp_path, monkeypatch, root, expected):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UserError) as error:
        scan(Path(root.format(home=tmp_path)))
    assert expected.format(home=tmp_path) in str(error.value)


@pytest.mark.parametrize("root", ["/", "/usr", "/dev/", "/proc/self"])
def test_nobody_is_told_to_move_a_folder_of_the_system(root):
    with pytest.raises(UserError, match=r"a folder of the system \(set data.root") as error:
        scan(Path(root))
    assert "mv " not in str(error.value)


@pytest.mark.parametrize("name", [".", "train", "val"])
def test_a_folder_that_may_not_be_read_is_named(tiny_images, monkeypatch, name):
    """The tests may run as a user who may read everything."""
    locked, scandir = tiny_images / name, os.scandir

    def refuse(folder):
        if Path(folder) == locked:
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    message = f"{locked}: cannot be read: Permission denied (make it readable)"
    with pytest.raises(UserError) as error:
        find_layout(tiny_images)
    assert str(error.value) == message
    with pytest.raises(UserError) as error:
        scan(tiny_images, train="missing" if name == "." else "train")
    assert str(error.value) == message


@pytest.mark.parametrize("name", ["dev", "eval", "Validation"])
def test_a_folder_without_pictures_is_not_taken_for_a_split(tiny_images, name):
    shutil.rmtree(tiny_images / "val")
    (tiny_images / name / "folder").mkdir(parents=True)
    (tiny_images / name / "folder/code.py").write_text("")
    (tiny_images / name / "locked").mkdir(mode=0)
    with pytest.raises(UserError) as error:
        scan(tiny_images)
    assert "(dvc exp run -S data.val=train, or make init" in str(error.value)


def test_a_train_without_pictures_is_not_where_the_pictures_are(tiny_images):
    add_level(tiny_images)
    (tiny_images / "a library/train/source").mkdir(parents=True)
    with pytest.raises(UserError, match="set data.root to .*/photos v2/images"):
        scan(tiny_images)


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
    return (
        "no folder 'val', but 'train' can be train and val, 'test' can be test (dvc exp run -S data.val=train"
    )


def remove_root(root):
    shutil.rmtree(root)
    return ": no such folder (set data.root"


def add_empty_class(root):
    (root / "train/zebra").mkdir()
    return "train/zebra: no pictures"


def remove_classes(root):
    shutil.rmtree(root / "train")
    (root / "train").mkdir()
    return "train: no class folders; is a disk not mounted? (create one folder per class, at least 2)"


def remove_pictures(root):
    for folder in (root / "test").iterdir():
        shutil.rmtree(folder)
        folder.mkdir()
    return "test: no pictures"


def add_non_utf8_name(root):
    Image.new("RGB", (9, 9)).save(os.fsencode(root / "train/red") + b"/l\xe9.png", "PNG")
    return r"train/red: the name b'l\xe9.png' is not UTF-8"


def test_every_name_that_is_not_utf8_counts(tiny_images):
    """The line after the last one printed says how many more there are."""
    for number in range(30):
        open(os.fsencode(tiny_images / "train/red") + b"/%d\xe9.png" % number, "wb").close()
    with pytest.raises(UserError) as error:
        scan(tiny_images)
    assert len(str(error.value).splitlines()) == 30


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
