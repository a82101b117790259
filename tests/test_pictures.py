"""Pictures read from files equal the pack, exactly or within a stated tolerance; errors name the file."""

import io
import os
import shutil

import numpy as np
import pytest
from conftest import ROOT, edit_params
from odd_pictures import EACH_KIND, make_picture, make_pictures
from PIL import Image

from src.ground.errors import UserError
from src.ground.files import read_json, sha256
from src.ground.texts import Texts
from src.pictures.decode import decode
from src.pictures.fitting import FITS, fit_picture
from src.pictures.folders import Files
from src.pictures.grey import GREY_RANGE, read_grey_range
from src.pictures.manifest import pack_path, read_manifest
from src.pictures.reading import FilePictures, read_learning_pictures, read_pictures, resize_pictures
from src.pictures.reduced import decode_sound
from stages import check_images

PHOTOS = ROOT.parent / "shared/data/clothing/test"


@pytest.fixture
def checked(place, tiny_images):
    """The working folder after check_images on tiny pictures and one photo with an odd name, packed."""
    make_photo(700, 500).save(tiny_images / "train/red/caf\u00e9, 1.jpg", quality=90, exif=make_exif(6))
    edit_params(place, data__root=str(tiny_images), images__height=32, images__width=48)
    check_images.main()
    return place


def make_photo(width, height, seed=0):
    """Smooth colours with some noise, like a photograph."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(float)
    return Image.fromarray((smooth + generator.normal(0, 8, smooth.shape)).clip(0, 255).astype(np.uint8))


def make_exif(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.slow
def test_files_give_the_bytes_of_the_pack(checked, capsys, fit):
    edit_params(checked, images__fit=fit)
    check_images.main()
    packed = {split: np.array(read_pictures(split, fit, False)) for split in ("train", "val")}
    edit_params(checked, images__pack=False)
    check_images.main()
    assert np.load(pack_path("train")).shape == (0, 32, 48, 3)
    for split, pack in packed.items():
        files = read_pictures(split, fit, False)
        assert isinstance(files, FilePictures) and len(files) == len(pack) and files.shape == pack.shape
        assert np.array_equal(files[:], pack) and np.array_equal(files[3:7], pack[3:7])
        assert np.array_equal(files[[5, 0, 5]], pack[[5, 0, 5]]) and files[20:20].shape == (0, 32, 48, 3)
    scaled = read_pictures("train", fit, True)[:].astype(int)
    assert 0 < np.abs(scaled - packed["train"]).mean() < 1
    edit_params(checked, images__pack="auto", images__pack_limit=1e-6)
    check_images.main()
    assert (
        "images.pack: auto: the pictures are read from their files each time (0.00031"
        in capsys.readouterr().out
    )
    assert len(np.load(pack_path("val"))) == 0


@pytest.fixture
def x_rays(place, tmp_path):
    """12 bits of data in 16-bit files: two classes, values 1000 to 1255 in train."""
    generator = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for name, shift in (("bone", 0), ("lung", 100)):
            folder = tmp_path / "x-rays" / split / name
            folder.mkdir(parents=True)
            for number in range(3):
                pixels = generator.integers(1000 + shift, 1156 + shift, (20, 20), dtype=np.uint16)
                pixels[0, 0] = 1000 + 255 * (name == "lung")
                Image.fromarray(pixels).save(folder / f"{number}.{'png' if number else 'tif'}")
    edit_params(place, data__root=str(tmp_path / "x-rays"), images__height=20, images__width=20)
    return tmp_path / "x-rays"


@pytest.mark.parametrize("grey_range", ["set", [1000, 1255]])
@pytest.mark.slow
def test_16_bit_grey_has_the_same_range_in_packs_files_and_all_splits(place, x_rays, capsys, grey_range):
    edit_params(place, images__grey_range=grey_range, images__pack=True)
    check_images.main()
    assert read_json(GREY_RANGE) == [1000, 1255] and "warning: pictures" not in capsys.readouterr().out
    packed = {split: np.array(read_pictures(split, "letterbox", False)) for split in ("train", "val", "test")}
    edit_params(place, images__pack=False)
    check_images.main()
    for split, pack in packed.items():
        paths = [x_rays / path for path in read_manifest(split).paths]
        expected = np.stack([np.asarray(Image.open(path)) for path in paths]).astype(int) - 1000
        assert np.array_equal(pack[..., 1], expected.clip(0, 255)) and len(pack) == 6
        assert np.array_equal(read_pictures(split, "letterbox", True)[:], pack)


@pytest.mark.slow
def test_little_use_of_16_bits_is_warned_of(place, x_rays, capsys):
    """And these pictures, alike in their upper 8 bits, are no duplicates."""
    check_images.main()
    assert (
        "warning: pictures of 16-bit grey (18) have values 1000 to 1255, 0.39 % of the range 0 to 65535 that "
        "becomes 0 to 255 (images.grey_range: set takes train's range; or write [1000, 1255])"
    ) in capsys.readouterr().out
    assert read_json(GREY_RANGE) == "file" and len(read_pictures("train", "letterbox", False)) == 6


@pytest.mark.parametrize("grey_range", ["all", [5], [9, 5], [1, 2, 3], [0, 65536], 7])
def test_a_wrong_grey_range_is_refused(place, x_rays, grey_range):
    edit_params(place, images__grey_range=grey_range)
    with pytest.raises(
        UserError, match=r"params.yaml: images.*grey_range:? must be file, set, or \[lowest, high"
    ):
        check_images.main()


def test_an_index_of_files_takes_few_bytes_and_is_a_sequence():
    """8 bytes and the path's own for each, and 4 for a class; objects would take some 150."""
    files = [(f"train/ä b/{number}.jpg", "ä b") for number in range(999)] + [("train/c/1.jpg", "c")]
    packed = Files(files)
    own = sum(len(path.encode()) for path, _ in files)
    assert packed.paths.ends.itemsize * 1001 + len(packed.paths.content) <= own + 8 * 1001
    assert [*packed] == files == packed[:] and len(packed) == 1000
    assert (packed[999], packed[-1], packed[5:900:7]) == (files[-1], files[-1], files[5:900:7])
    assert [*Texts(["", "a", ""])] == ["", "a", ""] and not Files([]) and "" in Texts([""])
    with pytest.raises(IndexError):
        packed[1000]


