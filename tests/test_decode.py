"""Valid pictures are decoded; broken ones are refused with a reason."""

import io
import os
import re
import struct
import zlib

import numpy as np
import pytest
from odd_pictures import encode, make_mutations, make_pictures, write_grey_map
from PIL import Image

from src.pictures.decode import BadPicture, decode, hash_pixels
from src.pictures.reduced import decode_sound

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))


def read(content):
    return decode(content, min_side=8, max_pixels=10_000).to_rgb(None)


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


RAMP = np.linspace(0, 4095, 80).astype(np.uint16).reshape(8, 10)  # 12 bits


def write_12_bit_tiff(pixels):
    """Two values in three bytes, as some cameras and scanners write."""
    first, second = pixels.ravel()[::2].astype(int), pixels.ravel()[1::2].astype(int)
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], 1).astype(np.uint8)
    height, width = pixels.shape
    tags = ((256, width), (257, height), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, height))
    tags = (*tags, (279, packed.size))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    start = 8 + packed.size
    return (
        struct.pack("<2sHI", b"II", 42, start)
        + packed.tobytes()
        + struct.pack("<H", len(tags))
        + entries
        + bytes(4)
    )


GREYS = {  # 16-bit grey with the values of RAMP: content, the largest value that the file allows
    "PNG": (encode(Image.fromarray(RAMP), "PNG"), 65535),
    "TIFF": (encode(Image.fromarray(RAMP), "TIFF"), 65535),
    "TIFF, big-endian": (
        encode(Image.frombytes("I;16B", (10, 8), RAMP.astype(">u2").tobytes()), "TIFF"),
        65535,
    ),
    "TIFF, 12 bits": (write_12_bit_tiff(RAMP), 4095),
    "PGM": (write_grey_map("P5", 65535, RAMP), 65535),
    "PGM, 12 bits": (write_grey_map("P5", 4095, RAMP), 4095),
    "PGM, plain": (write_grey_map("P2", 5000, RAMP), 5000),
}


