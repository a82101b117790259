"""What a sample of the pictures looks like: sizes from headers, colours from small versions. N files."""

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from statistics import median

import numpy as np
from PIL import Image

from src.ground.errors import UserError
from src.ground.files import sha256
from src.pictures.decode import BadPicture, open_header
from src.pictures.grey import is_deep_grey
from src.pictures.opening import read_bytes
from tools.init.recipes import LONG

MOST, MOST_COLOURS = 300, 60  # files whose headers, and whose pixels, are looked at
MOST_FILES, MOST_BYTES = 100_000, 2**33  # among which copies are looked for, and of those of equal lengths
SMALL, GREY = 32, 4.0  # pixels a side; mean difference of the channels that noise of a grey photo may have
COLOURED = 0.05  # share of pictures with colours above which a set has colours
NEARLY_SQUARE, NEARLY_ALL = 1.05, 0.95


@dataclass(frozen=True)
class Sample:
    """The pictures of a sample, as far as their headers tell."""

    sizes: list[tuple[int, int]]  # width, height in pixels
    colour: bool
    deep: bool  # whether any is 16-bit grey

    @property
    def width(self) -> int:
        return int(median(width for width, _ in self.sizes))

    @property
    def height(self) -> int:
        return int(median(height for _, height in self.sizes))

    @property
    def short(self) -> int:
        """The median of the shorter sides."""
        return int(median(map(min, self.sizes)))

    @property
    def long(self) -> float:
        """The share of pictures with a ratio of sides over LONG."""
        return float(np.mean([max(size) > LONG * min(size) for size in self.sizes]))

    @property
    def square(self) -> bool:
        """Whether nearly all are."""
        return float(np.mean([max(size) <= NEARLY_SQUARE * min(size) for size in self.sizes])) >= NEARLY_ALL


def look_at(root: Path, paths: Sequence[str], max_pixels: int) -> Sample:
    """A sample of the files, evenly over the list; what is no picture is passed over.

    A UserError if none of them is one.
    """
    sizes, colours, deep, first = [], list[bool](), False, ""
    for path in spread(paths, MOST):
        try:
            content = read_bytes(root / path, max_pixels)
            image = open_header(content)
        except BadPicture as bad:
            first = first or f"{path}: {bad}"
            continue
        sizes.append(image.size)
        deep = deep or is_deep_grey(image)
        if len(colours) < MOST_COLOURS and image.width * image.height <= max_pixels:
            colours.append(has_colours(image))
    if not sizes:
        raise UserError(f"{root}: none of the files looked at is a picture, first {first}")
    return Sample(sizes, bool(np.mean(colours or [True]) > COLOURED), deep)


def spread(paths: Sequence[str], most: int) -> list[str]:
    """At most so many of the paths, evenly over the list."""
    places = np.linspace(0, len(paths) - 1, min(most, len(paths))).astype(int)
    return [paths[place] for place in places]


def has_colours(image: Image.Image) -> bool:
    """Whether an opened picture is more than grey; one that cannot be decoded counts as coloured."""
    try:
        image.draft("RGB", (SMALL, SMALL))
        pixels = np.asarray(image.convert("RGB").resize((SMALL, SMALL)), dtype=int)
    except Exception:  # check_images will say what is wrong with it
        return True
    return bool((pixels.max(axis=2) - pixels.min(axis=2)).mean() > GREY)


def count_copies(root: Path, paths: Sequence[str]) -> int:
    """How many files are byte for byte one that comes before them; 0 if there is too much to read."""
    if len(paths) > MOST_FILES:
        return 0
    by_length: dict[int, list[str]] = defaultdict(list)
    for path in paths:
        try:
            found = os.stat(root / path)
        except OSError:
            continue
        if S_ISREG(found.st_mode):  # to read a pipe or a device may never end
            by_length[found.st_size].append(path)
    alike = {length: group for length, group in by_length.items() if len(group) > 1}
    if sum(length * len(group) for length, group in alike.items()) > MOST_BYTES:
        return 0
    return sum(len(group) - len({try_hash(root / path) for path in group}) for group in alike.values())


def try_hash(path: Path) -> str:
    """The hash of a file's bytes; of one that cannot be read its path, which no other has."""
    try:
        return sha256(path)
    except OSError:
        return str(path)
