"""The stage that opens every picture: manifests, packs, refused files; the user's folders stay untouched."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import edit_params
from PIL import Image

from src.ground.errors import UserError
from src.pictures.letterbox import letterbox
from src.pictures.manifest import read_manifest
from src.pictures.reading import read_pictures
from stages import check_images


@pytest.fixture
def data(place, tiny_images):
    edit_params(place, data__root=str(tiny_images), images__width=48)
    return tiny_images


def read_refused():
    with open("data/bad_images.csv", encoding="utf-8", newline="") as file:
        return {row["path"]: row["reason"] for row in csv.DictReader(file)}


def take_snapshot(root):
    return {path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in root.rglob("*")}


def test_manifest_and_pack_agree_with_the_files(data):
    before = take_snapshot(data)
    check_images.main()
    assert take_snapshot(data) == before
    for split in ("train", "val", "test"):
        manifest, pack = read_manifest(split), read_pictures(split, False)
        assert pack.shape == (24, 32, 48, 3) and pack.dtype == np.uint8 and len(manifest.paths) == 24
        for path, label, pixels in zip(manifest.paths, manifest.labels, pack, strict=True):
            assert path.split("/")[1] == manifest.classes[label]
            assert np.array_equal(pixels, np.asarray(letterbox(Image.open(data / path), 32, 48)))
    assert json.loads(open("data/models/teachers/classes.json").read()) == ["blue", "green", "red"]
    figures = {"classes": 3, "train": 24, "val": 24, "test": 24, "bad": 0}
    assert json.loads(open("metrics/data.json").read()) == {"data": figures}


def spoil(root):
    folder = root / "train/red"
    (folder / "0.png").write_bytes(b"")
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:300])
    (folder / "notes.txt").write_text("no picture")
    (folder / "folder.jpg").mkdir()
    (folder / "gone.png").symlink_to("nowhere.png")
    Image.new("RGB", (3, 3)).save(folder / "tiny.png")
    return {
        "train/red/0.png": "empty file",
        "train/red/1.png": "broken",
        "train/red/folder.jpg": "not a file; pictures must be directly in the class folder",
        "train/red/gone.png": "a broken link",
        "train/red/notes.txt": "not a picture",
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
    assert len(read_manifest("train").paths) == len(read_pictures("train", False)) == 22


def test_odd_names_are_kept(data):
    names = ["co,mma.png", "new\nline.png", 'q"u.png', " sp .png", "\u00dc\u732b.png", "U\u0308\u732b.png"]
    for number, name in enumerate(names):
        Image.new("RGB", (9, 9 + number), (number, 0, 0)).save(data / "train/red" / name)
    check_images.main()
    assert {f"train/red/{name}" for name in names} <= set(read_manifest("train").paths)


def test_a_test_picture_that_is_also_in_train_is_refused(place, data):
    (data / "test/red/leak.png").write_bytes((data / "train/red/3.png").read_bytes())
    Image.open(data / "train/blue/3.png").save(data / "train/red/relabelled.bmp")
    Image.open(data / "train/blue/4.png").save(data / "train/blue/twice.bmp")
    edit_params(place, data__on_bad="skip")
    check_images.main()
    assert read_refused() == {
        "test/red/leak.png": "the same pixels as train/red/3.png",
        "train/red/relabelled.bmp": "the same pixels as train/blue/3.png",
    }


def test_a_class_without_valid_pictures_is_reported(place, data):
    for path in (data / "train/green").iterdir():
        path.write_bytes(b"")
    edit_params(place, data__on_bad="skip")
    with pytest.raises(UserError, match=r"train/green: no usable picture is left"):
        check_images.main()


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
        assert str(error.value).splitlines()[:2] == [
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
