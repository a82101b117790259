"""From a picture file's bytes to RGB pixels, or the reason for refusal; users' pictures are opened only here.

H height, W width in pixels.
"""

import warnings
from io import BytesIO
from typing import NamedTuple

import simplejpeg
import xxhash
from PIL import ExifTags, Image, ImageOps

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000")  # none can run a program
Image.MAX_IMAGE_PIXELS = None  # data.max_pixels is the limit, checked below before any pixel is decoded
GREY16 = [value >> 8 for value in range(65536)]  # 16-bit grey -> 8 bits
DCT_FACTORS = (1, 2, 4, 8)  # a JPEG can be decoded at 1 / factor of its size
REDUCED = 2  # a smaller JPEG must keep this many times the pixels needed, in each direction
TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
FROM_RIGHT, FROM_BOTTOM = (2, 3, 6, 7), (3, 4, 7, 8)  # those that move the first pixels right or down


class BadPicture(Exception):
    """The reason why a file is not accepted as a picture."""


def decode(content: bytes, min_side: int, max_pixels: int) -> Image.Image:
    """The picture in `content` as RGB, with its EXIF orientation applied; the first frame of an animation.

    Raises BadPicture if it is empty, not a picture, broken, truncated, under `min_side` pixels wide or high,
    or over `max_pixels` = H x W. Transparent pixels are composited on black, the colour of the padding;
    16-bit grey is scaled to 8 bits.
    """
    if not content:
        raise BadPicture("empty file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about odd but readable metadata
        image = open_header(content)
        check_size(image, min_side, max_pixels)
        verify(content)
        return turn_upright(decode_pixels(content, image, 1, strict=True))


class Part(NamedTuple):
    """A picture decoded at reduced size, in the form that `letterbox` takes."""

    image: Image.Image  # RGB, upright
    size: tuple[int, int]  # width and height at full size
    box: tuple[float, float, float, float]  # region of `image` that it covers: left, top, right, bottom


def decode_sound(content: bytes, height: int, width: int, dct_scaling: bool) -> Part:
    """A picture that `decode` has accepted, decoded without its checks.

    With `dct_scaling`, a JPEG is decoded at 1/2, 1/4 or 1/8 of its size if that leaves, in each direction, at
    least REDUCED times the pixels that a letterbox of `height` x `width` needs. After letterboxing, photos
    then differ from fully decoded ones by less than 1/2 grey level of 255, averaged over the pixels.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened_image = open_header(content)
        orientation = opened_image.getexif().get(ExifTags.Base.Orientation, 1)
        width_first, height_first = opened_image.size
        size = (height_first, width_first) if orientation in TURNED else (width_first, height_first)
        scale = max(size[0] / width, size[1] / height) / REDUCED
        factor = max(f for f in DCT_FACTORS if f <= max(scale, 1)) if dct_scaling else 1
        image = turn_upright(decode_pixels(content, opened_image, factor, strict=False))
    factor = round(size[0] / image.width)  # 1 if it is not a JPEG
    covered = size[0] / factor, size[1] / factor
    left = image.width - covered[0] if orientation in FROM_RIGHT else 0
    top = image.height - covered[1] if orientation in FROM_BOTTOM else 0
    return Part(image, size, (left, top, left + covered[0], top + covered[1]))


def decode_pixels(content: bytes, image: Image.Image, factor: int, strict: bool) -> Image.Image:
    """The pixels of an opened picture in its own mode; JPEGs by libjpeg-turbo, which detects more damage.

    A grey or RGB JPEG is decoded at 1 / `factor` of its size, to exactly the bytes that Pillow gives.
    """
    colours = {"L": "GRAY", "RGB": "RGB"}.get(image.mode) if image.format in ("JPEG", "MPO") else None
    try:
        if colours is None:
            image.load()
            return image
        width, height = (-(-side // factor) for side in image.size)
        pixels = simplejpeg.decode_jpeg(content, colours, False, False, height, width, factor, strict=strict)
    except ValueError as error:
        if colours is None or "extraneous bytes" not in str(error):  # padding that some cameras write
            raise BadPicture(describe_error("broken", error)) from None
        image.load()
        return image
    except Exception as error:  # seen: OSError, TypeError and SyntaxError
        raise BadPicture(describe_error("broken", error)) from None
    made = Image.fromarray(pixels[..., 0] if colours == "GRAY" else pixels)
    made.info = image.info  # which has the EXIF orientation
    return made


def turn_upright(image: Image.Image) -> Image.Image:
    """A decoded picture as RGB, with its EXIF orientation applied."""
    try:
        ImageOps.exif_transpose(image, in_place=True)
        return to_rgb(image)
    except BadPicture:
        raise
    except Exception as error:
        raise BadPicture(describe_error("broken", error)) from None


def open_header(content: bytes) -> Image.Image:
    """The picture with only its header read, no pixel decoded."""
    try:
        return Image.open(BytesIO(content), formats=FORMATS)
    except Exception as error:
        raise BadPicture(describe_error("not a picture", error)) from None


def check_size(image: Image.Image, min_side: int, max_pixels: int) -> None:
    width, height = image.size
    if min(width, height) < min_side:
        raise BadPicture(f"too small: {width} x {height} pixels, data.min_side is {min_side}")
    if width * height > max_pixels:
        raise BadPicture(f"too large: {width} x {height} pixels, data.max_pixels is {max_pixels}")


def verify(content: bytes) -> None:
    """Refuse damage that a full decode by Pillow misses: wrong checksums, corrupt data of a CMYK JPEG."""
    image = open_header(content)
    try:
        image.verify()  # the picture cannot be used afterwards
    except Exception as error:
        raise BadPicture(describe_error("broken", error)) from None
    if image.format in ("JPEG", "MPO") and image.mode == "CMYK":
        try:
            simplejpeg.decode_jpeg(content, "CMYK", True, True, min_factor=max(DCT_FACTORS), strict=True)
        except ValueError as error:
            if "extraneous bytes" not in str(error):
                raise BadPicture(describe_error("broken", error)) from None


def to_rgb(image: Image.Image) -> Image.Image:
    """A decoded picture of any mode as RGB."""
    if image.mode.startswith("I;16"):
        return image.convert("I").point(GREY16, "L").convert("RGB")  # convert() alone clips 16 bits to white
    if image.mode in ("I", "F"):
        raise BadPicture(f"32-bit pixels ({image.mode}) have no known range (save it with 8 or 16 bits)")
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, (0, 0, 0, 255)), picture).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def describe_error(kind: str, error: Exception) -> str:
    """An exception of any decoder as one line of text."""
    text = " ".join(str(error).split())
    return f"{kind}: {text}" if text and "<_io.BytesIO" not in text else kind


def hash_pixels(image: Image.Image) -> str:
    """A hash of size and RGB pixels, 32 hexadecimal digits: what training sees, without metadata.

    XXH3 takes a tenth of the time of hashlib's hashes; it does not protect against deliberate collisions.
    """
    digest = xxhash.xxh3_128(repr(image.size).encode())
    digest.update(image.tobytes())
    return digest.hexdigest()
