"""Near duplicates in a folder of pictures, by distance, and how many that are made of them are found.

Of each distance: the groups that the perceptual hash alone makes, and those that thumbnails leave. Then
pictures are saved again, smaller or larger, and a few other changes are made that are not looked for.

run     python -m benchmarks.near_duplicates /path/to/pictures [--every 1] [--changed 10]
"""

import argparse
import io
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from time import process_time

import numpy as np
from PIL import Image

import src.pictures.likeness as likeness
from src.ground.errors import run
from src.ground.params import find_value
from src.pictures.decode import decode
from src.pictures.layouts import SUFFIXES
from src.pictures.likeness import Groups, Likeness, find_likeness, join_near

DISTANCES = (0, 2, 4, 6)
ALONE = -1.0  # a correlation that all pairs have


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path)
    parser.add_argument("--every", type=int, default=1, help="take every n-th picture")
    parser.add_argument("--changed", type=int, default=10, help="change every n-th of these")
    given = parser.parse_args()
    files = sorted(path for path in given.root.rglob("*") if path.name.lower().endswith(SUFFIXES))
    files = files[:: given.every]
    found = [find_likeness(read_picture(path)) for path in files]
    for distance in DISTANCES:
        alone, seconds = count_groups(found, distance, ALONE)
        print(f"distance {distance}, hash alone: {alone} ({seconds:.2f} s of CPU)")
        both, seconds = count_groups(found, distance, likeness.CORRELATION)
        print(f"distance {distance}, thumbnails too: {both} ({seconds:.2f} s of CPU)")
    chosen = files[:: given.changed]
    for name, change in CHANGES.items():
        pairs = [(image, change(image)) for image in map(read_picture, chosen)]
        shares = measure_recall([(find_likeness(one), find_likeness(other)) for one, other in pairs])
        print(f"{name}: {shares} of {len(chosen)}")


def read_picture(path: Path) -> Image.Image:
    """The picture in a file, RGB or I;16."""
    return decode(path.read_bytes(), 1, find_value("data.max_pixels")).image


def count_groups(found: Sequence[Likeness], distance: int, correlation: float) -> tuple[str, float]:
    """The groups of pictures that look the same, in words, and seconds of CPU."""
    hashes, thumbnails = stack(found)
    groups, kept, start = Groups(len(found)), likeness.CORRELATION, process_time()
    likeness.CORRELATION = correlation
    try:
        join_near(hashes, thumbnails, distance, groups)
    finally:
        likeness.CORRELATION = kept
    sizes = [size for size in Counter(groups.names().tolist()).values() if size > 1]
    largest, seconds = max(sizes, default=0), process_time() - start
    return f"{len(sizes)} groups of {sum(sizes)} of {len(found)} pictures, the largest of {largest}", seconds


def stack(found: Sequence[Likeness]) -> tuple[np.ndarray, np.ndarray]:
    """Hashes (N,) uint64 and thumbnails (N, V) uint8."""
    thumbnails = [np.frombuffer(one.thumbnail, np.uint8) for one in found]
    return np.array([one.hash for one in found], np.uint64), np.stack(thumbnails)


def measure_recall(pairs: Sequence[tuple[Likeness, Likeness]]) -> str:
    """The share of pairs that look the same, by distance."""
    shares = []
    for distance in DISTANCES:
        together = 0
        for pair in pairs:
            groups = Groups(2)
            join_near(*stack(pair), distance, groups)
            together += groups.find(1) == 0
        shares.append(f"{together / len(pairs):.3f} within {distance}")
    return ", ".join(shares)


def save_again(quality: int, scale: float) -> Callable[[Image.Image], Image.Image]:
    def change(image: Image.Image) -> Image.Image:
        content, image = io.BytesIO(), image.convert("RGB")
        width, height = (max(1, round(scale * side)) for side in image.size)
        image.resize((width, height), Image.Resampling.BICUBIC).save(content, "JPEG", quality=quality)
        return Image.open(content).convert("RGB")

    return change


def crop(image: Image.Image) -> Image.Image:
    """Without 2 % of its width and height."""
    width, height = image.size
    return image.crop((round(0.02 * width), round(0.02 * height), width, height))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG, quality 90": save_again(90, 1.0),
    "JPEG, quality 75": save_again(75, 1.0),
    "JPEG, quality 30": save_again(30, 1.0),
    "at 0.9 of its size, quality 75": save_again(75, 0.9),
    "at 0.5 of its size, quality 75": save_again(75, 0.5),
    "at 1.5 of its size, quality 75": save_again(75, 1.5),
    "5 % brighter": lambda image: image.convert("RGB").point(lambda value: min(255, round(1.05 * value))),
    "cropped by 2 %": crop,
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


if __name__ == "__main__":
    run(main)
