"""The stage that opens every picture: manifests, packs, refused files; the user's folders stay untouched."""

import csv
import errno
import faulthandler
import json
import os
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import edit_params, read_shipped
from PIL import Image

from src.ground.errors import UserError
from src.pictures import checking, opening
from src.pictures.decode import decode
from src.pictures.fitting import fit_picture
from src.pictures.manifest import read_manifest
from src.pictures.reading import read_pictures
from src.pictures.settings import DataSettings
from stages import check_images


@pytest.fixture
def data(place, tiny_images):
    edit_params(place, data__root=str(tiny_images), images__width=48)
    return tiny_images


def read_refused():
    with open("data/bad_images.csv", encoding="utf-8", newline="") as file:
        return {row["path"]: row["reason"] for row in csv.DictReader(file)}


def read_ledger():
    with open("data/files.csv", encoding="utf-8", newline="") as file:
        return {row["path"]: (row["verdict"], row["reason"]) for row in csv.DictReader(file)}


def take_snapshot(root):
    return {path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in root.rglob("*")}


def test_manifest_and_pack_agree_with_the_files(data):
    before = take_snapshot(data)
    check_images.main()
    assert take_snapshot(data) == before
    for split in ("train", "val", "test"):
        manifest, pack = read_manifest(split), read_pictures(split, "letterbox", False)
        assert pack.shape == (24, 32, 48, 3) and pack[:].dtype == np.uint8 and len(manifest.paths) == 24
        for path, label, pixels in zip(manifest.paths, manifest.labels, pack[:], strict=True):
            assert path.split("/")[1] == manifest.classes[label]
            assert np.array_equal(
                pixels, np.asarray(fit_picture(Image.open(data / path), 32, 48, "letterbox"))
            )
    assert json.loads(open("data/models/teachers/classes.json").read()) == ["blue", "green", "red"]
    figures = {"classes": 3, "train": 24, "val": 24, "test": 24, "bad": 0}
    assert json.loads(open("metrics/data.json").read()) == {"data": figures}


def spoil(root):
    folder = root / "train/red"
    (folder / "0.png").write_bytes(b"")
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:300])
    (folder / "notes.txt").write_text("no picture")
    os.mkfifo(folder / "pipe.jpg")
    (folder / "gone.png").symlink_to("nowhere.png")
    Image.new("RGB", (3, 3)).save(folder / "tiny.png")
    return {
        "train/red/0.png": "empty file",
        "train/red/1.png": "broken",
        "train/red/gone.png": "a broken link",
        "train/red/notes.txt": "not a picture",
        "train/red/pipe.jpg": "not a file: a device or a pipe (remove it)",
        "train/red/tiny.png": "too small: 3 x 3 pixels, data.min_side is 8",
    }


def test_bad_files_stop_the_stage_and_are_all_listed(data):
    reasons = spoil(data)
    with pytest.raises(
        UserError, match=r"^data/bad_images.csv: 6 pictures refused, first .*train/red/0.png: empty"
    ):
        check_images.main()
    assert {path: reason[: len(reasons[path])] for path, reason in read_refused().items()} == reasons


def test_bad_files_can_be_skipped(place, data):
    reasons = spoil(data)
    edit_params(place, data__on_bad="skip")
    check_images.main()
    assert set(read_refused()) == set(reasons)
    assert len(read_manifest("train").paths) == len(read_pictures("train", "letterbox", False)) == 22


def misplace(root):
    for number in range(50):
        path = root / f"train/red/2023/{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (9, 9), (number, 9, 9)).save(path)
    (root / "train/green/Thumbs.db").write_bytes(b"x")
    (root / "test/readme.txt").write_text("about")


