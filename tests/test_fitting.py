"""Letterbox, crop, stretch: by hand, beside torchvision and Pillow, and the demo's byte for byte."""

import io
import os
import subprocess

import numpy as np
import pytest
from conftest import load_demo
from odd_pictures import EACH_KIND, draw, encode, make_mutations, make_pictures
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from src.pictures.decode import FORMATS, BadPicture, decode
from src.pictures.fitting import FITS, centre, fit_picture

DEMO = load_demo()
RULE = {"formats": FORMATS, "min_side": 8, "max_pixels": 2_000_000, "grey_range": "file"}


@pytest.mark.parametrize(
    "size, into, box",
    [
        ((100, 50), (64, 64), (0, 16, 64, 32)),
        ((50, 100), (64, 64), (16, 0, 32, 64)),
        ((100, 50), (225, 225), (0, 56, 225, 112)),
        ((1000, 1), (32, 32), (0, 15, 32, 1)),
        ((8, 8), (32, 48), (0, 8, 32, 32)),
        ((1, 1), (32, 48), (0, 8, 32, 32)),
    ],
)
def test_a_letterbox_by_hand(size, into, box):
    """Where the picture is: left, top, width and height; all else is black."""
    left, top, width, height = box
    expected = np.zeros((into[1], into[0], 3), np.uint8)
    expected[top : top + height, left : left + width] = 255
    image = fit_picture(Image.new("RGB", size, "white"), into[1], into[0], "letterbox")
    assert np.array_equal(np.asarray(image), expected)


