"""Letterbox: a picture resized to fit inside the network's input with its aspect ratio kept, black around it.

`demos/classifier.py` carries the same rule, since it travels alone; a test compares the two byte for byte.
"""

import numpy as np
from PIL import Image

RULE = "RGB, EXIF orientation applied, Pillow bilinear to fit, centred, the rest black"


def fit_box(width: int, height: int, into_width: int, into_height: int) -> tuple[int, int, int, int]:
    """Where a picture comes to lie: left, top, width, height in pixels of the input."""
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

    Of a picture that was decoded at a part of its size, `size` is its full width and height and `box` what of
    the pixels it covers, left, top, right and bottom: the last ones may be covered in part.
    """
    left, top, to_width, to_height = fit_box(*(size or image.size), width, height)
    canvas = Image.new("RGB", (width, height))
    canvas.paste(image.resize((to_width, to_height), Image.Resampling.BILINEAR, box), (left, top))
    return canvas


def resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """A letterboxed picture uint8 (h, w, 3) at another size: (height, width, 3)."""
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