def test_the_ledger_adds_up_to_all_files(place, data, capfd):
    """Independent counts: the files on disk, the rows of the manifests and of the list of refused files."""
    spoil(data)
    misplace(data)
    Image.new("RGB", (20, 20), (7, 7, 7)).save(data / "val/red/plain.png")
    frames = [Image.effect_noise((20, 20), 60) for _ in range(3)]
    frames[0].save(data / "val/red/moving.gif", save_all=True, append_images=frames[1:])
    edit_params(place, data__on_bad="skip")
    check_images.main()
    found = {
        str(path.relative_to(data)) for path in data.rglob("*") if path.is_symlink() or not path.is_dir()
    }
    ledger = read_ledger()
    assert set(ledger) == found and len(found) == 72 + 4 + 52 + 2
    by_verdict = {}
    for path, (verdict, reason) in ledger.items():
        by_verdict.setdefault(verdict, set()).add(path)
        assert verdict == "taken" or reason
    assert by_verdict["refused"] == set(read_refused()) and len(by_verdict["passed over"]) == 52
    taken = {path for split in ("train", "val", "test") for path in read_manifest(split).paths}
    assert by_verdict["taken"] == taken and len(taken) == 72
    output, errors = capfd.readouterr()
    assert "train: 79 files: 22 taken, 6 refused, 51 passed over" in output
    assert (
        "passed over: in a folder inside a class folder (50), junk of Windows (1), in no class folder (1)"
        in output
    )
    assert "taken with a remark: animated (1), one colour (1)" in output and not errors
    assert ledger["val/red/moving.gif"] == ("taken", "animated: the first of 3 frames is taken")


@pytest.mark.parametrize("words", [["check_images"], ["check_images", "--preflight"]])
def test_pictures_in_the_wrong_place_stop_the_stage(data, monkeypatch, words):
    misplace(data)
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(UserError) as error:
        check_images.main()
    assert str(error.value) == (
        f"{data}: 50 pictures in the wrong place, first {data}/train/red/2023/0.png: in a folder inside a "
        "class folder (move it up into the class folder, or set data.split.group: subfolder, or leave such "
        "pictures out with data.on_bad: skip)"
    )


def end_process(content, *_):
    """As the kernel ends a process that takes too much memory, or a decoder that writes where it must not."""
    if content.startswith(b"kill "):
        faulthandler.disable()  # pytest's, which would print
        os.kill(os.getpid(), signal.Signals[content[5:].decode()])
    if content.startswith(b"raise"):
        raise ValueError("line one\nline two")
    if content.startswith(b"memory"):
        raise MemoryError
    return decode(content, *_)


@pytest.mark.slow
def test_a_worker_that_dies_costs_one_file(place, data, monkeypatch, capfd):
    for number, text in enumerate(("kill SIGKILL", "kill SIGSEGV", "raise", "memory")):
        (data / f"train/green/{number}.png").write_text(text)
    monkeypatch.setattr(opening, "decode", end_process)
    monkeypatch.setattr(checking, "CHUNK", 2)
    monkeypatch.setattr(opening, "is_known", lambda head: True)
    edit_params(place, data__on_bad="skip")
    check_images.main()
    died = "fatal: decoding it ended the process, killed by {} (save it again, smaller, or remove it)"
    assert read_refused() == {
        "train/green/0.png": died.format("SIGKILL"),
        "train/green/1.png": died.format("SIGSEGV"),
        "train/green/2.png": "broken: ValueError: line one line two (save it again or remove it)",
        "train/green/3.png": "too large: more memory is needed than there is (save it smaller)",
    }
    assert [len(read_manifest(split).paths) for split in ("train", "val", "test")] == [20, 24, 24]
    assert len(read_pictures("train", "letterbox", False)) == 20 and capfd.readouterr().err == ""


def test_what_a_decoder_prints_is_caught_and_attributed(data, monkeypatch, capfd):
    def complain(content, *_):
        os.write(2, b"odd tag\nodd tag\n")
        return decode(content, *_)

    monkeypatch.setattr(opening, "decode", complain)
    check_images.main()
    assert capfd.readouterr().err == ""
    assert read_ledger()["val/red/0.png"] == ("taken", "decoder's warning: odd tag")


