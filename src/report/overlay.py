"""A heat map over the picture it explains, with the fit to the network's input undone.

h and w are the map's height and width in cells, H and W those of the network's input in pixels.
"""

import numpy as np
from PIL import Image

from src.pictures.fitting import FITS, centre

# from cold to hot; a ramp whose lightness rises too, so that it is read without colours
RAMP = np.array([[13, 8, 135], [126, 3, 168], [204, 71, 120], [248, 149, 64], [240, 249, 33]], float)
OPACITY = 0.65  # of the hottest cell
SIDE = 160  # pixels of the longer side of a picture under a map, also of a smaller one


def overlay(image: Image.Image, heat: np.ndarray, size: tuple[int, int], fit: str) -> Image.Image:
    """The RGB picture under its heat map (h, w), not negative; what the network did not see stays as it is.

    `size` is H and W, `fit` one of FITS. The map is scaled to its maximum, the picture to SIDE.
    """
    image = image.resize([max(1, SIDE * side // max(image.size)) for side in image.size])
    strength = spread(heat / (heat.max() or 1), size, fit, image.size)[..., None]
    places = strength[..., 0] * (len(RAMP) - 1)
    colours = np.stack([np.interp(places, range(len(RAMP)), RAMP[:, band]) for band in range(3)], axis=2)
    mixed = np.asarray(image, float) * (1 - OPACITY * strength) + colours * OPACITY * strength
    return Image.fromarray(mixed.round().astype(np.uint8))


def spread(heat: np.ndarray, size: tuple[int, int], fit: str, shown: tuple[int, int]) -> np.ndarray:
    """A map (h, w) on the picture's own pixels (height, width), `shown` its width and height."""
    (height, width), (own_width, own_height) = size, shown
    columns, rows = FITS[fit].resize(own_width, own_height, width, height)
    (left, across, x), (top, down, y) = centre(columns, width), centre(rows, height)
    whole = Image.fromarray(heat.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    first, last = place(left, across, columns, own_width)
    upper, lower = place(top, down, rows, own_height)
    box = (x, y, x + across, y + down)
    part = whole.resize((last - first, lower - upper), Image.Resampling.BILINEAR, box)
    spread = np.zeros((own_height, own_width), np.float32)
    spread[upper:lower, first:last] = np.asarray(part)
    return spread.clip(0, 1)


def place(start: int, shown: int, length: int, own: int) -> tuple[int, int]:
    """Of a side of `length` pixels of which `shown` are seen from `start` on: the same of a side of `own`."""
    first = min(round(start * own / length), own - 1)
    return first, max(first + 1, round((start + shown) * own / length))
