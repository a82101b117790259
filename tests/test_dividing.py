"""Pictures of one folder are divided by what they show: laws of the split, near duplicates, groups."""

import csv
import io
import shutil
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path
from time import process_time

import numpy as np
import pytest
from conftest import ROOT, edit_params, read_shipped
from PIL import Image

from src.ground.errors import UserError
from src.ground.files import read_json
from src.pictures import dividing, likeness
from src.pictures.counts import format_counts, warn_of_shares
from src.pictures.dividing import Looks, choose, divide, find_groups, find_shares, join_alike, warn_of_groups
from src.pictures.folders import Source
from src.pictures.grey import GREY_RANGE
from src.pictures.likeness import CORRELATION, Groups, correlate, find_candidates, find_likeness, join_near
from src.pictures.manifest import manifest_path, pack_path, read_manifest
from src.pictures.reading import read_pictures
from src.pictures.settings import DataSettings, SplitSettings
from stages import check_images

SPLITS = ("train", "val", "test")
HERE = {f"data__{split}": "." for split in SPLITS}
PHOTOS = ROOT.parent / "shared/data/clothing/test"
SPLIT = SplitSettings(val=0.15, test=0.15, group="none", seed=0)


def draw_photo(seed, width=96, height=72):
    """Smooth colours with some noise, like a photograph."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(float)
    return Image.fromarray((smooth + generator.normal(0, 4, smooth.shape)).clip(0, 255).astype(np.uint8))


def save_again(image, quality=75, scale=0.9):
    content = io.BytesIO()
    image.resize((round(scale * image.width), round(scale * image.height))).save(
        content, "JPEG", quality=quality
    )
    return content.getvalue()


@pytest.fixture
def photos(place, tmp_path):
    """60 pictures in each of two class folders, and no splits."""
    for number, name in enumerate(("cat", "dog")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for row in range(60):
            draw_photo(1000 * number + row).save(tmp_path / "photos" / name / f"{row:02}.png")
    edit_params(place, data__root=str(tmp_path / "photos"), **HERE)
    return tmp_path / "photos"


def find_splits():
    """The split of every path."""
    check_images.main()
    return {path: split for split in SPLITS for path in read_manifest(split).paths}


def read_ledger():
    with open("data/files.csv", encoding="utf-8", newline="") as file:
        return {row["path"]: (row["verdict"], row["reason"]) for row in csv.DictReader(file)}


def test_every_picture_is_in_one_split_with_its_own_pixels(photos):
    found = find_splits()
    assert len(found) == 120 and set(found.values()) == set(SPLITS)
    for split in SPLITS:
        manifest, pack = read_manifest(split), read_pictures(split, "letterbox", False)
        assert manifest.paths == sorted(manifest.paths) and len(pack) == len(manifest.paths)
        for path, label, pixels in zip(manifest.paths, manifest.labels, pack[:], strict=True):
            assert path.split("/")[0] == manifest.classes[label]
            image = Image.open(photos / path).resize((32, 24), Image.Resampling.BILINEAR)
            assert np.array_equal(pixels[4:28], np.asarray(image)) and not pixels[:4].any()
    assert sorted(path.name for path in Path("data/packed").iterdir()) == ["test.npy", "train.npy", "val.npy"]


@pytest.mark.slow
def test_added_and_renamed_pictures_move_no_other(photos):
    before = find_splits()
    for number in range(10):
        draw_photo(5000 + number).save(photos / "cat" / f"0-{number}.png")
    added = find_splits()
    assert {path: added[path] for path in before} == before and len(added) == 130
    for number, path in enumerate(before):
        (photos / path).rename(photos / path.replace("/", f"/{(7 * number) % 120:03}-"))
    renamed = find_splits()
    assert {path[:4] + path[8:]: split for path, split in renamed.items() if path[4:6] != "0-"} == before


@pytest.mark.slow
def test_another_seed_draws_other_pictures_and_the_size_none(place, photos):
    before = find_splits()
    edit_params(place, images__height=16, images__pack=False)
    assert find_splits() == before
    edit_params(place, data__split__seed=1)
    assert 0.2 < np.mean([before[path] != split for path, split in find_splits().items()]) < 0.8


def test_a_near_duplicate_of_a_training_picture_is_in_train(photos):
    before = find_splits()
    for path in before:
        (photos / path).with_suffix(".jpg").write_bytes(save_again(Image.open(photos / path), 90, 1))
    after = find_splits()
    for path, split in before.items():
        assert after[path] == after[path.replace("png", "jpg")]
        if split == "train":
            assert after[path] == "train"
    assert "alike: looks the same as cat/" in read_ledger()["cat/00.jpg"][1]


def test_without_near_duplicates_each_copy_goes_its_own_way_but_equal_pixels_stay_together(place, photos):
    edit_params(place, data__near_distance="none")
    for path in photos.glob("*/*.png"):
        Image.open(path).save(path.with_suffix(".bmp"))
    after = find_splits()
    assert len(after) == 240
    assert all(after[path] == after[path.replace("png", "bmp")] for path in after if path.endswith("png"))
    assert read_ledger()["dog/01.png"] == ("taken", "repeated: the same pixels as dog/01.bmp")


def test_rows_of_a_list_without_a_split_follow_what_belongs_to_them(place, photos, capsys):
    """The same pixels, a near duplicate, a picture of the same group, and one that belongs to two splits."""
    lines, words = ["path,label,split"], (*SPLITS, "")
    for row in range(60):
        image, path = Image.open(photos / f"cat/{row:02}.png"), f"cat/{row:02}"
        image.save(photos / f"{path}.bmp")
        (photos / f"{path}.jpg").write_bytes(save_again(image, 90, 1))
        (photos / f"dog/{row:02}.png").rename(photos / f"dog/p{row // 2}_{row}.png")
        lines += [f"{path}.png,cat,{words[row % 4]}", f"{path}.bmp,cat,", f"{path}.jpg,cat,"]
        lines += [f"dog/p{row // 2}_{row}.png,dog,{words[row // 2 % 4] if row % 2 else ''}"]
    shutil.copy(photos / "cat/01.png", photos / "twin.png")
    (photos / "list.csv").write_text("\n".join([*lines, "twin.png,cat,train"]))
    edit_params(place, data__list="list.csv", data__split__group="p[0-9]+_", data__on_bad="skip")
    found = find_splits()
    assert len(found) == 241 - 1 and "cat/01.png" not in found  # its twin is in train
    fixed = {path: word for path, _, word in (line.split(",") for line in lines[1:]) if word}
    assert {path: found.get(path, "val") for path in fixed} == fixed
    for row in range(60):
        same = {found[f"cat/{row:02}.{ending}"] for ending in ("bmp", "jpg")}
        assert len(same) == 1 and (row % 4 == 3 or same == {"train" if row == 1 else words[row % 4]})
        if row % 2 and row // 2 % 4 < 3:
            assert found[f"dog/p{row // 2}_{row - 1}.png"] == words[row // 2 % 4]
    output = capsys.readouterr().out
    assert "groups in two splits" not in output and "135 of 172 pictures are in no group" in output


@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_a_change_of_a_test_picture_changes_neither_train_nor_val(place, photos, margin):
    edit_params(place, images__pack_margin=margin)
    found = find_splits()
    files = [form(split) for form in (manifest_path, pack_path) for split in SPLITS]
    before = {file: file.read_bytes() for file in files}
    assert (
        np.load(pack_path("train")).shape[1] == 32 * (1 + margin) and np.load(pack_path("val")).shape[1] == 32
    )
    path = next(path for path, split in found.items() if split == "test")
    image = Image.open(photos / path)
    image.putpixel((40, 40), tuple(level ^ 1 for level in image.getpixel((40, 40))))
    image.save(photos / path)
    check_images.main()
    changed = {str(file) for file in files if file.read_bytes() != before[file]}
    assert "data/manifest/test.csv" in changed <= {"data/manifest/test.csv", "data/packed/test.npy"}


@pytest.mark.slow
def test_the_folder_of_train_and_val_is_divided_and_that_of_test_is_not(place, photos):
    (photos / "all").mkdir()
    for name in ("cat", "dog"):
        (photos / name).rename(photos / "all" / name)
        (photos / "Test" / name).mkdir(parents=True)
        for number in range(3):
            draw_photo(9000 + number + 10 * (name == "cat")).save(photos / "Test" / name / f"{number}.png")
    edit_params(place, data__train="all", data__val="all", data__test="Test")
    before = find_splits()
    (photos / "all/cat/leak.jpg").write_bytes(save_again(Image.open(photos / "Test/cat/0.png")))
    (photos / "all/dog/more.jpg").write_bytes(save_again(Image.open(photos / "all/dog/00.png")))
    found, remarks = find_splits(), {path: reason for path, (_, reason) in read_ledger().items() if reason}
    assert remarks == {
        "all/cat/leak.jpg": "alike in two splits: looks the same as Test/cat/0.png",
        "Test/cat/0.png": "alike in two splits: looks the same as all/cat/leak.jpg",
        "all/dog/more.jpg": "alike: looks the same as all/dog/00.png",
        "all/dog/00.png": "alike: looks the same as all/dog/more.jpg",
    }
    assert (
        found.pop("all/cat/leak.jpg") != "test" and found.pop("all/dog/more.jpg") == found["all/dog/00.png"]
    )
    assert {path: split for path, split in found.items() if path != "all/dog/00.png"} == {
        path: split for path, split in before.items() if path != "all/dog/00.png"
    }
    assert Counter(split == "test" for split in found.values()) == {False: 120, True: 6}
    assert all((path.startswith("Test/")) == (split == "test") for path, split in found.items())
    assert 5 < sum(split == "val" for split in found.values()) < 35


def test_16_bit_grey_of_train_alone_sets_the_range(place, tmp_path):
    """The range is that of the pictures that came to train, measured here by numpy."""
    generator = np.random.default_rng(0)
    for name in ("bone", "lung"):
        (tmp_path / "x-rays" / name).mkdir(parents=True)
        for number in range(20):
            low = 1000 + 10 * number
            pixels = generator.integers(low, low + 2000, (20, 20), dtype=np.uint16)
            Image.fromarray(pixels).save(tmp_path / "x-rays" / name / f"{number:02}.png")
    root = tmp_path / "x-rays"
    edit_params(place, data__root=str(root), images__grey_range="set", images__pack=True, **HERE)
    found = find_splits()
    values = [np.asarray(Image.open(root / path)) for path, split in found.items() if split == "train"]
    low, high = min(map(np.min, values)), max(map(np.max, values))
    assert read_json(GREY_RANGE) == [low, high]
    edit_params(place, images__grey_range=[int(low), int(high)])
    packs = [np.array(np.load(pack_path(split))) for split in SPLITS]
    assert find_splits() == found
    assert all(np.array_equal(np.load(pack_path(s)), pack) for s, pack in zip(SPLITS, packs, strict=True))


def draw_looks(count, seed=0):
    generator = np.random.default_rng(seed)
    return Looks(
        np.arange(count).astype("S32"), generator.integers(0, 2**64, count, dtype=np.uint64),
        generator.integers(0, 256, (count, 768), dtype=np.uint8),
    )  # fmt: skip


@pytest.mark.parametrize("splits", [SPLITS, ("train", "val"), ("train", "test"), ("val", "test")])
def test_the_shares_hold_in_every_class(splits):
    """Within five standard deviations of a binomial distribution."""
    shares = find_shares(splits, SPLIT)
    assert sum(shares.values()) == pytest.approx(1)
    files = [(f"{row}", f"class {row % 3}") for row in range(6000)]
    found = divide(files, {}, draw_looks(6000), Groups(6000), [splits] * 6000, SPLIT)
    for name in range(3):
        counts = Counter(found[name::3])
        for split, share in shares.items():
            assert abs(counts[split] - 2000 * share) < 5 * (2000 * share * (1 - share)) ** 0.5
    assert [choose(number, SPLITS, SPLIT) for number in (0, 0.149, 0.151, 0.29, 0.31, 0.99)] == [
        "test", "test", "val", "val", "train", "train",
    ]  # fmt: skip
    assert find_shares(("val", "test"), SPLIT) == {"val": 0.5, "test": 0.5}


@pytest.mark.parametrize("draw", ["scratches", "swatches"])
def test_pictures_that_are_hard_to_tell_apart_are_divided(place, photos, draw):
    """By their pixels: scratches of one surface without near duplicates; of one colour each in any case."""
    edit_params(place, data__near_distance="none" if draw == "scratches" else 4)
    surface = np.asarray(draw_photo(0)).copy()
    for number, path in enumerate(sorted(photos.glob("*/*.png"))):
        pixels = surface.copy()
        if draw == "swatches":
            pixels[:] = 200 - number, 40 + number // 2, 90
        pixels[number % 72, :3] = number
        Image.fromarray(pixels).save(path)
    counts = Counter(find_splits().values())
    assert counts["train"] > 60 and min(counts["val"], counts["test"]) > 5


@pytest.mark.slow
def test_a_distance_may_be_written_as_a_decimal_number(place, photos):
    for path in photos.glob("*/*.png"):
        path.with_suffix(".jpg").write_bytes(save_again(Image.open(path), 90, 1))
    found = {}
    for distance in (4, 4.0):
        edit_params(place, data__near_distance=distance)
        found[str(distance)] = find_splits()
    assert found["4"] == found["4.0"]
    assert all(split == found["4.0"][path.replace("png", "jpg")] for path, split in found["4.0"].items())


@pytest.mark.slow
def test_groups_stay_together_and_a_name_is_one_group_in_all_classes(place, photos, capsys):
    for path in photos.glob("*/*.png"):
        folder = path.parent / f"patient {int(path.stem) // 6}"
        folder.mkdir(exist_ok=True)
        path.rename(folder / path.name)
    with pytest.raises(UserError, match="cat/patient 0/00.png: .* or set data.split.group: subfolder"):
        check_images.main()
    edit_params(place, data__split__group="subfolder", data__split__val=0.3, data__split__test=0.3)
    found = find_splits()
    splits = {path.split("/")[1]: split for path, split in found.items()}
    assert len(found) == 120 and len(splits) == 10
    assert all(split == splits[path.split("/")[1]] for path, split in found.items())
    assert "no group" not in capsys.readouterr().out
    for folder in (photos / "dog").iterdir():
        for path in folder.iterdir():
            path.rename(photos / f"dog/{path.name}")
    (photos / "cat/patient 1/scan").mkdir()
    (photos / "cat/patient 1/06.png").rename(photos / "cat/patient 1/scan/06.png")
    with pytest.raises(
        UserError, match="scan/06.png: in a folder inside that of a group .move it up into that fo"
    ):
        check_images.main()
    assert (
        "warning: data.split.group: 60 of 119 pictures are in no group, first dog/00.png, all of dog (correct"
    ) in capsys.readouterr().out


def test_a_regex_groups_by_its_first_group_or_the_whole_match():
    files = [(f"cat/{name}", "cat") for name in ("a_1.png", "a_2.png", "b_1.png", "x.png")]
    source = Source(SPLITS, ".", files, [])
    whole, part = {"cat/a_1.png": "a_", "cat/a_2.png": "a_", "cat/b_1.png": "b_"}, r"/([a-z])_"
    assert find_groups([source], "[a-z]_") == whole
    assert find_groups([source], part) == {path: key[0] for path, key in whole.items()}
    looks, groups = draw_looks(4), Groups(4)
    keys = find_groups([source], part)
    found = {
        divide(files, keys, looks, Groups(4), [SPLITS] * 4, replace(SPLIT, seed=seed))[0]
        for seed in range(40)
    }
    same = [divide(files, keys, looks, groups, [SPLITS] * 4, SPLIT) for _ in range(2)]
    assert same[0][0] == same[0][1] and found == set(SPLITS)


def test_a_regex_that_backtracks_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(dividing, "MATCHING", 0.1)
    files = [(f"cat/{'a' * 40}{row}!.png", "cat") for row in range(3)]
    before = signal.getsignal(signal.SIGVTALRM)
    with pytest.raises(
        UserError, match=r"data.split.group: '\(a\+\)\+\$' takes over 0 seconds for 3 paths \("
    ):
        find_groups([Source(SPLITS, ".", files, [])], "(a+)+$")
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0, 0)
    assert signal.getsignal(signal.SIGVTALRM) is before


@pytest.mark.parametrize(
    "group, message",
    [
        (
            "subfolder",
            "params.yaml: data.split.group: subfolder, but the pictures are in the folders of classes",
        ),
        ("patient", "params.yaml: data.split.group: 'patient' matches no path, such as cat/00.png"),
        ("png", "params.yaml: data.split.group: 'png' puts all pictures into one group, 'png'"),
    ],
)
def test_groups_that_group_nothing_or_all_are_refused(place, photos, group, message):
    edit_params(place, data__split__group=group)
    with pytest.raises(UserError) as error:
        check_images.main()
    assert str(error.value).startswith(message) and len(str(error.value).splitlines()) == 1
    assert not Path("data/manifest").exists()  # no picture was opened


@pytest.mark.slow
def test_splits_that_are_left_empty_are_refused(place, photos):
    edit_params(place, data__split__val=0.0001, data__split__test=0.0002)
    with pytest.raises(UserError) as error:
        check_images.main()
    assert str(error.value).splitlines() == [
        f"params.yaml: data.split: no picture has come to {split} (another data.split.seed, other shares, or "
        "data.near_distance: none if many only look alike)" for split in ("val", "test")
    ]  # fmt: skip
    edit_params(place, data__split__val=0.5, data__split__test=0.499)
    with pytest.raises(UserError, match=r"data.split: no picture of cat, dog has come to train \(another"):
        check_images.main()


def test_of_many_classes_the_largest_and_the_smallest_are_shown():
    """40 classes of 1 to 40 pictures of train, and a line of sums."""
    classes = [f"class {number:02}" for number in range(1, 41)]
    counts = {
        "train": {name: int(name[6:]) for name in classes},
        "val": {},
        "test": {},
        "refused": {classes[0]: 2},
    }
    lines = [line.split() for line in format_counts(classes, counts, Path("counts.csv"))]
    assert lines[0] == ["class", "train", "val", "test", "refused"] and len(lines) == 1 + 20 + 1 + 1
    assert [int(line[2]) for line in lines[1:11]] == list(range(40, 30, -1))
    assert lines[11] == "... 20 classes between these: counts.csv".split()
    assert [int(line[2]) for line in lines[12:22]] == list(range(10, 0, -1)) and lines[21][5] == "2"
    assert lines[22] == ["all", "820", "0", "0", "2"]


@pytest.mark.slow
def test_few_pictures_and_uneven_classes_are_warned_of_last(place, photos, capsys):
    for path in sorted(photos.glob("dog/*"))[9:]:
        path.unlink()
    for number in range(900):
        draw_photo(2000 + number, 12, 12).save(photos / "cat" / f"more {number}.png")
    edit_params(place, data__split__seed=3)
    check_images.main()
    lines = capsys.readouterr().out.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("warning: "))
    assert all(line.startswith("warning: ") for line in lines[first:])
    assert "warning: fewer than 10 pictures of 1 of 2 classes: dog 9" in lines
    assert any(line.startswith("warning: uneven classes: 960 pictures of cat, 9 of dog (") for line in lines)
    with open("data/counts.csv", newline="") as file:
        rows = {
            row.pop("class"): {key: int(value) for key, value in row.items()} for row in csv.DictReader(file)
        }
    found = Counter((path.split("/")[0], split) for split in SPLITS for path in read_manifest(split).paths)
    assert rows == {
        name: {split: found[name, split] for split in SPLITS} | {"refused": 0} for name in ("cat", "dog")
    }
    totals = [str(sum(row[column] for row in rows.values())) for column in (*SPLITS, "refused")]
    assert ["all", *totals] in [line.split() for line in lines]


def test_a_class_of_one_picture_is_refused_before_and_after_a_look(place, photos):
    for path in sorted(photos.glob("dog/*"))[2:]:
        path.unlink()
    (photos / "dog/01.png").write_bytes(b"")
    edit_params(place, data__on_bad="skip")
    with pytest.raises(UserError, match=r"photos: under 2 usable pictures of dog \(add some or remove"):
        check_images.main()
    (photos / "dog/01.png").unlink()
    with pytest.raises(UserError, match=r"photos: fewer than 2 pictures of 1 class: dog 1 \(add some or"):
        check_images.main()


@pytest.mark.slow
def test_shares_that_a_crowd_has_skewed_are_warned_of(photos, capsys):
    """All cats in one photo, but for a little noise."""
    check_images.main()
    assert "data.split: " not in capsys.readouterr().out
    cat = np.asarray(draw_photo(0)).astype(int)
    for row in range(150):
        noise = np.random.default_rng(row).integers(0, 5, cat.shape)
        Image.fromarray((cat + noise).clip(0, 255).astype(np.uint8)).save(photos / f"cat/more {row}.png")
    check_images.main()
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "data.split: " in line]
    counts = {split: len(read_manifest(split).paths) for split in SPLITS}
    assert line == (
        f"warning: data.split: {', '.join(f'{counts[split] / 270:.3g} to {split}' for split in SPLITS)}, not "
        "0.7, 0.15, 0.15: what belongs together stays together, and 151 pictures look the same "
        "(data.near_distance: none if they only look alike)"
    )


def test_groups_in_two_splits_are_named():
    splits = {"a/1.png": "train", "b/1.png": "test", "b/2.png": "test", "c.png": "val"}
    keys = {"a/1.png": "p1", "b/1.png": "p1", "b/2.png": "p2", "gone.png": "p2"}
    assert list(warn_of_groups(splits, keys)) == [
        "data.split.group: 1 group in two splits: p1 (what is measured may be too good: keep each in "
        "one split)"
    ]


def test_shares_are_off_by_more_than_chance():
    shares = {"train": 0.7, "val": 0.15, "test": 0.15}
    usual, skewed = Counter(train=690, val=170, test=140), Counter(train=400, val=450, test=150)
    assert not list(warn_of_shares(usual, 5, 0, shares)) and not list(warn_of_shares(Counter(), 0, 0, shares))
    assert list(warn_of_shares(skewed, 5, 330, shares)) == [
        "data.split: 0.4 to train, 0.45 to val, 0.15 to test, not 0.7, 0.15, 0.15: what belongs together "
        "stays together, and a group has 330 pictures (another data.split.seed, or smaller groups)"
    ]


def test_near_duplicates_of_given_splits_and_of_two_classes_are_warned_of(place, photos, capsys):
    """They are no reason to refuse a picture; those of one class and split are only remarked on."""
    for split in SPLITS:
        (photos / split).mkdir()
        for name in ("cat", "dog"):
            if split == "train":
                (photos / name).rename(photos / split / name)
            else:
                (photos / split / name).mkdir()
                draw_photo(7000 + 2 * (split == "val") + (name == "cat")).save(
                    photos / split / name / "0.png"
                )
    images = {number: Image.open(photos / f"train/cat/{number:02}.png") for number in (1, 2, 3)}
    (photos / "test/cat/leak.jpg").write_bytes(save_again(images[1]))
    (photos / "train/dog/wrong.jpg").write_bytes(save_again(images[2]))
    (photos / "train/cat/more.jpg").write_bytes(save_again(images[3]))
    edit_params(place, **{f"data__{split}": split for split in SPLITS})
    check_images.main()
    remarks = {path: reason for path, (_, reason) in read_ledger().items() if reason}
    assert remarks == {
        "train/cat/01.png": "alike in two splits: looks the same as test/cat/leak.jpg",
        "test/cat/leak.jpg": "alike in two splits: looks the same as train/cat/01.png",
        "train/cat/02.png": "alike in two classes: looks the same as train/dog/wrong.jpg",
        "train/dog/wrong.jpg": "alike in two classes: looks the same as train/cat/02.png",
        "train/cat/03.png": "alike: looks the same as train/cat/more.jpg",
        "train/cat/more.jpg": "alike: looks the same as train/cat/03.png",
    }
    output = capsys.readouterr().out
    assert (
        "warning: 2 pictures alike in two splits: test/cat/leak.jpg and train/cat/01.png (what is measured "
        "may be too good: remove one of two; data/files.csv lists all)"
    ) in output
    assert "warning: 2 pictures alike in two classes: train/cat/02.png and train/dog/wrong.jpg (" in output


@pytest.mark.parametrize("distance", [0, 1, 4, 8, 16])
def test_all_near_hashes_are_found(distance):
    """Against comparing each with each."""
    generator = np.random.default_rng(1)
    hashes = generator.integers(0, 2**64, 300, dtype=np.uint64)
    for row in range(150):
        flips = generator.choice(64, generator.integers(0, 20), replace=False)
        hashes[150 + row] = hashes[row] ^ np.uint64(sum(1 << int(bit) for bit in flips))
    expected = {
        (one, other) for one in range(300) for other in range(one + 1, 300)
        if (int(hashes[one]) ^ int(hashes[other])).bit_count() <= distance
    }  # fmt: skip
    found = [
        tuple(sorted((some[row], others[column])))
        for some, others, near in find_candidates(hashes, distance)
        for row, column in np.argwhere(near)
    ]
    assert set(found) == expected and (len(expected) > 5 or distance < 2)
    assert len(found) == len(set(found))  # none twice


def test_the_correlation_is_that_of_numpy():
    generator = np.random.default_rng(0)
    some, others = (generator.integers(0, 256, (count, 768), dtype=np.uint8) for count in (5, 7))
    expected = [[np.corrcoef(one, other)[0, 1] for other in others] for one in some]
    assert correlate(some, others) == pytest.approx(np.array(expected))


@pytest.mark.parametrize("tile", [7, 512])
def test_the_groups_are_those_of_comparing_each_with_each(monkeypatch, tile):
    """Crowds of equal and of near hashes, some of whose thumbnails correlate."""
    monkeypatch.setattr(likeness, "TILE", tile)
    generator = np.random.default_rng(0)
    thumbnails = generator.integers(0, 230, (25, 768))[generator.integers(0, 25, 80)]
    thumbnails = (thumbnails + generator.integers(0, 12, (80, 768))).astype(np.uint8)
    hashes = generator.integers(0, 2, 80, dtype=np.uint64) * np.uint64(0b11111) ^ (
        np.uint64(1) << generator.integers(40, 43, 80, dtype=np.uint64)
    )
    near = np.bitwise_count(hashes[:, None] ^ hashes) <= 4
    alike = near & (np.corrcoef(thumbnails) >= CORRELATION)
    expected = alike
    for _ in range(7):
        expected = expected @ expected
    groups = Groups(80)
    join_near(hashes, thumbnails, 4, groups)
    assert np.array_equal(groups.names()[:, None] == groups.names(), expected)
    assert 25 < len(set(groups.names().tolist())) < 60


def test_a_crowd_of_one_hash_takes_no_time():
    """As of text cards, which look unlike: it took a minute."""
    thumbnails = np.random.default_rng(0).integers(0, 256, (2000, 768), dtype=np.uint8)
    groups, start = Groups(2000), process_time()
    join_near(np.zeros(2000, np.uint64), thumbnails, 4, groups)
    assert process_time() - start < 10 and len(set(groups.names().tolist())) == 2000


def test_the_hash_is_that_of_a_transform_in_floating_point():
    """scipy's DCT-II of the same 32 x 32 grey pixels; rounded cosines change no bit but on the edge."""
    from scipy.fft import dctn

    for seed in range(20):
        image = draw_photo(seed)
        small = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR, reducing_gap=2.0), float)
        strengths = dctn(small @ (0.299, 0.587, 0.114), norm=None)[1:9, 1:9].ravel()
        bits = find_likeness(image).hash ^ int(
            "".join("01"[int(one)] for one in strengths > np.median(strengths)), 2
        )
        wrong = [number for number in range(64) if bits >> (63 - number) & 1]
        edge = np.abs(strengths - np.median(strengths))[wrong]
        assert (edge < 1e-3 * np.abs(strengths).max()).all() and len(wrong) <= 2


