"""From a picture file's bytes to upright pixels, or the reason for refusal; only here are pictures opened.

`demos/classifier.py` repeats the rule, since it is used outside the project; a test compares verdicts and
pixels. H height, W width in pixels.
"""

import logging
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from typing import TypeVar, cast

import numpy as np
import xxhash
from PIL import ExifTags, Image

from src.machine.stderr import catch_stderr
from src.pictures.foreign import PREVIEW, explain_foreign
from src.pictures.grey import GreyRange, Values, is_deep_grey, read_unscaled, to_8_bits, to_deep_grey
from src.pictures.jpeg import decode_strictly
from src.pictures.metadata import TIFFS, without_metadata
from src.pictures.remarks import describe_error, explain_header, note_depth, note_frames

T = TypeVar("T")

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000")  # none can run a program
logging.getLogger("PIL").addHandler(logging.NullHandler())  # or it would print, without a file's name
Image.MAX_IMAGE_PIXELS = None  # data.max_pixels is the limit, checked below before any pixel is decoded
JPEGS = ("JPEG", "MPO")
COLOURS = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}  # simplejpeg's names
TURNS = {  # by EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
REDUCED_RESOLUTION, DNG_VERSION = 254, 50706  # TIFF tags


class BadPicture(Exception):
    """The reason why a file is not accepted as a picture."""


class Unreadable(BadPicture):
    """A decoder failed; perhaps only at the metadata."""


@dataclass(frozen=True)
class Decoded:
    """A picture at full size."""

    image: Image.Image  # upright; RGB, or I;16: 16-bit grey with the values of the file
    full: int  # the largest value that the file allows, of 16-bit grey
    notes: tuple[str, ...]  # what is odd about it but no reason to refuse it
    pixels: np.ndarray | None = None  # of `image`, if its decoder gave them as an array

    def to_rgb(self, grey_range: GreyRange) -> Image.Image:
        """The picture as RGB; of 16-bit grey the given range becomes 0 to 255."""
        return self.image if self.image.mode == "RGB" else to_8_bits(self.image, self.full, grey_range)

    def hash(self) -> str:
        """A hash of size and pixels."""
        return hash_pixels(self.image, self.pixels)

    def find_values(self) -> Values | None:
        """The values of 16-bit grey; None if it is RGB."""
        if self.image.mode == "RGB":
            return None
        low, high = cast(tuple[int, int], self.image.getextrema())
        return Values(low, high, self.full)


def decode(content: bytes, min_side: int, max_pixels: int) -> Decoded:
    """The picture in `content`, with its EXIF orientation applied; the first frame of an animation.

    Raises BadPicture if it is empty, not a picture, broken, truncated, under `min_side` pixels wide or high,
    or over `max_pixels` = H x W. Transparent pixels are composited on black, the colour of the padding.
    Metadata that cannot be read count as absent. Not for several threads: it catches what libtiff prints.
    """
    if not content:
        raise BadPicture("empty file (copy it again or remove it)")
    if reason := explain_foreign(content):
        raise BadPicture(reason)
    checked = partial(decode_checked, min_side=min_side, max_pixels=max_pixels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about odd but readable metadata
        decoded, complete = read_tolerantly(content, checked)
    if complete:
        return decoded
    return replace(decoded, notes=(*decoded.notes, "unreadable metadata: they count as absent"))


def may_be_deep_grey(content: bytes) -> bool:
    """Whether the header says 16-bit grey; no pixel is decoded."""
    try:
        return is_deep_grey(open_header(content))
    except BadPicture:
        return False


def read_tolerantly(content: bytes, read: Callable[[bytes], T]) -> tuple[T, bool]:
    """What `read` makes of a file, if need be without its metadata, and whether these could be read."""
    try:
        return read(content), True
    except Unreadable as bad:
        for pixels in without_metadata(content):
            if pixels == content:
                continue
            try:
                return read(pixels), False
            except Unreadable:
                pass
        raise bad from None


def trim_tiff(content: bytes) -> bytes:
    """A TIFF without metadata, of which libtiff would complain, but its orientation; others unchanged."""
    return next(without_metadata(content), content) if content.startswith(TIFFS) else content


def decode_checked(content: bytes, min_side: int, max_pixels: int) -> Decoded:
    """The picture, after every check."""
    image = open_header(content)
    check_size(image, min_side, max_pixels)
    check_preview(image)
    jpeg, lines = image.format in JPEGS, list[str]()
    header = image if jpeg else open_header(content)  # counting frames and verifying spoil it
    notes = note_frames(header) + note_depth(content, image)
    if image.format == "TIFF":
        content = trim_tiff(content)
        image = open_header(content)
    try:
        with catch_stderr() if image.format == "TIFF" else nullcontext(lines) as lines:
            if not jpeg:  # of which Pillow verifies nothing
                header.verify()  # what needs no pixels, such as a PNG's checksums
            full = read_unscaled(image)
            pixels = decode_strict_jpeg(content, image) if jpeg else None
            decoded = load(image) if pixels is None else Image.fromarray(pixels)
        if lines:  # of libtiff; Pillow switches off those that are only warnings
            raise OSError("decoder error")
        orientation, unreadable = find_orientation(image)
        upright = turn(simplify(decoded, full), orientation)
    except BadPicture:
        raise
    except Exception as error:
        raise Unreadable(describe_error(image, error, lines)) from None
    low, high = upright.getextrema() if upright.mode == "I;16" else (0, 1)
    if low == high or (upright.mode == "RGB" and upright.getcolors(1)):
        notes += ("one colour: every pixel is the same",)
    return Decoded(upright, full, notes + unreadable, pixels if upright is decoded else None)


def open_header(content: bytes) -> Image.Image:
    """The picture with only its header read, no pixel decoded."""
    try:
        return Image.open(BytesIO(content), formats=FORMATS)
    except Exception:
        raise Unreadable(explain_header(content)) from None


def check_size(image: Image.Image, min_side: int, max_pixels: int) -> None:
    width, height = image.size
    if min(width, height) < min_side:
        raise BadPicture(
            f"too small: {width} x {height} pixels, data.min_side is {min_side} (remove it or lower min_side)"
        )
    if width * height > max_pixels:
        raise BadPicture(
            f"too large: {width} x {height} pixels, data.max_pixels is {max_pixels} "
            "(save it smaller, or raise max_pixels)"
        )


def check_preview(image: Image.Image) -> None:
    """Refuse a raw picture: of these TIFFs Pillow would read a small preview."""
    tags = getattr(image, "tag_v2", {})
    kind = tags.get(REDUCED_RESOLUTION, 0)
    if DNG_VERSION in tags or (isinstance(kind, int) and kind & 1):
        raise BadPicture(PREVIEW)


def decode_strict_jpeg(content: bytes, image: Image.Image) -> np.ndarray | None:
    """The pixels of a JPEG as Pillow gives them, by a decoder that detects more damage.

    None of CMYK, which it only checks, and if it cannot judge the file: Pillow is to decode them.
    """
    cmyk = image.mode == "CMYK"
    pixels = decode_strictly(content, COLOURS[image.mode], smallest=8 if cmyk else 1)
    if cmyk or pixels is None:
        return None
    return pixels[..., 0] if image.mode == "L" else pixels


def load(image: Image.Image) -> Image.Image:
    image.load()
    return image


def find_orientation(image: Image.Image) -> tuple[int, tuple[str, ...]]:
    """The EXIF orientation that is still to be applied, 1 to 8, and a note if it cannot be read.

    Of a TIFF, which Pillow turns itself, and a PNG it is known only after the pixels are decoded.
    """
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
        return (found if found in TURNS else 1), ()
    except Exception:  # seen: SyntaxError, struct.error, UnicodeDecodeError
        return 1, ("unreadable Exif: the picture counts as upright",)


def turn(image: Image.Image, orientation: int) -> Image.Image:
    """A decoded picture upright."""
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def simplify(image: Image.Image, full: int) -> Image.Image:
    """A decoded picture of any mode as RGB, or 16-bit grey, of values up to `full`, as I;16."""
    if is_deep_grey(image):
        return to_deep_grey(image, full)
    if image.mode in ("I", "F"):
        what = "signed or 32-bit" if image.mode == "I" else "float"
        raise BadPicture(f"{what} pixels have no known range (save it as grey of 8 bits or unsigned 16)")
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, (0, 0, 0, 255)), picture).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def hash_pixels(image: Image.Image, pixels: np.ndarray | None = None) -> str:
    """A hash of size and pixels, 32 hexadecimal digits: what training sees, without metadata.

    `pixels` are the image's, if they are at hand: Pillow would copy them twice.
    XXH3 takes a tenth of the time of hashlib's hashes; it does not protect against deliberate collisions.
    """
    digest = xxhash.xxh3_128(repr(image.size).encode())
    digest.update(image.tobytes() if pixels is None else pixels.data)
    return digest.hexdigest()
