"""A CSV list in place of folders: what it gives, and the lines that are refused."""

import errno
import os

import pytest
from conftest import edit_params

from src.ground.errors import UserError
from src.ground.files import read_json
from src.pictures.listing import explain_path
from src.pictures.manifest import CLASSES, read_manifest
from stages import check_images

SPLITS = ("train", "val", "test")


@pytest.fixture
def listed(place, tiny_images):
    """tiny_images in one folder of numbers; a function writes the list and runs the stage."""
    (tiny_images / "all").mkdir()
    for number, path in enumerate(sorted(tiny_images.glob("*/*/*.png"))):
        path.rename(tiny_images / f"all/{number:02}.png")
    parts = {f"data__{split}": "." for split in SPLITS}
    edit_params(place, data__root=str(tiny_images), data__list="list.csv", **parts)

    def check(*lines, encoding="utf-8"):
        (tiny_images / "list.csv").write_text("\n".join(lines) + "\n", encoding=encoding)
        check_images.main()
        return {path: split for split in SPLITS for path in read_manifest(split).paths}

    return check


def make_rows(*words, count=24):
    """Two classes, the words of the splits in turn."""
    return [f"all/{row:02}.png,{'ab'[row % 2]},{words[row // 2 % len(words)]}" for row in range(count)]


