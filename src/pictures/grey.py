"""16-bit grey: values as in the file, and the range of them that becomes 0 to 255.

Many of these pictures use little of 16 bits: X-rays and microscopes give 12. The range is the same for all
pictures, so that brightness keeps its meaning.
"""

from functools import cache
from typing import Annotated, Literal

from PIL import Image

from src.ground.kinds import Rule, within

FULL = 65535  # the largest value of 16 bits
GreyRange = tuple[int, int] | None  # lowest and highest value; None: 0 to the largest that each file allows

GreySetting = Annotated[
    Literal["file", "set"] | Annotated[tuple[Annotated[int, within("[0, 65535]")], ...], Rule(minItems=2)],
    Rule(rule="must be file, set, or [lowest, highest] with 0 <= lowest < highest <= 65535"),
]


def read_values(image: Image.Image) -> int:
    """Make Pillow read a PGM's values unscaled; returns the largest value that a picture of this file allows.

    Call it before the pixels are decoded. Pillow itself scales to 65535 what has more than 8 bits.
    """
    if image.format == "PPM" and image.mode == "I":
        (tile,) = image.tile  # type: ignore[attr-defined]
        if tile.codec_name == "ppm":
            image.tile = [tile._replace(codec_name="raw", args="I;16B")]  # type: ignore[attr-defined]
            return tile.args[1]
        if tile.codec_name == "ppm_plain":
            image.tile = [tile._replace(args=(tile.args[0], FULL))]  # type: ignore[attr-defined]
            return tile.args[1]
    if image.format == "TIFF" and image.mode.startswith("I;16"):
        (bits,) = image.tag_v2.get(258, (16,))  # type: ignore[attr-defined]
        return 2**bits - 1
    return FULL


def is_deep_grey(image: Image.Image) -> bool:
    """Whether a decoded picture is grey with more than 8 and at most 16 bits."""
    return image.mode.startswith("I;16") or (image.format == "PPM" and image.mode == "I")


def to_8_bits(image: Image.Image, full: int, grey_range: GreyRange) -> Image.Image:
    """Grey of 16 bits, mode I;16, as RGB: the range becomes 0 to 255 in equal steps, the rest is cut."""
    return image.convert("I").point(make_table(*(grey_range or (0, full))), "L").convert("RGB")


@cache
def make_table(low: int, high: int) -> list[int]:
    """8 bits for each value of 16; for 0 to 65535 the upper 8 bits."""
    return [min(max((value - low) * 256 // (high - low + 1), 0), 255) for value in range(FULL + 1)]
