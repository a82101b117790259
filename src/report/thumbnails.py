"""Small copies of pictures as data URIs, each once in the page however often it is shown."""

import base64
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from src.pictures.decode import BadPicture, decode
from src.pictures.grey import GreyRange
from src.report.overlay import SIDE, overlay

LOSSLESS = 48  # pixels: smaller pictures are PNG
QUALITY = 80  # of JPEG
FULL = -1  # the number of a picture that there is no room for
MOST_BYTES = 12_000_000  # of all pictures of a page


class Thumbnails:
    """The pictures of the page by number, at most `most_bytes` of them in all."""

    def __init__(self, root: Path, max_pixels: int, grey_range: GreyRange, side: int, most_bytes: int):
        self.root, self.max_pixels, self.grey_range = root, max_pixels, grey_range
        self.side, self.left = side, most_bytes
        self.numbers: dict[str, int | None] = {}  # of each path; None: gone or unreadable
        self.sources: list[str] = []
        self.left_out = 0

    def find(self, path: str) -> int | None:
        """The number of the picture at a path below the root; None if it is gone, FULL without room."""
        if path not in self.numbers:
            image = self.open(path)
            self.numbers[path] = None if image is None else self.add(image, self.side)
        return self.numbers[path]

    def open(self, path: str) -> Image.Image | None:
        """The picture at a path below the root, upright RGB; None if it is gone or unreadable."""
        try:
            return decode((self.root / path).read_bytes(), 1, self.max_pixels).to_rgb(self.grey_range)
        except (OSError, BadPicture):
            return None

    def add(self, image: Image.Image, side: int) -> int:
        """The number of a picture, at most `side` pixels wide and high; FULL if the page is full."""
        source = encode(image, side)
        if len(source) > self.left:
            self.left_out += 1
            return FULL
        self.left -= len(source)
        self.sources.append(source)
        return len(self.sources) - 1

    def add_over(self, path: str, heat: np.ndarray, size: tuple[int, int], fit: str) -> int | None:
        """The number of the picture at a path under a heat map, see `overlay`."""
        image = self.open(path)
        if image is None:
            return None
        return self.add(overlay(image, heat, size, fit), SIDE)


def encode(image: Image.Image, side: int) -> str:
    """The picture, at most `side` pixels wide and high, as a data URI."""
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.BILINEAR)
    kind, options = choose_format(small)
    buffer = BytesIO()
    small.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def choose_format(image: Image.Image) -> tuple[str, Mapping[str, int]]:
    """Pillow's name of the format, and its options."""
    return ("PNG", {}) if max(image.size) <= LOSSLESS else ("JPEG", {"quality": QUALITY})
