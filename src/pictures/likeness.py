"""Near duplicates: a perceptual hash of each picture, and all pairs of pictures that look the same.

N pictures. Whole numbers throughout, so that every CPU finds the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

SIDE, LOWEST = 32, 8  # pixels of the picture that is transformed; frequencies that are kept, without the mean
THUMBNAIL = SIDE // 2  # pixels of the picture that decides among those whose hashes are close
GREY = np.array([299, 587, 114])  # of red, green and blue, in thousandths
CORRELATION = 0.997  # of two thumbnails, above which pictures look the same
CHUNK = 4096  # pictures whose thumbnails are compared at a time
FLAT = 1.0  # standard deviation of each colour of a thumbnail, of 255, below which it shows nothing
COSINES = np.rint(  # of the discrete cosine transform, in thousandths: frequencies 1 to 8 of 32 pixels
    1000 * np.cos(np.pi * np.outer(np.arange(1, LOWEST + 1), 2 * np.arange(SIDE) + 1) / (2 * SIDE))
).astype(np.int64)


@dataclass(frozen=True)
class Likeness:
    """What two pictures that look the same have in common."""

    hash: int  # of 64 bits, of which a picture that was saved again or resized has nearly all
    thumbnail: bytes  # RGB, THUMBNAIL x THUMBNAIL x 3


def find_likeness(image: Image.Image) -> Likeness:
    """The likeness of a picture, RGB or I;16, of which the values that it has count as black to white.

    pHash: the picture is shrunk to 32 x 32 grey pixels, and each bit says whether the strength of one of its
    64 lowest frequencies is above their median (Zauner, Implementation and Benchmarking of Perceptual Image
    Hash Functions, 2010).
    """
    small = shrink(image)
    strengths = (COSINES @ (small @ GREY) @ COSINES.T).ravel()
    ordered = np.sort(strengths)
    middle = len(ordered) // 2
    bits = 2 * strengths > ordered[middle - 1] + ordered[middle]
    thumbnail = (small[::2, ::2] + small[1::2, ::2] + small[::2, 1::2] + small[1::2, 1::2]) // 4
    return Likeness(int.from_bytes(np.packbits(bits).tobytes()), thumbnail.astype(np.uint8).tobytes())


def shrink(image: Image.Image) -> np.ndarray:
    """The picture as (SIDE, SIDE, 3) int64, 0 to 255."""
    if image.mode == "RGB":
        small = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
        return np.asarray(small).astype(np.int64)
    grey = np.asarray(image.convert("I").convert("F").resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    low, high = float(grey.min()), float(grey.max())
    levels = (grey.astype(float) - low) * (255 / max(high - low, 1))
    return np.repeat(levels.astype(np.int64)[..., None], 3, axis=2)


class Groups:
    """Which of N rows belong together; those that do are named by the first of them."""

    def __init__(self, count: int):
        self.above = list(range(count))

    def join(self, one: int, other: int) -> None:
        first, second = sorted((self.find(one), self.find(other)))
        self.above[second] = first

    def find(self, row: int) -> int:
        """The first row of the group that a row is in."""
        while self.above[row] != row:
            self.above[row] = row = self.above[self.above[row]]
        return row

    def names(self) -> np.ndarray:
        """The first row of each row's group, (N,) int64."""
        above = np.array(self.above, dtype=np.int64)
        while (above[above] != above).any():
            above = above[above]
        return above


def join_near(hashes: np.ndarray, thumbnails: np.ndarray, distance: int, groups: Groups) -> None:
    """Join all pictures that look the same: hashes (N,) uint64 that differ in at most `distance` bits.

    Thumbnails, uint8 (N, THUMBNAIL * THUMBNAIL * 3), of which both must correlate, keep apart pictures of one
    composition. Every pair is found: of distance + 1 blocks of bits, two such hashes have at least one in
    common (Norouzi, Punjani and Fleet, Fast Exact Search in Hamming Space with Multi-Index Hashing, 2014,
    arXiv:1307.2982).
    """
    rows = np.flatnonzero(~find_flat(thumbnails))
    for some, others in find_candidates(hashes[rows], distance):
        for start in range(0, len(some), CHUNK):
            one, other = (rows[part[start : start + CHUNK]] for part in (some, others))
            joined = groups.names()
            apart = joined[one] != joined[other]
            one, other = one[apart], other[apart]
            alike = correlate(thumbnails[one], thumbnails[other]) >= CORRELATION
            for pair in zip(one[alike].tolist(), other[alike].tolist(), strict=True):
                groups.join(*pair)


def find_candidates(hashes: np.ndarray, distance: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs of rows whose hashes, (N,) uint64, differ in at most `distance` bits; some more than once."""
    for block in range(distance + 1):
        mask = sum(1 << bit for bit in range(block, 64, distance + 1))  # of low and of high frequencies
        keys = hashes & np.uint64(mask)
        order = np.argsort(keys, kind="stable")
        keys, shift, rows = keys[order], 1, np.arange(len(keys))
        while len(rows):
            rows = rows[rows + shift < len(keys)]
            rows = rows[keys[rows] == keys[rows + shift]]
            one, other = order[rows], order[rows + shift]
            near = np.bitwise_count(hashes[one] ^ hashes[other]) <= distance
            if near.any():
                yield one[near], other[near]
            shift += 1


def correlate(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The correlation of each row of one array uint8 (n, V) with the same row of another, (n,)."""
    one, other = (
        part - part.mean(axis=1, keepdims=True) for part in (some.astype(float), others.astype(float))
    )
    return (one * other).sum(axis=1) / np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))


def find_flat(thumbnails: np.ndarray) -> np.ndarray:
    """Which of N pictures are of one colour, with nothing by which they could be compared, (N,) bool."""
    parts = np.array_split(thumbnails.reshape(len(thumbnails), -1, 3), 1 + len(thumbnails) // CHUNK)
    return np.concatenate([part.std(axis=1).max(axis=1) < FLAT for part in parts])
