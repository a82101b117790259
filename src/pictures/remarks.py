"""Why a picture is refused, and what is odd about one that is accepted, in one line each."""

import re
from io import BytesIO
from typing import Any

from PIL import Image

from src.ground.errors import shorten
from src.pictures.foreign import explain_unknown, find_format
from src.pictures.grey import is_deep_grey

AGAIN = "copy it again or, if it looks right, save it anew"
TELLING = (OSError, SyntaxError, ValueError)  # their text is for people; others are a decoder's own faults
UNTELLING = re.compile(
    r"<_io\.BytesIO|decoder error|invalid literal|codec|index|unpack|argument|^not a|^\d+$"
)
PREFIX = re.compile(r"^(tj\w+\(\): |broken PNG file )")
NAMES = {"MPO": "JPEG", "JPEG2000": "JPEG 2000", "WEBP": "WebP"}
JPEG2000_SIZE = b"\xff\x4f\xff\x51"  # its first markers
JPEG2000_DEPTH = 42  # bytes from there to the depth


def explain_header(content: bytes) -> str:
    """Why a header cannot be read: Image.open does not say what the format's own decoder finds."""
    name = find_format(content)
    if not name:
        return explain_unknown(content)
    text = ""
    try:
        Image.OPEN[name][0](BytesIO(content), "")
    except Exception as error:
        text = tell(error)
    what = f"{NAMES.get(name, name)}: {text or 'its header cannot be read'}"
    return f"broken or unusual {what} ({AGAIN})"


def describe_error(image: Image.Image, error: Exception, lines: list[str]) -> str:
    """An exception of any decoder as one line; of libtiff its own words, not Pillow's number."""
    if isinstance(error, MemoryError):
        return f"needs more memory than there is: {image.width} x {image.height} pixels (save it smaller)"
    text = tell(OSError(lines[0].replace("tempfile.tif: ", ""))) if lines else tell(error)
    return f"broken {NAMES.get(image.format or '', image.format)}: {text or 'its data are damaged'} ({AGAIN})"


def tell(error: Exception) -> str:
    """What an error says, without parentheses and full stop; empty if it is not for people."""
    text = shorten(error)
    if type(error) not in TELLING or UNTELLING.search(text):
        return ""
    return PREFIX.sub("", text).rstrip(".").replace(" (", ", ").replace("(", "").replace(")", "")


def note_frames(header: Any) -> tuple[str, ...]:
    """A note if a file has several pictures; not of MPO, in which cameras add a preview or a gain map.

    `header` cannot be used afterwards, unless it is a JPEG's.
    """
    try:
        count = header.n_frames if header.format != "MPO" and getattr(header, "is_animated", False) else 1
    except Exception:  # a later frame is broken
        return ()
    if count == 1:
        return ()
    kind, what = ("several pages", "pages") if header.format == "TIFF" else ("animated", "frames")
    return (f"{kind}: the first of {count} {what} is taken",)


def note_depth(content: bytes, image: Image.Image) -> tuple[str, ...]:
    """A note if Pillow drops the lower bits of colours."""
    tiles = getattr(image, "tile", [])
    arguments = tiles[0].args if tiles else ()
    raw_mode, *more = arguments if isinstance(arguments, tuple) and arguments else (arguments,)
    deep = isinstance(raw_mode, str) and ";16" in raw_mode and not raw_mode.startswith("I")
    if image.format == "PPM" and image.mode == "RGB":
        deep = more[0:1] > [255]  # the maxval
    if image.format == "JPEG2000" and not is_deep_grey(image):
        start = content.find(JPEG2000_SIZE) + JPEG2000_DEPTH
        deep = content[start : start + 1] > bytes([7])  # the bits less 1
    return ("over 8 bits a colour: the upper 8 are used",) if deep else ()