@pytest.mark.parametrize(
    "size, into, resized, first",
    [
        ((200, 100), (50, 50), (100, 50), (25, 0)),
        ((100, 200), (50, 50), (50, 100), (0, 25)),
        ((120, 120), (96, 32), (96, 96), (0, 32)),
        ((100, 50), (63, 63), (126, 63), (32, 0)),  # half of 63 is 31.5: to the even number
        ((100, 75), (50, 50), (66, 50), (8, 0)),  # 66.7 is rounded down
        ((50, 200), (100, 100), (100, 400), (0, 150)),
        ((1, 90), (32, 32), (32, 2880), (0, 1424)),
    ],
)
def test_a_crop_by_hand(size, into, resized, first):
    """Red is a pixel's column, green its row: so a pixel of the crop says where it is from."""
    columns, rows = np.arange(size[0]), np.arange(size[1])
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = columns, rows[:, None]
    assert FITS["crop"].resize(*size, *into) == resized
    cropped = np.asarray(fit_picture(Image.fromarray(pixels), into[1], into[0], "crop")).astype(float)
    for axis, found in enumerate((cropped[into[1] // 2, :, 0], cropped[:, into[0] // 2, 1])):
        scale = size[axis] / resized[axis]
        expected = (np.arange(into[axis]) + first[axis] + 0.5) * scale - 0.5
        inner = (expected > scale) & (expected < size[axis] - 1 - scale)  # at the picture's edge it bends
        assert np.abs(found - expected)[inner].max(initial=0) <= 0.6


def test_the_centre_by_hand():
    assert [centre(length, 10) for length in (1, 9, 10, 11, 13, 40)] == [
        (0, 1, 4), (0, 9, 0), (0, 10, 0), (0, 10, 0), (2, 10, 0), (15, 10, 0),
    ]  # fmt: skip


def draw_noise(size):
    pixels = np.random.default_rng(size).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


SIZES = [(64, 64), (63, 41), (40, 200), (201, 37), (3, 3), (1, 90), (90, 1), (1, 1), (1500, 1001), (32, 31)]


@pytest.mark.parametrize("side", [8, 32, 63, 224])
@pytest.mark.parametrize("size", SIZES)
def test_a_crop_is_that_of_torchvision(size, side):
    """The usual transform of evaluation, without a margin; rounding alone differs, by one grey level."""
    bilinear = InterpolationMode.BILINEAR
    usual = v2.Compose([v2.Resize(side, interpolation=bilinear, antialias=True), v2.CenterCrop(side)])
    image = draw_noise(size)
    ours = np.asarray(fit_picture(image, side, side, "crop")).astype(int)
    assert np.abs(ours - np.asarray(usual(image))).max() <= 1


@pytest.mark.parametrize("height, width", [(32, 32), (33, 47), (224, 8)])
@pytest.mark.parametrize("size", SIZES)
def test_stretching_is_pillows_resize(size, height, width):
    image = draw_noise(size)
    usual = image.resize((width, height), Image.Resampling.BILINEAR)
    assert fit_picture(image, height, width, "stretch").tobytes() == usual.tobytes()


@pytest.mark.parametrize("fit", FITS)
def test_pictures_of_the_inputs_shape_are_only_resized(fit):
    """And so are the same in all three."""
    image = draw_noise((90, 60))
    assert fit_picture(image, 60, 90, fit).tobytes() == image.tobytes()
    usual = image.resize((30, 20), Image.Resampling.BILINEAR)
    assert fit_picture(image, 20, 30, fit).tobytes() == usual.tobytes()


@pytest.mark.parametrize("fit", ["crop", "stretch"])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (200_000, 8), (8, 200_000), (500, 20)])
@pytest.mark.parametrize("height, width", [(32, 32), (4096, 8), (8, 4096)])
def test_crop_and_stretch_fill_the_input_whatever_the_shape(size, height, width, fit):
    """In memory of the input's size: resized to cover it, the third would have 100 million columns."""
    image = fit_picture(Image.new("RGB", size, "white"), height, width, fit)
    assert image.size == (width, height) and image.getextrema() == ((255, 255),) * 3


@pytest.mark.parametrize("height, width", [(32, 32), (33, 47), (224, 225)])
@pytest.mark.parametrize("size", SIZES)
def test_demo_reads_pictures_as_the_pack_does(tmp_path, size, height, width):
    demo, generator = DEMO, np.random.default_rng(size)
    pixels = generator.integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = int(generator.integers(1, 9))
    grey = Image.fromarray(generator.integers(0, 65536, size[::-1], dtype=np.uint16))
    Image.fromarray(pixels[..., :3]).save(tmp_path / "a.jpg", exif=exif)
    Image.fromarray(pixels).save(tmp_path / "b.png")
    Image.fromarray(pixels[..., :3]).convert("P").save(tmp_path / "c.gif")
    grey.save(tmp_path / "d.png")
    for path in sorted(tmp_path.iterdir()):
        whole = decode(path.read_bytes(), 1, 10**8).to_rgb(None)
        for fit in FITS:
            facts = {"height": height, "width": width, "pictures": RULE | {"min_side": 1}, fit: "in words"}
            shown = np.frombuffer(demo.read(path, facts), np.uint8).reshape(height, width, 3)
            assert np.array_equal(shown, fit_picture(whole, height, width, fit)), (path.name, fit)


MODES = ("RGB", "L", "LA", "RGBA", "P", "CMYK", "I;16", "1")
SIXTY = [(1 + (7 * n * n + 3) % 211, 1 + (31 * n + 5) % 97) for n in range(60)]


@pytest.mark.parametrize("mode", MODES)
def test_demo_fits_every_mode_at_sixty_sizes_as_the_pack_does(mode):
    """Wide, tall, square and thin, from 1 x 1 to 211 x 97 pixels, each mode, each fit: 1,440 comparisons."""
    assert len(set(SIXTY)) == 60 and any(w > h for w, h in SIXTY) and any(w < h for w, h in SIXTY)
    rule = RULE | {"min_side": 1}
    for size in SIXTY:
        image = draw(np.random.default_rng(size), mode, *size)
        content = encode(image, "TIFF" if mode == "CMYK" else "PNG")
        whole, theirs = decode(content, 1, 10**8).to_rgb(None), DEMO.decode(content, rule)
        assert whole.size == size
        for fit in FITS:
            shown = DEMO.fit_picture(theirs, 33, 47, fit).tobytes()
            assert shown == fit_picture(whole, 33, 47, fit).tobytes(), (size, fit)


def test_demo_refuses_a_fit_that_it_does_not_know(tmp_path):
    draw_noise((40, 30)).save(tmp_path / "a.png")
    facts = {"height": 32, "width": 32, "pictures": RULE, "reflect": "in words"}
    with pytest.raises(ValueError, match="fits pictures by a rule that this script lacks; take the script"):
        DEMO.read(tmp_path / "a.png", facts)


def judge(content, grey_range=None):
    """The verdicts of check_images and the demo: a picture, or None and the reason."""
    rule, verdicts = RULE | {"grey_range": grey_range or "file"}, []
    for read in (
        lambda: decode(content, RULE["min_side"], RULE["max_pixels"]).to_rgb(grey_range),
        lambda: DEMO.decode(content, rule),
    ):
        try:
            verdicts.append((read(), ""))
        except (BadPicture, DEMO.BadPicture) as bad:
            verdicts.append((None, str(bad)))
    return verdicts


def agree(content, grey_range=None):
    """Whether both refuse the file or both give the same pixels."""
    (ours, _), (theirs, _) = judge(content, grey_range)
    if ours is None or theirs is None:
        return ours is theirs
    return (ours.size, ours.tobytes()) == (theirs.size, theirs.tobytes())


PICTURES, MUTATIONS = (int(os.environ.get(name, 0)) for name in ("PICTURES", "MUTATIONS"))


@pytest.mark.parametrize("count", [len(EACH_KIND), pytest.param(max(PICTURES, 500), marks=pytest.mark.slow)])
def test_demo_reads_every_kind_of_picture_as_training_did(count):
    """PICTURES=5000 takes more of them."""
    for number, (what, content) in enumerate(make_pictures(count, seed=1)):
        assert agree(content, [None, (100, 999)][number % 2]), what


@pytest.mark.parametrize("count", [200, pytest.param(max(MUTATIONS, 3000), marks=pytest.mark.slow)])
def test_demo_refuses_what_check_images_refuses(count):
    """MUTATIONS=50000 takes more of them."""
    for what, content in make_mutations(count, seed=1):
        assert agree(content), what


PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
DRAWING = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n"


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "empty file"),
        (b"hello world", "not a readable picture"),
        (DRAWING, "not a readable picture"),
        (encode(PHOTO, "ICO"), "not a readable picture"),
        (encode(PHOTO, "TGA"), "not a readable picture"),
        (encode(PHOTO, "PCX"), "not a readable picture"),
        (encode(PHOTO.resize((7, 30)), "PNG"), "too small: 7 x 30 pixels, at least 8 are needed"),
        (encode(Image.new("1", (2001, 1000)), "PNG"), "too large: 2001 x 1000 pixels, the limit is 2000000"),
        (encode(PHOTO.convert("F"), "TIFF"), "float pixels have no known range"),
        (encode(PHOTO, "PNG")[:-900], "broken PNG"),
        (encode(PHOTO, "TIFF", tiffinfo={254: 1}), "a camera's raw picture is not read"),
    ],
)
def test_demo_names_the_reason(content, reason):
    (ours, _), (theirs, why) = judge(content)
    assert ours is theirs is None and why.startswith(reason)


