"""A picture file's bytes -> RGB pixels, or the reason why not. The only place that opens a user's pictures.

H height, W width in pixels.
"""

import hashlib
import warnings
from io import BytesIO

import simplejpeg
from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000")  # no format runs a program
Image.MAX_IMAGE_PIXELS = None  # data.max_pixels is the limit, checked below before a pixel is decoded
GREY16 = [value >> 8 for value in range(65536)]  # 16-bit grey -> 8 bits
SMALLEST_SCALE = 8  # JPEG can be decoded at 1/8 of its size; the entropy decoder still sees every byte


class BadPicture(Exception):
    """The reason why a file cannot be trusted as a picture."""


def decode(content: bytes, min_side: int, max_pixels: int) -> Image.Image:
    """The picture in `content` as RGB, upright as its EXIF orientation says; the first frame of an animation.

    BadPicture where it is empty, not a picture, broken, truncated, under `min_side` pixels wide or high, or
    over `max_pixels` = H x W. Transparent pixels are laid on black, the colour of the padding; 16-bit grey is
    scaled to 8 bits.
    """
    if not content:
        raise BadPicture("empty file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd but readable metadata
        check_size(opened(content), min_side, max_pixels)
        verify(content)
        try:
            return to_rgb(ImageOps.exif_transpose(opened(content)))
        except BadPicture:
            raise
        except Exception as error:  # OSError, ValueError, TypeError and SyntaxError were seen
            raise BadPicture(reason("broken", error)) from None


def opened(content: bytes) -> Image.Image:
    """The picture with its header read and no pixel decoded."""
    try:
        return Image.open(BytesIO(content), formats=FORMATS)
    except Exception as error:
        raise BadPicture(reason("not a picture", error)) from None


def check_size(image: Image.Image, min_side: int, max_pixels: int) -> None:
    width, height = image.size
    if min(width, height) < min_side:
        raise BadPicture(f"too small: {width} x {height} pixels, data.min_side is {min_side}")
    if width * height > max_pixels:
        raise BadPicture(f"too large: {width} x {height} pixels, data.max_pixels is {max_pixels}")


def verify(content: bytes) -> None:
    """Refuse the damage that a full decode by Pillow passes over: bad checksums, a JPEG's bad bits."""
    image = opened(content)
    try:
        image.verify()  # after it the picture cannot be used: decode opens it anew
    except Exception as error:
        raise BadPicture(reason("broken", error)) from None
    if image.format in ("JPEG", "MPO"):
        colours = "CMYK" if image.mode == "CMYK" else "GRAY"
        try:
            simplejpeg.decode_jpeg(content, colours, True, True, min_factor=SMALLEST_SCALE, strict=True)
        except ValueError as error:
            if "extraneous bytes" not in str(error):  # padding between segments, which some cameras write
                raise BadPicture(reason("broken", error)) from None


def to_rgb(image: Image.Image) -> Image.Image:
    """A decoded picture of any mode as RGB."""
    if image.mode.startswith("I;16"):
        return image.convert("I").point(GREY16, "L").convert("RGB")  # convert() alone clips 16 bits to white
    if image.mode in ("I", "F"):
        raise BadPicture(f"pixels of 32 bits ({image.mode}) have no known range (save it with 8 or 16 bits)")
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, (0, 0, 0, 255)), picture).convert("RGB")
    return image.convert("RGB")


def reason(kind: str, error: Exception) -> str:
    """One line of text out of an exception of any decoder."""
    text = " ".join(str(error).split())
    return f"{kind}: {text}" if text and "<_io.BytesIO" not in text else kind


def content_hash(image: Image.Image) -> str:
    """A hash of the size and the RGB pixels, 32 hexadecimal digits: what training sees, no metadata."""
    digest = hashlib.blake2b(repr(image.size).encode(), digest_size=16)
    digest.update(image.tobytes())
    return digest.hexdigest()
