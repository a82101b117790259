"""The letterbox keeps the aspect ratio, fills the input, and equals the demo's byte for byte."""

import io
import os
import subprocess

import numpy as np
import pytest
from conftest import load_demo
from odd_pictures import EACH_KIND, encode, make_mutations, make_pictures
from PIL import Image

from src.pictures.decode import FORMATS, BadPicture, decode
from src.pictures.letterbox import fit_box, letterbox

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
    ],
)
def test_box_by_hand(size, into, box):
    assert fit_box(*size, *into) == box


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (33, 31), (224, 225), (500, 20)])
@pytest.mark.parametrize("height, width", [(32, 32), (225, 225), (31, 64)])
def test_output_has_the_requested_size_and_black_borders(size, height, width):
    image = letterbox(Image.new("RGB", size, "white"), height, width)
    left, top, box_width, box_height = fit_box(*size, width, height)
    expected = np.zeros((height, width, 3), np.uint8)
    expected[top : top + box_height, left : left + box_width] = 255
    assert np.array_equal(np.asarray(image), expected)


SIZES = [(64, 64), (63, 41), (40, 200), (201, 37), (3, 3), (1, 90), (1500, 1001), (32, 31)]


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
        packed = np.asarray(letterbox(decode(path.read_bytes(), 1, 10**8).to_rgb(None), height, width))
        facts = {"height": height, "width": width, "pictures": RULE | {"min_side": 1}}
        shown = demo.read(path, facts).permute(1, 2, 0).numpy()
        assert np.array_equal(shown, packed), path.name


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


def test_demo_without_simplejpeg_reads_sound_jpegs_alike(monkeypatch):
    monkeypatch.setattr(DEMO, "simplejpeg", None)
    assert agree(encode(PHOTO, "JPEG"))