@pytest.mark.parametrize("name", GREYS)
def test_16_bit_grey_is_hashed_by_its_own_values(name):
    content, full = GREYS[name]
    decoded = decode(content, 8, 10_000)
    assert np.array_equal(np.asarray(decoded.image), RAMP) and decoded.find_values() == (0, 4095, full)
    assert hash_pixels(decoded.image) == hash_pixels(decode(GREYS["PNG"][0], 8, 10_000).image)
    darker = decode(write_grey_map("P5", 65535, RAMP // 2), 8, 10_000)
    assert hash_pixels(darker.image) != hash_pixels(decoded.image)


@pytest.mark.parametrize("grey_range", [None, (0, 4095), (1000, 1254), (0, 65535), (300, 301)])
@pytest.mark.parametrize("name", GREYS)
def test_the_range_becomes_0_to_255_in_equal_steps(name, grey_range):
    """256 equal steps from the lowest value to the highest; what is below or above is cut."""
    content, full = GREYS[name]
    low, high = grey_range or (0, full)
    expected = np.floor((RAMP.astype(float) - low) / (high - low + 1) * 256).clip(0, 255)
    for image in (
        decode(content, 8, 10_000).to_rgb(grey_range),
        decode_sound(content, 8, 8, "letterbox", False, grey_range).image,
    ):
        assert image.mode == "RGB" and np.array_equal(np.asarray(image), np.stack([expected] * 3, 2))


@pytest.mark.parametrize("mode", ["L", "I;16"])
def test_grey_in_which_white_is_0_is_inverted(mode):
    """Many X-rays are written so; Pillow itself inverts 8 bits only."""
    values = np.arange(80, dtype=np.uint8 if mode == "L" else np.uint16).reshape(8, 10)
    content = bytearray(encode(Image.fromarray(values), "TIFF"))
    tag = content.index(struct.pack("<HHI", 262, 3, 1))
    assert content[tag + 8] == 1
    content[tag + 8] = 0
    decoded = decode(bytes(content), 8, 10_000)
    expected = 255 - values if mode == "L" else 65535 - values
    found = np.asarray(decoded.image.convert("L") if mode == "L" else decoded.image)
    assert np.array_equal(found, expected)


def test_16_bit_grey_of_the_full_range_keeps_its_upper_8_bits():
    values = np.array([[0, 255, 256, 32768, 65535]] * 10, dtype=np.uint16).repeat(2, 1)
    shades = np.asarray(read(encode(Image.fromarray(values), "PNG")))
    assert np.array_equal(shades[..., 0], values >> 8)


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
        (b"GIF89a", "broken or unusual GIF"),
        (JPEG[:200], "broken or unusual JPEG"),
        (JPEG[: len(JPEG) // 2], "broken"),
        (JPEG[:-100], "broken"),
        (PNG[: len(PNG) // 2], "broken"),
        (PNG[:60] + bytes([PNG[60] ^ 1]) + PNG[61:], "broken"),
        (encode(PICTURE, "TIFF")[:-2000], "broken"),
        (encode(PICTURE, "BMP")[:-2000], "broken"),
        (encode(PICTURE, "WEBP")[:-200], "broken (or unusual )?WebP"),
        (encode(Image.new("L", (7, 100)), "PNG"), r"too small: 7 x 100 pixels, data.min_side is 8"),
        (encode(Image.new("1", (500, 500)), "PNG"), "too large: 500 x 500 pixels, data.max_pixels is 10000"),
        (JPEG.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"), "broken or unusual JPEG: .*12-bit"),
        (encode(Image.new("F", (20, 20)), "TIFF"), "float pixels have no known range"),
        (encode(Image.new("I", (20, 20)), "TIFF"), "signed or 32-bit pixels have no known range"),
        (encode(PICTURE, "TIFF", compression="tiff_lzw", tiffinfo={254: 1}), "a camera's raw picture"),
        (encode(PICTURE, "TIFF", tiffinfo={50706: b"\1\4\0\0"}), "a camera's raw picture is not read .*DNG"),
    ],
)  # fmt: skip
def test_bad_pictures_are_refused(content, reason):
    with pytest.raises(BadPicture, match=rf"^({reason}).*\)$"):
        read(content)


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "an EPS or PostScript drawing is not read"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC picture is not read"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heix", "a HEIC picture is not read"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "a camera's raw picture is not read"),
        (b"\0\0\0\x18ftypisom\0\0\2\0isommp41", "not a picture but a video"),
        (b"\0\0\0\x14ftypqt  ", "not a picture but a video"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(100), "a JPEG XL picture is not read"),
        (b"\xff\x0a" + bytes(100), "a JPEG XL picture is not read"),
        (bytes(128) + b"DICM" + bytes(100), "a DICOM file is not read"),
        (b'<?xml version="1.0"?>\n<!-- by hand -->\n<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG"),
        (b"<svg width='9'>", "an SVG drawing is not read"),
        (b"\n<!DOCTYPE html><html>404</html>", "not a picture but an HTML page"),
        (b"%PDF-1.7\n", "not a picture but a PDF document"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(50), "a camera's raw picture is not read"),
        (b"8BPS\0\1" + bytes(50), "a Photoshop PSD file is not read"),
        (b"PK\3\4" + bytes(50), "not a picture but an archive"),
        (PNG[:12] + b"CgBI" + PNG[16:], "an iPhone's own PNG is not read"),
        (encode(PICTURE, "ICO"), "an ICO icon is not read"),
        (encode(PICTURE, "TGA"), "a TGA picture is not read"),
        (encode(PICTURE, "SGI"), "an SGI picture is not read"),
        (encode(PICTURE, "DDS"), "a DDS texture is not read"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not a picture but a pointer of Git LFS"),
        (bytes(5000), "not a picture but zeros"),
        (b"hello world", "not a picture but text"),
        (b"\x80\x81\x82\x83" * 9, "not a picture of a known format"),
    ],
)  # fmt: skip
def test_what_is_no_readable_picture_is_named_with_a_remedy(content, reason):
    with pytest.raises(BadPicture, match=rf"^{reason}.*\(.+\)$"):
        read(content)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "jpeg", "group4"])
def test_what_libtiff_prints_is_the_reason(capfd, compression):
    """Otherwise it would be on stderr, without the name of the file."""
    sound = bytearray(
        encode(PICTURE.convert("1" if compression == "group4" else "RGB"), "TIFF", compression=compression)
    )
    at, reasons = int.from_bytes(sound[4:8], "little"), []
    for offset in range(20, 200, 9):
        damaged = bytearray(sound)
        damaged[8 + offset if at > 300 else len(sound) - offset] ^= 0xFF
        try:
            read(bytes(damaged))
        except BadPicture as bad:
            reasons.append(str(bad))
    assert capfd.readouterr().err == ""
    assert reasons and not [reason for reason in reasons if "decoder error" in reason or "tempfile" in reason]


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


def test_numbers_without_effect_in_a_jpeg_are_no_damage():
    """Some encoders write the spectral range of a sequential scan as 0 to 0; libjpeg warns of it."""
    at = JPEG.index(b"\xff\xda") + 11
    assert JPEG[at : at + 3] == bytes([0, 63, 0])
    assert read(JPEG[: at + 1] + b"\0" + JPEG[at + 2 :]).tobytes() == read(JPEG).tobytes()


def test_padding_between_jpeg_segments_is_allowed():
    assert read(JPEG[:2] + b"\xff" * 7 + JPEG[2:]).size == (60, 40)


@pytest.mark.parametrize("scan", [bytes([0, 0, 0]), bytes([0, 63, 1]), bytes([1, 63, 16])])
def test_numbers_without_effect_in_a_jpeg_hide_no_damage(scan):
    """Of 30 damaged copies as many are refused as with the usual numbers, and each that is cut short."""
    plain = encode(Image.effect_mandelbrot((200, 150), (-2, -1, 1, 1), 60).convert("RGB"), "JPEG")
    start, generator, refused = plain.index(b"\xff\xda") + 14, np.random.default_rng(0), 0

    def change(content):
        return content[: start - 3] + scan + content[start:]

    assert decode(change(plain), 8, 10**6).image.tobytes() == decode(plain, 8, 10**6).image.tobytes()
    for _ in range(30):
        at = int(generator.integers(start, len(plain) - 400))
        damaged = plain[:at] + generator.bytes(300) + plain[at + 300 :]
        assert fails(decode, change(damaged), 8, 10**6) == fails(decode, damaged, 8, 10**6)
        assert fails(decode, change(plain)[:at], 8, 10**6)
        refused += fails(decode, damaged, 8, 10**6)
    assert refused > 25


@pytest.mark.parametrize("count", [1, 2, 4])
def test_bytes_before_restarts_hide_no_jpeg_that_is_cut_short(count):
    """What is accepted can also be read unpacked and by Pillow, which refuses a file without its end."""
    rows = encode(Image.effect_mandelbrot((200, 150), (-2, -1, 1, 1), 60), "JPEG", restart_marker_rows=1)
    generator = np.random.default_rng(0)
    padded = re.sub(rb"\xff[\xd0-\xd7]", lambda found: b"\x5a" * count + found[0], rows)
    assert len(padded) == len(rows) + 18 * count
    start = rows.index(b"\xff\xda") + 10
    assert not fails(decode, padded, 8, 10**6)
    assert decode(padded, 8, 10**6).image.tobytes() == Image.open(io.BytesIO(padded)).convert("RGB").tobytes()
    for _ in range(30):
        assert fails(decode, padded[: generator.integers(start, len(padded) - 1)], 8, 10**6)


MARKERS = {"DQT": b"\xff\xdb", "SOS": b"\xff\xda", "EOI": b"\xff\xd9"}


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize(
    "marker, padding", [("DQT", b"\0\1\2\3"), ("SOS", b"abc"), ("EOI", bytes(100)), ("EOI", b"\x7f")]
)  # fmt: skip
def test_extraneous_bytes_of_a_jpeg_hide_no_damage(options, marker, padding):
    """They are cut: a padded file has the pixels of the plain one, its damaged copies are refused too."""
    plain = encode(Image.effect_mandelbrot((200, 150), (-2, -1, 1, 1), 60).convert("RGB"), "JPEG", **options)
    at = plain.rindex(MARKERS["EOI"]) if marker == "EOI" else plain.index(MARKERS[marker])

    def pad(content):
        return content[:at] + padding + content[at:]

    assert decode(pad(plain), 8, 10**6).image.tobytes() == decode(plain, 8, 10**6).image.tobytes()
    start, generator, refused = plain.index(MARKERS["SOS"]) + 14, np.random.default_rng(0), 0
    for _ in range(30):
        hurt = int(generator.integers(start, len(plain) - 400))
        damaged = plain[:hurt] + generator.bytes(300) + plain[hurt + 300 :]
        assert fails(decode, pad(damaged), 8, 10**6) == fails(decode, damaged, 8, 10**6)
        refused += fails(decode, damaged, 8, 10**6)
    assert refused > 25


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def segment(marker, content):
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


ZIPPED = b"k\0\0" + zlib.compress(b"A" * 3_000_000)
UNREADABLE = b"\xde\xad\xbe\xef" * 10


@pytest.mark.parametrize(
    "content",
    [
        PNG[:33] + chunk(b"iCCP", ZIPPED) + PNG[33:],
        PNG[:33] + chunk(b"zTXt", ZIPPED) + PNG[33:],
        PNG[:33] + chunk(b"iTXt", b"k\0\1\0\0\0" + ZIPPED[3:]) + PNG[33:],
        PNG[:33] + chunk(b"zTXt", b"k\0\7broken") + PNG[33:],
        PNG[:33] + chunk(b"eXIf", UNREADABLE) + PNG[33:],
        PNG[:33] + chunk(b"pHYs", b"\0") + PNG[33:],
        PNG[:33] + chunk(b"tEXt", b"k\0v")[:-1] + b"?" + PNG[33:],
        PNG[:-12] + chunk(b"zTXt", ZIPPED) + PNG[-12:],
    ],
)
def test_a_png_with_unreadable_metadata_keeps_its_pixels(content):
    decoded = decode(content, 8, 10**6)
    assert np.array_equal(np.asarray(decoded.image), np.asarray(PICTURE)) and len(decoded.notes) == 1
    assert decode_sound(content, 9, 9, "letterbox", True, None).image.tobytes() == decoded.image.tobytes()


@pytest.mark.parametrize(
    "marker, content",
    [
        (0xE0, b"JFIF\0\7\7\0\0\1\0\1\0\0"),
        (0xE1, b"Exif\0\0"),
        (0xE1, b"Exif\0\0" + UNREADABLE),
        (0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\1\3\0"),
        (0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\1" + struct.pack(">HHIHH", 0x112, 3, 1, 99, 0) + bytes(4)),
        (0xE2, b"ICC_PROFILE\0"),
        (0xE2, b"ICC_PROFILE\0\1"),
        (0xE2, b"MPF\0" + UNREADABLE),
        (0xED, b"Photoshop 3.0\x008BIM"),
    ],
)
def test_a_jpeg_with_unreadable_metadata_keeps_its_pixels(content, marker):
    damaged = JPEG[:2] + segment(marker, content) + JPEG[20 if marker == 0xE0 else 2 :]
    assert decode(damaged, 8, 10**6).image.tobytes() == decode(JPEG, 8, 10**6).image.tobytes()
    assert (
        decode_sound(damaged, 9, 9, "letterbox", False, None).image.tobytes()
        == decode(JPEG, 8, 10**6).image.tobytes()
    )


@pytest.mark.parametrize("name, before", [("TIFF", b"MM\0*"), ("WEBP", b"MM\0*"), ("AVIF", b"II*\0")])
def test_other_formats_with_unreadable_metadata_keep_their_pixels(name, before):
    """Every byte of the Exif data or, of a TIFF, of tags that the pixels do not need, in turn."""
    exif = Image.Exif()
    exif[0x010F], exif[0x011A] = "maker", 72.0
    plain = encode(PICTURE, name, **({"tiffinfo": exif} if name == "TIFF" else {"exif": exif}))
    expected, generator = decode(plain, 8, 10**6).image.tobytes(), np.random.default_rng(0)
    start = max(plain.find(b"MM\0*", 8), plain.find(b"II*\0", 8))
    places = range(start, start + len(exif.tobytes()) - 6)
    if name == "TIFF":
        first = int.from_bytes(plain[4:8], "little")
        tags = [first + 2 + 12 * n for n in range(plain[first])]
        places = [at + n for at in tags if plain[at + 1] == 1 and plain[at] in (15, 26) for n in range(2, 12)]
    assert len(places) >= 20
    for at in places:
        damaged = plain[:at] + generator.bytes(1) + plain[at + 1 :]
        decoded = decode(damaged, 8, 10**6).image
        assert (
            decoded.tobytes() == expected
            and decode_sound(damaged, 9, 9, "letterbox", True, None).image.tobytes() == expected
        )


def test_orientation_survives_other_metadata_that_cannot_be_read():
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encode(PICTURE, "PNG", exif=exif)
    decoded = decode(turned[:33] + chunk(b"iCCP", ZIPPED) + turned[33:], 8, 10**6)
    assert decoded.image.size == (40, 60) and decoded.notes == ("unreadable metadata: they count as absent",)


def test_odd_pictures_are_noted():
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    plain = "one colour: every pixel is the same"
    for name in ("GIF", "WEBP", "TIFF", "PNG"):
        options = {"lossless": True} if name == "WEBP" else {}
        content = encode(frames[0], name, save_all=True, append_images=frames[1:], **options)
        kind = "several pages: the first of 2 pages" if name == "TIFF" else "animated: the first of 2 frames"
        assert decode(content, 8, 10**6).notes == (f"{kind} is taken", plain)
    assert decode(encode(frames[0].convert("L"), "PNG"), 8, 10**6).notes == (plain,)
    assert decode(JPEG, 8, 10**6).notes == decode(PNG, 8, 10**6).notes == ()
    deep = zlib.compress(b"".join(b"\0" + bytes(range(60)) for _ in range(10)))  # 10 x 10 pixels of 48 bits
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 10, 10, 16, 2, 0, 0, 0))
    content = PNG[:8] + header + chunk(b"IDAT", deep) + chunk(b"IEND", b"")
    colours = np.random.default_rng(0).integers(0, 1000, (10, 10, 3)).astype(">u2").tobytes()
    for deep in (content, b"P6\n10 10\n999\n" + colours):
        assert decode(deep, 8, 10**6).notes == ("over 8 bits a colour: the upper 8 are used",)
    assert decode(b"P6\n10 10\n200\n" + bytes(range(200)) * 2, 8, 10**6).notes == ()
    assert decode(encode(PICTURE, "JPEG2000"), 8, 10**6).notes == ()


COUNT = int(os.environ.get("MUTATIONS", 0))


@pytest.mark.parametrize("count", [300, pytest.param(max(COUNT, 3000), marks=pytest.mark.slow)])
def test_a_damaged_file_is_a_bad_picture_or_read_alike_by_the_checks_and_training(count):
    """MUTATIONS=50000 takes more of them. Every reason is one line that ends with a remedy."""
    accepted = 0
    for what, content in make_mutations(count):
        try:
            checked = decode(content, 8, 64_000)
        except BadPicture as bad:
            assert str(bad).endswith(")") and "\n" not in str(bad), what
            continue
        part = decode_sound(content, 16, 16, "letterbox", dct_scaling=False, grey_range=None)
        assert part.image.tobytes() == checked.to_rgb(None).tobytes(), what
        decode_sound(content, 16, 16, "letterbox", dct_scaling=True, grey_range=None)
        accepted += 1
    assert count / 20 < accepted < count / 2


def test_the_hash_is_that_of_the_picture_that_training_sees():
    """Also where the decoder's own array is hashed, which is not yet turned and perhaps grey."""
    hashed_as_decoded = 0
    for what, content in make_pictures(150, seed=2):
        decoded = decode(content, 8, 10**6)
        assert decoded.hash() == hash_pixels(decoded.image), what
        hashed_as_decoded += decoded.pixels is not None
    assert 0 < hashed_as_decoded < 15
    upright = decode(JPEG, 8, 10**6)
    assert upright.pixels is not None and upright.hash() == hash_pixels(Image.open(io.BytesIO(JPEG)))


def test_hash_depends_on_pixels_and_size_but_not_on_metadata():
    assert hash_pixels(read(PNG)) == hash_pixels(read(encode(PICTURE, "TIFF")))
    assert hash_pixels(PICTURE) != hash_pixels(PICTURE.transpose(Image.Transpose.ROTATE_90))
    assert hash_pixels(PICTURE.crop((0, 0, 60, 39))) != hash_pixels(PICTURE)
