"""Valid pictures are decoded; broken ones are refused with a reason."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from src.pictures.decode import BadPicture, decode, hash_pixels

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))


def encode(image, name, **options):
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def read(content):
    return decode(content, min_side=8, max_pixels=10_000)


@pytest.mark.parametrize("name", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_keep_every_pixel(name):
    assert np.array_equal(np.asarray(read(encode(PICTURE, name))), np.asarray(PICTURE))


@pytest.mark.parametrize("name", ["JPEG", "GIF", "WEBP", "AVIF", "JPEG2000"])
def test_other_formats_are_read(name):
    image = read(encode(PICTURE, name))
    assert (image.mode, image.size) == ("RGB", (60, 40))


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK"])
def test_every_mode_becomes_rgb(mode):
    image = read(encode(PICTURE.convert(mode), "TIFF"))
    assert (image.mode, image.size) == ("RGB", (60, 40))


def test_cmyk_jpeg():
    red = Image.new("RGB", (40, 40), (200, 30, 30)).convert("CMYK")
    assert np.abs(np.asarray(read(encode(red, "JPEG"))).astype(int) - [200, 30, 30]).max() < 8


def test_transparent_pixels_are_black():
    image = read(encode(Image.new("RGBA", (10, 10), (255, 255, 255, 0)), "PNG"))
    assert np.asarray(image).max() == 0


def test_16_bit_grey_is_scaled_to_8_bits():
    grey = Image.fromarray(np.array([[0, 256, 32768, 65535]] * 10, dtype=np.uint16)).resize((8, 10), 0)
    assert np.unique(np.asarray(read(encode(grey, "PNG")))).tolist() == [0, 1, 128, 255]


def test_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    assert read(encode(PICTURE, "JPEG", exif=exif)).size == (40, 60)


def test_the_first_frame_of_an_animation_is_read():
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    content = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert read(content).getpixel((5, 5)) == (255, 0, 0)


JPEG, PNG = encode(PICTURE, "JPEG", quality=90), encode(PICTURE, "PNG")


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
        (encode(PICTURE, "TIFF")[:-2000], "broken"),
        (encode(PICTURE, "BMP")[:-2000], "broken"),
        (encode(PICTURE, "WEBP")[:-200], "broken|not a picture"),
        (encode(Image.new("L", (7, 100)), "PNG"), r"too small: 7 x 100 pixels, data.min_side is 8"),
        (encode(Image.new("1", (500, 500)), "PNG"), "too large: 500 x 500 pixels, data.max_pixels is 10000"),
        (encode(Image.new("F", (20, 20)), "TIFF"), "32-bit pixels"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not a picture"),
    ],
)  # fmt: skip
def test_bad_pictures_are_refused(content, reason):
    with pytest.raises(BadPicture, match=rf"^({reason})"):
        read(content)


def test_a_decompression_bomb_is_refused_by_its_header():
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


def test_damaged_jpegs_are_detected():
    """64 bytes zeroed at each of 40 offsets: most cases are detected, none of them by Pillow."""
    smooth = encode(Image.effect_mandelbrot((400, 300), (-2, -1, 1, 1), 60).convert("RGB"), "JPEG")
    found, by_pillow = 0, 0
    for seed in range(40):
        at = int(np.random.default_rng(seed).integers(len(smooth) // 4, len(smooth) - 100))
        damaged = smooth[:at] + bytes(64) + smooth[at + 64 :]
        found += fails(decode, damaged, 1, 10**7)
        by_pillow += fails(lambda content: Image.open(io.BytesIO(content)).load(), damaged)
    assert found > 20 and by_pillow == 0, (found, by_pillow)


def test_padding_between_jpeg_segments_is_allowed():
    assert read(JPEG[:2] + b"\xff" * 7 + JPEG[2:]).size == (60, 40)


def test_hash_depends_on_pixels_and_size_but_not_on_metadata():
    assert hash_pixels(read(PNG)) == hash_pixels(read(encode(PICTURE, "TIFF")))
    assert hash_pixels(PICTURE) != hash_pixels(PICTURE.transpose(Image.Transpose.ROTATE_90))
    assert hash_pixels(PICTURE.crop((0, 0, 60, 39))) != hash_pixels(PICTURE)
