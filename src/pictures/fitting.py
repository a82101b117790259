"""How a picture of any size fills the network's input: letterbox, crop or stretch.

`demos/classifier.py` repeats the three, since it is used outside the project; a test compares both byte for
byte.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

LETTERBOX = "letterbox"


def contain(width: int, height: int, into_width: int, into_height: int) -> tuple[int, int]:
    """The largest size that fits into the input, with the sides' ratio of a picture."""
    scale = min(into_width / width, into_height / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def cover(width: int, height: int, into_width: int, into_height: int) -> tuple[int, int]:
    """The smallest size that covers the input, with that ratio; rounded down, as in torchvision's Resize."""
    if width * into_height >= height * into_width:
        return width * into_height // height, into_height
    return into_width, height * into_width // width


def stretch(width: int, height: int, into_width: int, into_height: int) -> tuple[int, int]:
    """The input's size."""
    return into_width, into_height


class Fit(NamedTuple):
    """A way to fill the input: a picture is resized, and its centre is that of the input."""

    resize: Callable[[int, int, int, int], tuple[int, int]]  # width, height, the input's -> the new ones
    rule: str  # in words, for the exported file


READ = "RGB, EXIF orientation applied, Pillow bilinear"
FITS = {
    LETTERBOX: Fit(contain, f"{READ} to fit, centred, the rest black"),
    "crop": Fit(cover, f"{READ} to cover, centred, the rest cut off"),
    "stretch": Fit(stretch, f"{READ} to the input's width and height"),
}


def fit_picture(
    image: Image.Image,
    height: int,
    width: int,
    fit: str,
    size: tuple[int, int] | None = None,
    box: tuple[float, float, float, float] | None = None,
) -> Image.Image:
    """The RGB picture as one of exactly `width` x `height` pixels, by one of FITS.

    What a crop cuts off is not computed: Pillow resizes a part of the picture, which differs by at most one
    grey level from resizing all of it. For a picture decoded at reduced size, `size` is its width and height
    at full size, and `box` the region of `image` that it covers: left, top, right, bottom. It may cover part
    of the pixels at the edges.
    """
    left, top, right, bottom = box or (0, 0, *image.size)
    columns, rows = FITS[fit].resize(*(size or image.size), width, height)
    (start, shown, x), (above, seen, y) = centre(columns, width), centre(rows, height)
    part = (
        left + start * (right - left) / columns,
        top + above * (bottom - top) / rows,
        left + (start + shown) * (right - left) / columns,
        top + (above + seen) * (bottom - top) / rows,
    )
    resized = image.resize((shown, seen), Image.Resampling.BILINEAR, part)
    if resized.size == (width, height):
        return resized
    canvas = Image.new("RGB", (width, height))
    canvas.paste(resized, (x, y))
    return canvas


def centre(length: int, into: int) -> tuple[int, int, int]:
    """Of a side of `length` pixels on one of `into`: the first one shown, how many are, and where they go."""
    if length <= into:
        return 0, length, (into - length) // 2
    return round((length - into) / 2), into, 0  # rounded as in torchvision's CenterCrop


def resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """A fitted picture uint8 (h, w, 3), resized to (height, width, 3)."""
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
