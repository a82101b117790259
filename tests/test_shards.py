"""Packs above images.shard: the same pictures in several files, whatever is missing or damaged is named."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Project, draw_tiny_images, edit_params

from src.ground.errors import UserError
from src.pictures.manifest import SPLITS, manifest_path, pack_path
from src.pictures.reading import Pack
from src.pictures.shards import LIST, write_pack
from stages import check_images

ROW = 4 * 5 * 3  # bytes of a picture
THREE = 3 * ROW / 2**30  # GiB


def draw(count=10):
    return np.random.default_rng(0).integers(0, 256, (count, 4, 5, 3), dtype=np.uint8)


def write(path, pictures, shard=THREE):
    with write_pack(path, (4, 5, 3), shard) as writer:
        for picture in pictures:
            writer.append(picture.tobytes())


def test_a_pack_is_a_file_up_to_the_size_and_a_folder_above_it(tmp_path):
    path, pictures = tmp_path / "train.npy", draw()
    write(path, pictures[:3])
    assert np.array_equal(np.load(path), pictures[:3])
    write(path, pictures)
    assert sorted(one.name for one in path.iterdir()) == [*(f"0000{n}.npy" for n in range(4)), LIST]
    shards = [np.load(path / f"0000{number}.npy") for number in range(4)]
    assert [len(shard) for shard in shards] == [3, 3, 3, 1]
    assert np.array_equal(np.concatenate(shards), pictures)
    first = (path / "00000.npy").read_bytes()
    write(path, pictures[:7])
    assert [one["rows"] for one in json.loads((path / LIST).read_text())] == [3, 3, 1]
    assert (path / "00000.npy").read_bytes() == first
    write(path, [])
    assert np.load(path).shape == (0, 4, 5, 3)
    assert [one.name for one in tmp_path.iterdir()] == ["train.npy"]


def test_a_picture_larger_than_a_shard_is_one(tmp_path):
    write(tmp_path / "a.npy", draw(2), shard=1e-12)
    assert len(Pack(tmp_path / "a.npy")) == 2 and len(list((tmp_path / "a.npy").iterdir())) == 3


@pytest.mark.parametrize(
    "rows", [slice(None), slice(2, 8), slice(7, 1, -2), [9, 0, 3, 3], np.array([5]), np.array([], int), []]
)
def test_rows_of_shards_are_those_of_one_array(tmp_path, rows):
    pictures = draw()
    write(tmp_path / "train.npy", pictures)
    pack = Pack(tmp_path / "train.npy")
    assert pack.shape == (10, 4, 5, 3)
    expected = pictures[np.asarray(rows, int)] if isinstance(rows, list) else pictures[rows]
    assert np.array_equal(pack[rows], expected)


def test_an_error_leaves_the_pack_as_it_was(tmp_path):
    path, pictures = tmp_path / "train.npy", draw()
    write(path, pictures)
    with pytest.raises(RuntimeError), write_pack(path, (4, 5, 3), THREE) as writer:
        for _ in range(5):
            writer.append(bytes(ROW))
        raise RuntimeError
    assert np.array_equal(Pack(path)[:], pictures)
    assert [one.name for one in tmp_path.iterdir()] == ["train.npy"]


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def save_other(path):
    np.save(path, draw(2))


@pytest.mark.parametrize(
    "name, spoil, said",
    [
        ("00001.npy", Path.unlink, "train.npy/00001.npy: missing: this shard of the pack is gone ("),
        ("00002.npy", cut, "train.npy/00002.npy: damaged or not a pack ("),
        ("00000.npy", save_other, "train.npy/00000.npy: holds (2, 4, 5, 3), "),
        (LIST, Path.unlink, f"train.npy/{LIST}: missing: it lists the shards of the pack ("),
        (LIST, lambda path: path.write_text("[3]"), f"train.npy/{LIST}: not a list of shards ("),
        (LIST, lambda path: path.write_text("[]"), f"train.npy/{LIST}: not a list of shards ("),
        (LIST, lambda path: path.write_text("[{"), f"train.npy/{LIST}: not JSON: "),
    ],
)
def test_what_is_missing_or_damaged_is_one_line_with_the_remedy(tmp_path, monkeypatch, name, spoil, said):
    monkeypatch.chdir(tmp_path)
    write(Path("train.npy"), draw())
    spoil(Path("train.npy") / name)
    with pytest.raises(UserError) as error:
        Pack(Path("train.npy"))
    assert str(error.value).startswith(said) and "\n" not in str(error.value)
    assert "dvc" in str(error.value)


def read_packs():
    return {split: Pack(pack_path(split))[:] for split in SPLITS}


@pytest.mark.parametrize("folders", ["own", "shared"])
@pytest.mark.slow
def test_check_images_writes_the_same_pictures_in_shards(place, tmp_path, folders):
    root = draw_tiny_images(tmp_path / "pictures", 8)
    (root / "val/red/0.png").write_bytes((root / "train/red/0.png").read_bytes())  # is refused
    edit_params(place, data__root=str(root), data__on_bad="skip")
    if folders == "shared":
        edit_params(place, data__val="train", data__split__val=0.5)
    check_images.main()
    packs = read_packs()
    manifests = [manifest_path(split).read_bytes() for split in SPLITS]
    edit_params(place, images__shard=5 * 32 * 32 * 3 / 2**30)
    check_images.main()
    assert [manifest_path(split).read_bytes() for split in SPLITS] == manifests
    for split, pictures in read_packs().items():
        listed = json.loads((pack_path(split) / LIST).read_text())
        assert [one["rows"] for one in listed[:-1]] == [5] * (len(pictures) // 5 - (len(pictures) % 5 == 0))
        assert np.array_equal(pictures, packs[split])


@pytest.mark.slow
def test_dvc_keeps_shards_and_the_next_stages_read_them(tmp_path):
    project = Project(tmp_path / "dojo", draw_tiny_images(tmp_path / "pictures", 8))
    project.run("dvc", "repro", "train_teacher")
    weights = project.folder / "data/models/teachers/big.safetensors"
    expected = weights.read_bytes()
    edit_params(project.folder, images__shard=5 * 32 * 32 * 3 / 2**30)
    project.run("dvc", "repro", "train_teacher")
    folder = project.folder / "data/packed/train.npy"
    assert len(list(folder.iterdir())) == 6
    assert weights.read_bytes() == expected
    project.run("rm", "-r", "data/packed")
    project.run("dvc", "checkout", "check_images")
    (folder / "00003.npy").unlink()
    said = project.run(sys.executable, "-m", "stages.train_teacher", "big", code=1)
    assert "error: data/packed/train.npy/00003.npy: missing: this shard of the pack is gone" in said