def test_a_file_in_a_folder_that_may_not_be_entered_is_named_as_that(data, monkeypatch):
    """The tests may run as a user who may read everything."""

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)
    settings = replace(read_shipped(DataSettings, "data"), root=str(data))
    reason = opening.check_file(settings, None, (), "letterbox", ("train/red/0.png", "red")).reason
    assert reason == "cannot be read: Permission denied (make it readable or remove it)"


def test_what_is_no_regular_file_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "device").symlink_to("/dev/null")
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    (tmp_path / "link").symlink_to("a.png")
    settings = replace(read_shipped(DataSettings, "data"), root=str(tmp_path))
    expected = {
        "pipe": "not a file", "folder": "not a file", "device": "not a file", "circle": "a broken link",
        "lost": "gone: it was removed", "a.png/b.png": "gone: it was removed", "link": "",
    }  # fmt: skip
    for path, reason in expected.items():
        found = opening.check_file(settings, None, (), "letterbox", (path, "x")).reason
        assert found.startswith(reason) and bool(found) == bool(reason), path


@pytest.mark.parametrize("head", [b"x", b"II*\0", b"\xff\xd8\xff"])
def test_a_huge_file_is_not_read(tmp_path, head):
    """A sparse file of 40 GB: reading it would take all memory. What is no picture is known by its head."""
    path = tmp_path / "junk.jpg"
    path.write_bytes(head)
    os.truncate(path, 40 * 2**30)
    settings = replace(read_shipped(DataSettings, "data"), root=str(tmp_path))
    reason = opening.check_file(settings, None, (), "letterbox", ("junk.jpg", "x")).reason
    expected = (
        "not a picture" if head == b"x" else "too large: 40960 MB, more than a picture of data.max_pixels"
    )
    assert reason.startswith(expected)


def test_odd_names_are_kept(data):
    names = [
        "co,mma.png",
        "new\nline.png",
        'q"u.png',
        "car\riage.png",
        " sp .png",
        "\u00dc\u732b.png",
        "U\u0308\u732b.png",
    ]
    for number, name in enumerate(names):
        Image.new("RGB", (9, 9 + number), (number, 0, 0)).save(data / "train/red" / name)
    check_images.main()
    assert {f"train/red/{name}" for name in names} <= set(read_manifest("train").paths)


def test_a_class_name_may_end_in_a_carriage_return(data):
    for split in ("train", "val", "test"):
        (data / split / "red").rename(data / split / "red\r")
    check_images.main()
    manifest = read_manifest("train")
    assert (
        manifest.classes == ("blue", "green", "red\r")
        and manifest.labels.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    )


def test_a_test_picture_that_is_also_in_train_is_refused(place, data):
    (data / "test/red/leak.png").write_bytes((data / "train/red/3.png").read_bytes())
    Image.open(data / "train/blue/3.png").save(data / "train/red/relabelled.bmp")
    Image.open(data / "train/blue/4.png").save(data / "train/blue/twice.bmp")
    edit_params(place, data__on_bad="skip")
    check_images.main()
    assert read_refused() == {
        "test/red/leak.png": "in two splits: the same pixels as train/red/3.png (keep one of the two)",
        "train/red/relabelled.bmp": "in two classes: the same pixels as train/blue/3.png (one label is "
        "wrong: remove that file)",
    }
    assert read_ledger()["train/blue/twice.bmp"] == ("taken", "repeated: the same pixels as train/blue/4.png")


def test_folders_without_valid_pictures_are_all_reported(place, data):
    for path in (*(data / "train/green").iterdir(), *(data / "test").glob("*/*")):
        path.write_bytes(b"")
    edit_params(place, data__on_bad="skip")
    with pytest.raises(UserError) as error:
        check_images.main()
    left = "no usable picture is left (see data/bad_images.csv)"
    assert str(error.value) == f"{data}/train/green: {left}\n{data}/test: {left}"


@pytest.mark.parametrize("parts, lines", [({}, 6), ({"data__val": "train", "data__test": "train"}, 4)])
def test_a_set_without_any_valid_picture_is_refused(place, data, parts, lines):
    """For each class of train and each split; of a folder that is divided for all classes and each split."""
    for path in data.glob("*/*/*"):
        path.write_bytes(b"")
    edit_params(place, data__on_bad="skip", **parts)
    with pytest.raises(UserError) as error:
        check_images.main()
    assert len(str(error.value).splitlines()) == lines