@pytest.mark.parametrize(
    "change", [dict(quality=30, scale=1), dict(scale=0.9), dict(scale=0.5), dict(scale=1.5)]
)
def test_a_picture_that_was_saved_again_looks_the_same(change):
    images = [draw_photo(seed, 240, 320) for seed in range(20)]
    again = [Image.open(io.BytesIO(save_again(image, **change))) for image in images]
    found = [find_likeness(image) for image in (*images, *again)]
    groups = Groups(40)
    hashes = np.array([one.hash for one in found], np.uint64)
    thumbnails = np.stack([np.frombuffer(one.thumbnail, np.uint8) for one in found])
    join_near(hashes, thumbnails, 4, groups)
    assert groups.names().tolist() == 2 * list(range(20))


def test_grey_of_16_bits_looks_the_same_in_any_range():
    pixels = np.asarray(draw_photo(0).convert("L")).astype(np.uint16)
    plain, dark = (find_likeness(Image.fromarray(pixels * factor)) for factor in (257, 3))
    colour = find_likeness(Image.fromarray(pixels.astype(np.uint8)).convert("RGB"))
    assert (plain.hash ^ dark.hash).bit_count() <= 2 and (plain.hash ^ colour.hash).bit_count() <= 8


def test_colours_and_single_colours_are_told_apart():
    """One drawing in two colours; and pictures that show nothing are near none."""
    white = np.full((64, 64, 3), 255, np.uint8)
    red, blue = white.copy(), white.copy()
    red[8:40, 20:50], blue[8:40, 20:50] = (200, 20, 20), (20, 20, 200)
    found = [find_likeness(Image.fromarray(one)) for one in (red, blue, white, white - 3)]
    thumbnails = np.stack([np.frombuffer(one.thumbnail, np.uint8) for one in found])
    groups = Groups(4)
    join_near(np.zeros(4, np.uint64), thumbnails, 4, groups)
    assert groups.names().tolist() == [0, 1, 2, 3]
    assert correlate(thumbnails[:1], thumbnails[1:2])[0] < CORRELATION


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="no photos of clothes beside the project")
def test_the_photo_under_two_classes_is_found_and_no_other():
    files = sorted((PHOTOS.parent).glob("*/s[hk]*/*.jpg"))
    found = [find_likeness(Image.open(file).convert("RGB")) for file in files]
    hashes = np.array([one.hash for one in found], np.uint64)
    thumbnails = np.stack([np.frombuffer(one.thumbnail, np.uint8) for one in found])
    data = replace(read_shipped(DataSettings, "data"), root=str(PHOTOS))
    looks = Looks(np.array([str(file).encode() for file in files]), hashes, thumbnails)
    names = join_alike(looks, data.distance).names()
    (pair,) = np.flatnonzero(names != np.arange(len(files)))
    assert {files[pair].parent.name, files[names[pair]].parent.name} == {"shorts", "skirt"}


@pytest.mark.slow
def test_own_data_folder_with_splits_beside_the_outputs(place, tiny_images):
    """The stage's outputs lie beside the pictures, and a second run takes none of them for pictures."""
    for split in SPLITS:
        shutil.move(tiny_images / split, place / "data" / split)
    edit_params(place, data__root=str(place / "data"))
    first, second = find_splits(), find_splits()
    assert first == second and len(first) == 72