@pytest.mark.slow
def test_a_picture_that_changed_after_the_checks_is_reported(checked, tiny_images):
    edit_params(checked, images__pack=False)
    check_images.main()
    (tiny_images / "val/red/0.png").unlink()
    (tiny_images / "val/red/1.png").write_text("no picture")
    pictures = read_pictures("val", "letterbox", False)
    for row, why in ((16, "No such file or directory"), (17, "not a picture but text")):
        message = rf"^{tiny_images}/val/red/{row - 16}.png: {why}, but check_images accepted it"
        with pytest.raises(UserError, match=message):
            pictures[[row]]


@pytest.mark.slow
def test_a_margin_packs_the_training_pictures_larger(checked):
    edit_params(checked, images__pack_margin=0.25)
    check_images.main()
    train, val = read_pictures("train", "letterbox", False), read_pictures("val", "letterbox", False)
    assert train.shape[1:] == (40, 60, 3) and val.shape[1:] == (32, 48, 3)
    plain = resize_pictures(train, 32, 48)
    assert plain.shape == (25, 32, 48, 3) and resize_pictures(val, 32, 48) is val
    expected = Image.fromarray(train[4]).resize((48, 32), Image.Resampling.BILINEAR)
    assert np.array_equal(plain[[4]][0], np.asarray(expected))


COUNT = int(os.environ.get("PICTURES", 0))


@pytest.mark.parametrize("count", [2 * len(EACH_KIND), pytest.param(max(COUNT, 500), marks=pytest.mark.slow)])
@pytest.mark.slow
def test_packed_and_unpacked_reading_agree(count):
    """To the byte, for every format, mode, orientation and size; PICTURES=5000 takes more of them."""
    for what, content in make_pictures(count):
        for fit in FITS:
            packed = fit_picture(decode(content, 1, 10**8).to_rgb(None), 32, 48, fit)
            part = decode_sound(content, 32, 48, fit, dct_scaling=False, grey_range=None)
            own = fit_picture(part.image, 32, 48, fit, part.size, part.box)
            assert own.tobytes() == packed.tobytes(), what


@pytest.mark.parametrize("width, height", [(90, 60), (60, 90), (64, 64), (90, 20), (200, 88)])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_oriented_tiff_is_read_whole_from_its_file(width, height, orientation):
    """Pillow turns a TIFF itself when it decodes it."""
    generator = np.random.default_rng(0)
    content = make_picture(generator, "TIFF", "RGB", width, height, orientation)
    upright = (height, width) if orientation > 4 else (width, height)
    part = decode_sound(content, 32, 32, "letterbox", dct_scaling=True, grey_range=None)
    assert part.image.size == part.size == upright and part.box == (0, 0, *upright)


