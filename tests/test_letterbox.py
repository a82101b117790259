"""The letterbox keeps the aspect ratio, fills the input, and equals the demo's byte for byte."""

import numpy as np
import pytest
from conftest import load_demo
from PIL import Image

from src.pictures.decode import decode
from src.pictures.letterbox import fit_box, letterbox


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
    demo, generator = load_demo(), np.random.default_rng(size)
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
        shown = demo.read(path, height, width).permute(1, 2, 0).numpy()
        assert np.array_equal(shown, packed), path.name
