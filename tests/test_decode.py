"""Every sound picture is read, every broken one refused with its reason."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from src.pictures.decode import BadPicture, decode, hash_pixels

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))


def encoded(image, name, **options):
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def read(content):
    return decode(content, min_side=8, max_pixels=10_000)


@pytest.mark.parametrize("name", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_keep_every_pixel(name):
    assert np.array_equal(np.asarray(read(encoded(PICTURE, name))), np.asarray(PICTURE))


@pytest.mark.parametrize("name", ["JPEG", "GIF", "WEBP", "AVIF", "JPEG2000"])
def test_other_formats_are_read(name):
    image = read(encoded(PICTURE, name))
    assert (image.mode, image.size) == ("RGB", (60, 40))


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK"])
def test_every_mode_becomes_rgb(mode):
    image = read(encoded(PICTURE.convert(mode), "TIFF"))
    assert (image.mode, image.size) == ("RGB", (60, 40))


def test_cmyk_jpeg():
    red = Image.new("RGB", (40, 40), (200, 30, 30)).convert("CMYK")
    assert np.abs(np.asarray(read(encoded(red, "JPEG"))).astype(int) - [200, 30, 30]).max() < 8


def test_transparent_pixels_are_black():
    image = read(encoded(Image.new("RGBA", (10, 10), (255, 255, 255, 0)), "PNG"))
    assert np.asarray(image).max() == 0


def test_grey_of_16_bits_is_scaled():
    grey = Image.fromarray(np.array([[0, 256, 32768, 65535]] * 10, dtype=np.uint16)).resize((8, 10), 0)
    assert np.unique(np.asarray(read(encoded(grey, "PNG")))).tolist() == [0, 1, 128, 255]


def test_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    assert read(encoded(PICTURE, "JPEG", exif=exif)).size == (40, 60)


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert read(content).getpixel((5, 5)) == (255, 0, 0)


JPEG, PNG = encoded(PICTURE, "JPEG", quality=90), encoded(PICTURE, "PNG")


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "empty file"),
        (b"hello world", "not a picture"),
        (b"GIF89a", "not a picture"),
        (JPEG[:200], "not a picture"),
        (JPEG[: len(JPEG) // 2], "broken"),
        (JPEG[:-100], "broken"),
        (PNG[: len(PNG) // 2], "broken"),
        (PNG[:60] + bytes([PNG[60] ^ 1]) + PNG[61:], "broken"),
        (encoded(PICTURE, "TIFF")[:-2000], "broken"),
        (encoded(PICTURE, "BMP")[:-2000], "broken"),
        (encoded(PICTURE, "WEBP")[:-200], "broken|not a picture"),
        (encoded(Image.new("L", (7, 100)), "PNG"), r"too small: 7 x 100 pixels, data.min_side is 8"),
        (encoded(Image.new("1", (500, 500)), "PNG"), "too large: 500 x 500 pixels, data.max_pixels is 10000"),
        (encoded(Image.new("F", (20, 20)), "TIFF"), "32-bit pixels"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not a picture"),
    ],
)  # fmt: skip
def test_refused(content, reason):
    with pytest.raises(BadPicture, match=rf"^({reason})"):
        read(content)


def test_a_bomb_costs_no_memory():
    """A PNG that claims 60000 x 60000 pixels is refused by its header."""
    header = b"IHDR" + struct.pack(">II", 60000, 60000) + PNG[24:29]
    with pytest.raises(BadPicture, match="too large: 60000 x 60000"):
        read(PNG[:12] + header + struct.pack(">I", zlib.crc32(header)) + PNG[33:])


def fails(read_it, *arguments):
    try:
        read_it(*arguments)
    except Exception:
        return True
    return False


def test_damaged_jpegs_are_found():
    """64 zeroed bytes at 40 places of the picture data: most are found, of which Pillow alone finds none."""
    smooth = encoded(Image.effect_mandelbrot((400, 300), (-2, -1, 1, 1), 60).convert("RGB"), "JPEG")
    found, by_pillow = 0, 0
    for seed in range(40):
        at = int(np.random.default_rng(seed).integers(len(smooth) // 4, len(smooth) - 100))
        damaged = smooth[:at] + bytes(64) + smooth[at + 64 :]
        found += fails(decode, damaged, 1, 10**7)
        by_pillow += fails(lambda content: Image.open(io.BytesIO(content)).load(), damaged)
    assert found > 20 and by_pillow == 0, (found, by_pillow)


def test_padding_between_jpeg_segments_is_no_damage():
    assert read(JPEG[:2] + b"\xff" * 7 + JPEG[2:]).size == (60, 40)


def test_hash_sees_pixels_and_size_but_no_metadata():
    assert hash_pixels(read(PNG)) == hash_pixels(read(encoded(PICTURE, "TIFF")))
    assert hash_pixels(PICTURE) != hash_pixels(PICTURE.transpose(Image.Transpose.ROTATE_90))
    assert hash_pixels(PICTURE.crop((0, 0, 60, 39))) != hash_pixels(PICTURE)