@pytest.mark.parametrize(
    "width, height", [(50, 4000), (4000, 50), (20, 2000), (16, 3600), (9, 70), (53, 4000)]
)
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_narrow_jpeg_is_reduced_by_the_factor_that_the_decoder_took(width, height, orientation):
    photo, buffer = make_photo(width, height), io.BytesIO()
    photo.save(buffer, "JPEG", quality=95, exif=make_exif(orientation))
    full = decode(buffer.getvalue(), 8, 10**8).to_rgb(None)
    part = decode_sound(buffer.getvalue(), 224, 224, "letterbox", dct_scaling=True, grey_range=None)
    factor = next(f for f in (8, 4, 2, 1) if max(width, height) >= f * 2 * 224 or f == 1)
    assert part.size == full.size and part.image.size == tuple(-(-side // factor) for side in full.size)
    assert part.box[2] - part.box[0] == full.width / factor
    small = np.asarray(fit_picture(part.image, 224, 224, "letterbox", part.size, part.box)).astype(int)
    assert np.abs(small - np.asarray(fit_picture(full, 224, 224, "letterbox"))).mean() < 0.5


@pytest.mark.parametrize("width, height", [(400, 300), (300, 400), (800, 151), (151, 800)])
@pytest.mark.parametrize("orientation", [1, 8])
@pytest.mark.parametrize("fit", FITS)
def test_a_jpeg_keeps_twice_the_pixels_that_the_fit_needs(width, height, orientation, fit):
    """A crop of a wide picture needs its full height, so that it is reduced less than for a letterbox.

    Then one picture differs by half a grey level or little more, and by many if it were put elsewhere.
    """
    photo, buffer = make_photo(width, height), io.BytesIO()
    photo.save(buffer, "JPEG", quality=95, exif=make_exif(orientation))
    full = decode(buffer.getvalue(), 8, 10**8).to_rgb(None)
    part = decode_sound(buffer.getvalue(), 32, 24, fit, dct_scaling=True, grey_range=None)
    ratios = 32 / full.height, 24 / full.width
    scales = {"letterbox": [min(ratios)], "crop": [max(ratios)], "stretch": ratios}[fit]
    factor = next(f for f in (8, 4, 2, 1) if f * 2 * max(scales) <= 1)
    assert part.size == full.size and part.image.size == tuple(-(-side // factor) for side in full.size)
    small = np.asarray(fit_picture(part.image, 32, 24, fit, part.size, part.box)).astype(int)
    assert np.abs(small - np.asarray(fit_picture(full, 32, 24, fit))).mean() < 0.6


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode, fit", [("RGB", "letterbox"), ("L", "crop"), ("CMYK", "stretch")])
def test_a_checked_picture_is_decoded_as_by_the_checks(tmp_path, orientation, mode, fit):
    """Equal bytes at full size; nearly equal at half size, 151 x 100, whose last pixels are half covered."""
    path = tmp_path / "x.jpg"
    make_photo(301, 199).convert(mode).save(path, quality=90, exif=make_exif(orientation))
    content = path.read_bytes()
    full = decode(content, 8, 10**8).to_rgb(None)
    same = decode_sound(content, 64, 48, fit, dct_scaling=False, grey_range=None)
    assert (
        same.image.tobytes() == full.tobytes() and same.size == full.size and same.box == (0, 0, *full.size)
    )
    scaled = decode_sound(content, 64, 48, fit, dct_scaling=True, grey_range=None)
    assert scaled.size == full.size
    assert scaled.image.size == tuple(-(-side // 2) for side in full.size) or fit != "letterbox"
    small = np.asarray(fit_picture(scaled.image, 64, 48, fit, scaled.size, scaled.box)).astype(int)
    assert np.abs(small - np.asarray(fit_picture(full, 64, 48, fit))).mean() < 0.5


@pytest.mark.parametrize("fit", FITS)
def test_dct_scaling_of_photos_stays_under_half_a_grey_level(fit):
    if not PHOTOS.exists():
        pytest.skip(f"{PHOTOS} not found: no real photos")
    means = []
    for path in sorted(PHOTOS.glob("*/*.jpg"))[::15]:
        content = path.read_bytes()
        part = decode_sound(content, 48, 48, fit, dct_scaling=True, grey_range=None)
        scaled = np.asarray(fit_picture(part.image, 48, 48, fit, part.size, part.box)).astype(int)
        full = fit_picture(decode(content, 8, 10**8).to_rgb(None), 48, 48, fit)
        means.append(np.abs(scaled - np.asarray(full)).mean())
    assert 0 < np.mean(means) < 0.5


SOUND = {
    "data/manifest/classes.json": b'["a", "b"]',
    "data/manifest/train.csv": b"path,class,hash\ntrain/a/1.png,a,0\ntrain/b/1.png,b,1\n",
    "data/manifest/grey_range.json": b'"file"',
}


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A project's folder with what check_images writes for a train of two pictures."""
    monkeypatch.chdir(tmp_path)
    for name, content in SOUND.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "data/packed").mkdir()
    np.save("data/packed/train.npy", np.zeros((2, 4, 4, 3), np.uint8))
    return tmp_path


def test_a_manifest_is_read(written):
    assert read_manifest("train").paths == ["train/a/1.png", "train/b/1.png"]
    assert read_manifest("train").sha256 == sha256(written / "data/manifest/train.csv")
    assert read_grey_range() is None


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"5", b"null", b'["a"]', b'["a", "a"]', b"[1]"])
def test_broken_classes_are_an_error_that_names_the_file(written, content):
    (written / "data/manifest/classes.json").write_bytes(content)
    with pytest.raises(UserError, match=r"^data/manifest/(classes.json|train.csv): .*\(.*\)$"):
        read_manifest("train")


@pytest.mark.parametrize(
    "content, expected",
    [
        (b"", "line 1: must be path,class,hash"),
        (b"path,class,hash\n", "no pictures"),
        (b"path,class\ntrain/a/1.png,a\n", "line 1: must be path,class,hash"),
        (b"path,class,hash\ntrain/a/1.png,a,0\ntrain/b/1.p", "line 3: 1 values, not 3"),
        (b"path,class,hash\ntrain/a/1.png,c,0\n", "line 2: data/manifest/classes.json has no class c"),
        (b"path,class,hash\ntrain/\xff/1.png,c,0\n", "line 2: not UTF-8"),
        (b"<<<<<<< HEAD\npath,class,hash\n", "line 1: must be path,class,hash"),
    ],
)
def test_a_broken_manifest_is_an_error_that_names_the_line(written, content, expected):
    (written / "data/manifest/train.csv").write_bytes(content)
    with pytest.raises(UserError, match="^data/manifest/train.csv: ") as error:
        read_manifest("train")
    assert expected in str(error.value)


@pytest.mark.parametrize(
    "content",
    ["[]", "{}", "5", "null", '"set"', "[5, 1]", '[0, "a"]', "[0, 1, 2]",
     "[NaN, 1]", "[-1, 5]", "[true, 5]"],
)  # fmt: skip
def test_a_broken_grey_range_is_an_error(written, content):
    (written / "data/manifest/grey_range.json").write_text(content)
    with pytest.raises(UserError, match="^data/manifest/grey_range.json: not a range of grey"):
        read_grey_range()


@pytest.mark.parametrize("size", [0, 5, 100, 150])
def test_a_truncated_pack_is_an_error(written, size):
    pack = written / "data/packed/train.npy"
    pack.write_bytes(pack.read_bytes()[:size])
    with pytest.raises(UserError, match="^data/packed/train.npy: damaged or not a pack"):
        read_pictures("train", "letterbox", False)


@pytest.mark.parametrize(
    "pixels", [np.zeros((2, 4, 4, 3), np.float32), np.zeros((2, 48), np.uint8), np.array([{}])]
)
def test_a_pack_of_something_else_is_an_error(written, pixels):
    np.save("data/packed/train.npy", pixels)
    with pytest.raises(UserError, match="^data/packed/train.npy: "):
        read_pictures("train", "letterbox", False)


def test_a_pack_of_another_number_of_pictures_is_an_error(written):
    """Otherwise labels and pictures are paired wrongly, in silence."""
    for name in ("manifest/val.csv", "packed/val.npy"):
        shutil.copy(written / "data" / name.replace("val", "train"), written / "data" / name)
    assert len(read_learning_pictures("letterbox", False).train_pictures) == 2
    np.save("data/packed/val.npy", np.zeros((3, 4, 4, 3), np.uint8))
    with pytest.raises(UserError, match="val.npy: 3 pictures, data/manifest/val.csv lists 2"):
        read_learning_pictures("letterbox", False)
