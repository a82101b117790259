"""Pictures that `decode` has accepted, decoded again without its checks, JPEGs at reduced size if wanted.

H height, W width in pixels.
"""

import warnings
from functools import partial
from typing import NamedTuple

from PIL import Image

from src.pictures.decode import (
    JPEGS,
    BadPicture,
    Unreadable,
    find_orientation,
    load,
    open_header,
    read_tolerantly,
    simplify,
    trim_tiff,
    turn,
)
from src.pictures.fitting import FITS
from src.pictures.grey import GreyRange, read_unscaled, to_8_bits
from src.pictures.remarks import describe_error

REDUCED = 2  # a smaller JPEG must keep this many times the pixels needed, in each direction
TURNED = (5, 6, 7, 8)  # orientations that swap width and height
FROM_RIGHT, FROM_BOTTOM = (2, 3, 6, 7), (3, 4, 7, 8)  # those that move the first pixels right or down


class Part(NamedTuple):
    """A picture decoded at reduced size, in the form that `fit_picture` takes."""

    image: Image.Image  # RGB, upright
    size: tuple[int, int]  # width and height at full size
    box: tuple[float, float, float, float]  # region of `image` that it covers: left, top, right, bottom


def decode_sound(
    content: bytes, height: int, width: int, fit: str, dct_scaling: bool, grey_range: GreyRange
) -> Part:
    """A picture that `decode` has accepted, decoded without its checks, as RGB.

    With `dct_scaling`, a JPEG is decoded at 1/2, 1/4 or 1/8 of its size if that leaves, in each direction, at
    least REDUCED times the pixels that `fit` needs for `height` x `width`. Once fitted, photos then differ
    from fully decoded ones by less than 1/2 grey level of 255, averaged over the pixels.
    """
    content = trim_tiff(content)
    into = (width, height) if dct_scaling else None
    reduced = partial(decode_reduced, into=into, fit=fit, grey_range=grey_range)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_tolerantly(content, reduced)[0]


def decode_reduced(content: bytes, into: tuple[int, int] | None, fit: str, grey_range: GreyRange) -> Part:
    """The picture without checks, JPEGs reduced as far as `fit` to width and height `into` allows."""
    image = open_header(content)
    size, box = image.size, None
    try:
        full = read_unscaled(image)
        if into and image.format in JPEGS:
            orientation, _ = find_orientation(image)
            wanted = into[::-1] if orientation in TURNED else into
            least_width, least_height = FITS[fit].resize(*size, *wanted)
            drafted = image.draft(None, (REDUCED * least_width, REDUCED * least_height))
            box = drafted[1] if drafted else None
        upright = simplify(load(image), full)
        orientation, _ = find_orientation(image)
        upright = turn(upright, orientation)
    except BadPicture:
        raise
    except Exception as error:
        raise Unreadable(describe_error(image, error, [])) from None
    if upright.mode != "RGB":
        upright = to_8_bits(upright, full, grey_range)
    if box is None:
        return Part(upright, upright.size, (0, 0, *upright.size))
    width, height = box[2:]
    if orientation in TURNED:
        size, width, height = size[::-1], height, width
    left = upright.width - width if orientation in FROM_RIGHT else 0
    top = upright.height - height if orientation in FROM_BOTTOM else 0
    return Part(upright, size, (left, top, left + width, top + height))
