"""Letterbox: resize a picture to fit the network's input, keep its aspect ratio, fill the rest with black.

`demos/classifier.py` repeats the rule, since it is used outside the project; a test compares the two byte for
byte.
"""

import numpy as np
from PIL import Image

RULE = "RGB, EXIF orientation applied, Pillow bilinear to fit, centred, the rest black"


def fit_box(width: int, height: int, into_width: int, into_height: int) -> tuple[int, int, int, int]:
    """Where a picture is placed: left, top, width, height in pixels of the input."""
    scale = min(into_width / width, into_height / height)
    to_width, to_height = max(1, round(width * scale)), max(1, round(height * scale))
    return (into_width - to_width) // 2, (into_height - to_height) // 2, to_width, to_height


def letterbox(
    image: Image.Image,
    height: int,
    width: int,
    size: tuple[int, int] | None = None,
    box: tuple[float, float, float, float] | None = None,
) -> Image.Image:
    """The RGB picture inside an RGB picture of exactly `width` x `height` pixels.

    For a picture decoded at reduced size, `size` is its width and height at full size, and `box` the region
    of `image` that it covers: left, top, right, bottom. It may cover part of the pixels at the edges.
    """
    left, top, to_width, to_height = fit_box(*(size or image.size), width, height)
    canvas = Image.new("RGB", (width, height))
    canvas.paste(image.resize((to_width, to_height), Image.Resampling.BILINEAR, box), (left, top))
    return canvas


def resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """A letterboxed picture uint8 (h, w, 3), resized to (height, width, 3)."""
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
