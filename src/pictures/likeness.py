"""Near duplicates: a perceptual hash of each picture, and all pairs of pictures that look the same.

N pictures. Whole numbers throughout, so that every CPU finds the same.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from PIL import Image
from tqdm import tqdm

SIDE, LOWEST = 32, 8  # pixels of the picture that is transformed; frequencies that are kept, without the mean
THUMBNAIL = SIDE // 2  # pixels of the picture that decides among those whose hashes are close
GREY = np.array([299, 587, 114])  # of red, green and blue, in thousandths
CORRELATION = 0.997  # of two thumbnails, above which pictures look the same
TILE = 512  # pictures that are compared with as many others at a time
CHUNK = 256  # pictures that are searched for a single colour at a time
FLAT = 1.0  # standard deviation of each colour of a thumbnail, of 255, below which it shows nothing
COSINES = np.rint(  # of the discrete cosine transform, in thousandths: frequencies 1 to 8 of 32 pixels
    1000 * np.cos(np.pi * np.outer(np.arange(1, LOWEST + 1), 2 * np.arange(SIDE) + 1) / (2 * SIDE))
).astype(np.int64)


@dataclass(frozen=True)
class Likeness:
    """What two pictures that look the same have in common."""

    hash: int  # of 64 bits, of which a picture that was saved again or resized has nearly all
    thumbnail: bytes  # RGB, THUMBNAIL x THUMBNAIL x 3


def allocate(count: int, folder: Path) -> np.ndarray:
    """Thumbnails, uint8 (count, THUMBNAIL * THUMBNAIL * 3), black, in a file without a name in `folder`.

    The system may write them there, so that those of millions of pictures need no memory.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=folder) as file:
        return np.memmap(file, np.uint8, "w+", shape=(max(count, 1), THUMBNAIL * THUMBNAIL * 3))[:count]


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
        self.above = array("q", range(count))

    def join(self, one: int, other: int) -> None:
        first, second = sorted((self.find(one), self.find(other)))
        self.above[second] = first

    def join_all(self, some: np.ndarray, others: np.ndarray, alike: np.ndarray) -> None:
        """Join each of n rows with the first of m others that `alike`, bool (n, m), names for it, if any."""
        (found,) = np.nonzero(alike.any(axis=1))
        for pair in zip(some[found].tolist(), others[alike[found].argmax(axis=1)].tolist(), strict=True):
            self.join(*pair)

    def find(self, row: int) -> int:
        """The first row of the group that a row is in."""
        while self.above[row] != row:
            self.above[row] = row = self.above[self.above[row]]
        return row

    def differ(self, some: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Which of n rows are in another group than which of m others, bool (n, m)."""
        one, other = (np.array([self.find(row) for row in part.tolist()]) for part in (some, others))
        return one[:, None] != other

    def names(self) -> np.ndarray:
        """The first row of each row's group, (N,) int64."""
        above = np.frombuffer(self.above, np.int64) if self.above else np.zeros(0, np.int64)
        while (above[above] != above).any():
            above = above[above]
        return above


def join_near(
    hashes: np.ndarray, thumbnails: np.ndarray, distance: int, groups: Groups, known: int = 0
) -> None:
    """Join all pictures that look the same: hashes (N,) uint64 that differ in at most `distance` bits.

    Thumbnails, uint8 (N, THUMBNAIL * THUMBNAIL * 3), of which both must correlate, keep apart pictures of one
    composition. Those of a single colour are compared with none, and the first `known` not with each other.
    """
    rows = np.flatnonzero(~find_flat(thumbnails))
    found = find_candidates(hashes[rows], distance)
    for some, others, near in tqdm(found, "near duplicates", delay=5, leave=False, disable=None):
        one, other = rows[some], rows[others]
        near = near & (np.maximum(one[:, None], other) >= known)
        near = near & groups.differ(one, other)
        some, others = near.any(axis=1), near.any(axis=0)
        one, other, alike = one[some], other[others], near[some][:, others]
        if alike.any():
            alike &= correlate(thumbnails[one], thumbnails[other]) >= CORRELATION
        while alike.any():
            groups.join_all(one, other, alike)
            groups.join_all(other, one, alike.T)
            alike &= groups.differ(one, other)


def find_candidates(hashes: np.ndarray, distance: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """All pairs of rows whose hashes, (N,) uint64, differ in at most `distance` bits, each once.

    They are the n rows, the m rows and which of their pairs differ so little, bool (n, m). Every pair is
    found: of distance + 1 blocks of bits, two such hashes have at least one in common (Norouzi, Punjani and
    Fleet, Fast Exact Search in Hamming Space with Multi-Index Hashing, 2014, arXiv:1307.2982).
    """
    blocks = [  # of low and of high frequencies
        np.uint64(sum(1 << bit for bit in range(block, 64, distance + 1))) for block in range(distance + 1)
    ]
    for number, block in enumerate(blocks):
        for rows in find_equal(hashes & block):
            for start, then in product(range(0, len(rows), TILE), repeat=2):
                if then < start:
                    continue
                one, other = rows[start : start + TILE], rows[then : then + TILE]
                bits = hashes[one][:, None] ^ hashes[other]
                near = np.bitwise_count(bits) <= distance
                if start == then:
                    near = np.triu(near, 1)
                if near.any():
                    for earlier in blocks[:number]:
                        near &= bits & earlier != 0
                    yield one, other, near


def find_equal(keys: np.ndarray) -> Iterator[np.ndarray]:
    """The rows of each key, of keys (N,), that several have."""
    order = np.argsort(keys, kind="stable")
    ends = np.flatnonzero(np.diff(keys[order], append=~keys[order[-1:]])) + 1
    starts = np.concatenate(([0], ends))[: len(ends)]
    for several in np.flatnonzero(ends - starts > 1).tolist():
        yield order[starts[several] : ends[several]]


def correlate(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The correlation of each row of one array, uint8 (n, V), with each of another, (m, V), as (n, m).

    All sums are whole numbers below 2^53, so that their order does not matter.
    """
    one, other = some.astype(float), others.astype(float)
    means, deviations = [], []
    for part in (one, other):
        sums = part.sum(axis=1)
        means.append(sums)
        deviations.append(part.shape[1] * (part * part).sum(axis=1) - sums * sums)
    products = one.shape[1] * (one @ other.T) - np.outer(*means)
    return products / np.sqrt(np.outer(*deviations))


def find_flat(thumbnails: np.ndarray) -> np.ndarray:
    """Which of N pictures are of one colour, with nothing by which they could be compared, (N,) bool."""
    parts = np.array_split(thumbnails.reshape(len(thumbnails), THUMBNAIL**2, 3), 1 + len(thumbnails) // CHUNK)
    return np.concatenate([part.std(axis=1).max(axis=1) < FLAT for part in parts])