def test_the_label_is_the_class_and_the_split_is_obeyed(listed, capsys):
    found = listed("path,label,split", *make_rows("Training", "valid", "TEST"), "./all/50.png, b ,train")
    expected = {f"all/{row:02}.png": SPLITS[row // 2 % 3] for row in range(24)} | {"all/50.png": "train"}
    assert found == expected and read_json(CLASSES) == ["a", "b"]
    train = read_manifest("train")
    assert [train.classes[label] for label in train.labels] == ["a", "b"] * 4 + ["b"]
    assert "train: 9 files: 9 taken, 0 refused, 0 passed over" in capsys.readouterr().out


def test_rows_without_a_split_are_divided_and_the_others_stay(listed):
    rows = [f"all/{row:02}.png,{'ab'[row % 2]},{'test' if row < 4 else ''}" for row in range(72)]
    found = listed("path,label,split", *rows)
    assert len(found) == 72 and set(found.values()) == set(SPLITS)
    assert all(found[f"all/{row:02}.png"] == "test" for row in range(4))
    plain = listed("path,label", *(row.rpartition(",")[0] for row in rows))
    assert {path: plain[path] for path in list(found) if int(path[4:6]) > 3} == {
        path: split for path, split in found.items() if int(path[4:6]) > 3
    }


@pytest.mark.slow
def test_a_class_that_val_or_test_lacks_is_warned_of(listed, capsys):
    more = ["all/30.png,c,train", "all/31.png,c,train", "all/32.png,c,test"]
    listed("path,label,split", *make_rows(*SPLITS), *more)
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert [line.rpartition("/")[2] for line in warnings if "not measured" in line] == [
        "list.csv: no row of val has label c, it is not measured there"
    ]
    listed("path,label,split", *make_rows(*SPLITS), *more, "all/33.png,c,")
    output = capsys.readouterr().out
    assert ("val has no picture of c, it is not measured there" in output) != ("no row of val" in output)


def test_a_class_whose_listed_pictures_are_all_refused_is_named(listed, place, tiny_images):
    for path in [*tiny_images.glob("all/[01][02468].png"), *tiny_images.glob("all/2[024].png")]:
        path.write_bytes(b"")
    edit_params(place, data__on_bad="skip")
    with pytest.raises(UserError) as error:
        listed("path,label,split", *make_rows(*SPLITS))
    assert str(error.value) == (
        f"{tiny_images}/list.csv: no usable picture of a for train is left (see data/bad_images.csv)"
    )


def test_the_order_of_the_lines_has_no_effect(listed):
    rows = make_rows("", count=72)
    assert listed("path,label,split", *rows) == listed("path,label,split", *reversed(rows))


ROWS = make_rows(*SPLITS)


@pytest.mark.parametrize(
    "lines, message",
    [
        (["file,label", *ROWS],
         "line 1: must be path,label or path,label,split, got 'file,label' (write it, with commas, as the "),
        ([], "line 1: must be path,label or path,label,split, got ''"),
        (["path,label"], "no pictures (a line path,label for each)"),
        (["path,label,split", *ROWS, "../place/x.png,a,train"],
         "line 26: '../place/x.png' is not inside data.root (write it relative to that)"),
        (["path,label,split", *ROWS, "/etc/passwd,a,train"], "line 26: '/etc/passwd' is not inside "),
        (["path,label,split", *ROWS, "a/../../x,a,train"], "line 26: 'a/../../x' is not inside data.root"),
        (["path,label,split", *ROWS, "all/99.png,a,train"],
         "line 26: no such file: {root}/all/99.png (correct the path, which is relative to data.root, or "),
        (["path,label,split", *ROWS, r"all\30.png,a,train"],
         r"line 26: no such file: 'all\\30.png', but 'all/30.png' (write that)"),
        (["path,label,split", *ROWS, "all/\0.png,a,train"],
         r"line 26: no such file: {root}/all/\x00.png (correct"),
        (["path,label,split", *ROWS, "all,a,train"], "line 26: 'all' is a folder (list the pictures in it)"),
        (["path,label,split", "all/./00.png,b,val", *ROWS],
         "line 3: 'all/00.png' is in line 2 too (remove one of the two)"),
        (["path,label,split", *ROWS, "all/30.png,a,holdin"], "line 26: split 'holdin' is none of "),
        (["path,label,split", *ROWS, "all/30.png,  ,val"], "line 26: no label (write one, or "),
        (["path,label,split", *ROWS, "all/30.png,a"],
         "line 26: 2 values, not 3 (write path,label,split, split may be"),
        (["path,label,split", *ROWS, "all/30,5.png,a,train"],
         "line 26: 4 values, not 3 (quote a path with a comma)"),
        (["path,label,split", *ROWS, "all/30.png,c,val", "all/31.png,c,val"],
         "line 26: no row of train has label 'c' (correct it, remove the line or list some for train)"),
        (["path,label,split", *ROWS, "all/30.png,A,val"],
         "line 26: no row of train has label 'A', did you mean 'a'? (correct it"),
        (["path,label,split", *make_rows("train", "val")],
         "no row of test (list some, or leave the split of rows empty"),
        (["path,label", "all/00.png,a", "all/01.png,a"], "1 classes for train, a (list at least 2)"),
        (["path,label,split", *ROWS, "all/30.png,\u00fc,train", "all/31.png,u\u0308,train"],
         r"labels '\xfc' and 'u\u0308' are one name in two Unicode forms (write one of them)"),
        (["path,label,split", *ROWS, "all/30.png,c,train"], "fewer than 2 pictures of 1 class: c 1 (add"),
    ],
)  # fmt: skip
def test_lines_that_cannot_be_used_are_named(listed, tiny_images, lines, message):
    with pytest.raises(UserError) as error:
        listed(*lines)
    first = str(error.value).splitlines()[0]
    assert first.startswith(f"{tiny_images}/list.csv: {message.format(root=tiny_images)}")


def test_a_list_that_is_not_utf8_or_not_there_is_named(place, listed, tiny_images):
    with pytest.raises(UserError, match=r"list.csv: line 2: not UTF-8 \(convert the file"):
        listed("path,label", "all/00.png,\xe9", encoding="latin-1")
    edit_params(place, data__list="all")
    with pytest.raises(UserError, match="pictures/all: a folder .params.yaml: data.list names a CSV"):
        check_images.main()
    edit_params(place, data__list="lists.csv")
    with pytest.raises(
        UserError, match="pictures/lists.csv: no such file .params.yaml: data.list names a CSV"
    ):
        check_images.main()


def test_what_may_not_be_read_is_named_as_that(tiny_images, monkeypatch):
    """The tests may run as a user who may read everything."""

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "stat", refuse)
    reason = explain_path(tiny_images, "train/red/0.png")
    monkeypatch.undo()
    assert reason == (
        f"{tiny_images}/train/red/0.png: Permission denied (make it and the folders that hold it readable)"
    )


def test_many_wrong_lines_are_few_errors(listed):
    with pytest.raises(UserError) as error:
        listed("path,label", *(f"x{row}.png,a" for row in range(500)), *(f"y{row}.png,b" for row in range(5)))
    assert len(str(error.value).splitlines()) == 11 and str(error.value).endswith("495 more such lines")


def test_subfolders_of_a_list_are_groups(place, listed, tiny_images, capsys):
    """The folder that holds a picture, unless it is named like a label."""
    for row in range(72):
        folder = tiny_images / ("a" if row < 8 else f"p{row // 8}")
        folder.mkdir(exist_ok=True)
        (tiny_images / f"all/{row:02}.png").rename(folder / f"{row:02}.png")
    edit_params(place, data__split__group="subfolder", data__split__val=0.3, data__split__test=0.3)
    paths = sorted(tiny_images.glob("[ap]*/*.png"))
    rows = [f"{path.relative_to(tiny_images)},{'ab'[number % 2]}" for number, path in enumerate(paths)]
    found = listed("path,label", *rows)
    groups = {}
    for path, split in found.items():
        groups.setdefault(path.split("/")[0], set()).add(split)
    assert len(found) == 72 and all((len(splits) == 1) == (name != "a") for name, splits in groups.items())
    lone = [path for path in found if path.startswith("a/")]
    assert (
        f"warning: data.split.group: 8 of 72 pictures are in no group, first {min(lone)} (correct it if they "
    ) in capsys.readouterr().out