def test_names_with_control_characters_are_shown_with_escapes(place, data, capsys):
    """Such as those that clear a terminal; one that ends a line would be taken for another message."""
    name = "red\x1b[2J\n"
    for split in ("train", "test"):
        (data / split / "red").rename(data / split / name)
    for row in range(1, 8):
        (data / f"test/{name}/{row}.png").unlink()
    (data / f"test/{name}/0.png").write_bytes(b"")
    edit_params(place, data__on_bad="skip")
    shutil.rmtree(data / "val/red")
    check_images.main()
    output = capsys.readouterr().out
    assert "\x1b" not in output and any(
        line.split() == ["red\\x1b[2J\\n", "8", "0", "0", "1"] for line in output.splitlines()
    )
    assert "warning: test has no picture of red\\x1b[2J\\n, it is not measured there\n" in output
    assert f"warning: {data}/val: no folder for class 'red\\x1b[2J\\n' of train, it is not" in output


def test_what_a_killed_run_has_left_is_removed(data):
    """Also by a run that divides nothing."""
    process = subprocess.Popen(["true"])
    process.wait()
    left = [Path("data/packed/.shared.npy"), Path(f"data/packed/..shared.npy.{process.pid}.tmp")]
    left[0].parent.mkdir(parents=True)
    for path in left:
        path.write_bytes(b"x")
    check_images.main()
    assert {path.name for path in Path("data/packed").iterdir()} == {"train.npy", "val.npy", "test.npy"}


def test_preflight_opens_nothing(data, monkeypatch):
    spoil(data)
    edit_params(Path(), student__batch_size=8, teacher__big__batch_size=8)
    monkeypatch.setattr("sys.argv", ["check_images", "--preflight"])
    check_images.main()
    assert not (data.parent / "place/data").exists()


def test_settings_that_contradict_the_classes_are_refused_before_a_picture_is_opened(data, monkeypatch):
    spoil(data)
    edit_params(Path(), student__class_weights={"bleu": 2.0}, teacher__big__prior={"gren": 0.5})
    for arguments in ([], ["--preflight"]):
        monkeypatch.setattr("sys.argv", ["check_images", *arguments])
        with pytest.raises(UserError) as error:
            check_images.main()
        assert str(error.value).splitlines()[-2:] == [
            "params.yaml: teacher.big.prior.gren: no such class, did you mean green?",
            "params.yaml: student.class_weights.bleu: no such class, did you mean blue?",
        ]
    assert not (data.parent / "place/data").exists()


def test_preflight_refuses_batches_larger_than_train(data, monkeypatch):
    """The stage itself may check a few pictures; a training refuses them."""
    edit_params(Path(), teacher__big__batch_size=8, student__accumulate=2)
    monkeypatch.setattr("sys.argv", ["check_images", "--preflight"])
    with pytest.raises(UserError) as error:
        check_images.main()
    assert str(error.value) == (
        "params.yaml: student.batch_size times accumulate: must be at most 24, the number of training "
        "pictures, got 50 x 2"
    )


def test_unused_pictures_in_data_are_pointed_out(place, capsys, monkeypatch):
    (place / "data/train").mkdir(parents=True)
    monkeypatch.setattr("sys.argv", ["check_images", "--preflight"])
    check_images.main()
    assert "ATTENTION: data/train exists, but data.root is data/demo" in capsys.readouterr().out


def test_the_demo_that_is_not_there_yet_is_named_with_what_writes_it(place, monkeypatch):
    edit_params(place, data__root="data/demo")
    with pytest.raises(UserError, match=r"^data/demo: not there yet \(make repro writes it"):
        check_images.main()
    monkeypatch.setattr("sys.argv", ["check_images", "--preflight"])
    check_images.main()
    assert not (place / "data/manifest").exists()
