"""16-bit grey: values as in the file, and the range of them that becomes 0 to 255.

Many of these pictures use little of 16 bits: X-rays and microscopes give 12. The range is the same for all
pictures, so that brightness keeps its meaning.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from PIL import Image

from src.ground.errors import UserError
from src.ground.files import read_json, write_json
from src.ground.kinds import Rule, within

GREY_RANGE = Path("data/manifest/grey_range.json")
FULL = 65535  # the largest value of 16 bits
BITS_PER_SAMPLE, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # TIFF tags and a value
LITTLE = 0.25  # a smaller share of the range that is used is worth a warning
GreyRange = tuple[int, int] | None  # lowest and highest value; None: 0 to the largest that each file allows

RANGE_RULE = "must be file, set, or [lowest, highest] with 0 <= lowest < highest <= 65535"
GreySetting = Annotated[
    Literal["file", "set"]
    | Annotated[tuple[Annotated[int, within("[0, 65535]")], ...], Rule(minItems=2, maxItems=2)],
    Rule(rule=RANGE_RULE),
]


class Values(NamedTuple):
    """The values of 16-bit grey in a picture."""

    low: int  # the lowest
    high: int  # the highest
    full: int  # the largest that the file allows


def write_grey_range(grey_range: GreyRange) -> None:
    """Write the range that all later stages use: "file" or [lowest, highest]."""
    write_json(GREY_RANGE, grey_range or "file")


def read_grey_range() -> GreyRange:
    """The range that check_images has written."""
    found = read_json(GREY_RANGE)
    if found == "file":
        return None
    whole = isinstance(found, list) and [type(value) for value in found] == [int, int]
    if not whole or not 0 <= found[0] < found[1] <= FULL:
        raise UserError(f"{GREY_RANGE}: not a range of grey (dvc repro -f check_images writes it)")
    return found[0], found[1]


class GreyUse:
    """The range of 16-bit grey that becomes 0 to 255, and what of it the pictures use."""

    def __init__(self, grey_range: GreyRange):
        self.range, self.pictures, self.found = grey_range, 0, Values(FULL, 0, 0)

    def add(self, values: Values | None) -> None:
        """Take a picture into account; None if it is not of 16-bit grey."""
        if values is not None:
            self.pictures += 1
            self.found = join_values(self.found, values)

    def warn(self) -> Iterator[str]:
        """A warning if little of the range is used."""
        low, high, full = self.found
        start, end = self.range or (0, full)
        share = max(min(high, end) - max(low, start) + 1, 0) / (end - start + 1)
        if not self.pictures or share >= LITTLE:
            return
        yield (
            f"pictures of 16-bit grey ({self.pictures}) have values {low} to {high}, {100 * share:.2g} % of "
            f"the range {start} to {end} that becomes 0 to 255 (images.grey_range: set takes train's range; "
            f"or write [{low}, {high}])"
        )


def join_values(one: Values, other: Values) -> Values:
    """The values of both."""
    return Values(min(one.low, other.low), max(one.high, other.high), max(one.full, other.full))


def read_unscaled(image: Image.Image) -> int:
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
        (bits,) = image.tag_v2.get(BITS_PER_SAMPLE, (16,))  # type: ignore[attr-defined]
        return 2**bits - 1
    return FULL


def is_deep_grey(image: Image.Image) -> bool:
    """Whether a decoded picture is grey with more than 8 and at most 16 bits."""
    return image.mode.startswith("I;16") or (image.format == "PPM" and image.mode == "I")


def to_deep_grey(image: Image.Image, full: int) -> Image.Image:
    """Decoded grey of over 8 bits as I;16; if white is 0 in a TIFF, inverted as Pillow does 8 bits."""
    if image.format == "TIFF" and image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO:  # type: ignore[attr-defined]
        return image.convert("I").point(lambda value: value * -1 + full).convert("I;16")
    return image if image.mode == "I;16" else image.convert("I").convert("I;16")


def to_8_bits(image: Image.Image, full: int, grey_range: GreyRange) -> Image.Image:
    """Grey of 16 bits, mode I;16, as RGB: the range becomes 0 to 255 in equal steps, the rest is cut."""
    return image.convert("I").point(make_table(*(grey_range or (0, full))), "L").convert("RGB")


@cache
def make_table(low: int, high: int) -> list[int]:
    """8 bits for each value of 16; for 0 to 65535 the upper 8 bits."""
    return [min(max((value - low) * 256 // (high - low + 1), 0), 255) for value in range(FULL + 1)]