def test_demo_starts_no_other_program(monkeypatch):
    """Pillow would run Ghostscript on an EPS file, whatever its name."""
    monkeypatch.setattr(subprocess.Popen, "__init__", lambda *_, **__: pytest.fail("a program was started"))
    assert Image.open(io.BytesIO(DRAWING)).format == "EPS"
    assert judge(DRAWING)[1] == (None, "not a readable picture")


def test_demo_accepts_what_exceeds_pillows_own_limit(monkeypatch):
    """Pillow warns above 89 million pixels and fails above 179; data.max_pixels is the limit here."""
    content = encode(Image.new("1", (20000, 9000)), "PNG")
    monkeypatch.setitem(RULE, "max_pixels", 2 * 10**8)
    assert DEMO.open_header(content, RULE).size == (20000, 9000) and Image.MAX_IMAGE_PIXELS is None


def test_demo_reads_the_other_formats_where_pillow_lacks_one(monkeypatch):
    """Before 11.3 it has no AVIF, and fails of a name that it does not know."""
    content = encode(PHOTO, "JPEG2000")
    monkeypatch.delitem(Image.OPEN, "AVIF")
    assert DEMO.decode(content, RULE).size == PHOTO.size


def test_demo_without_simplejpeg_reads_sound_jpegs_alike(monkeypatch):
    monkeypatch.setattr(DEMO, "simplejpeg", None)
    assert agree(encode(PHOTO, "JPEG"))
