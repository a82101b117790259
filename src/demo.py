"""The demo's pictures: 1,797 handwritten digits scanned at 8 x 8 pixels, out of scikit-learn.

E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

WHITE = 16  # the scans count the set pixels of 4 x 4 blocks


@dataclass(frozen=True)
class DemoSettings:
    """How many digits go where; the rest is for testing."""

    train: int  # pictures
    val: int  # pictures
    seed: int  # of the split


def split_digits(settings: DemoSettings) -> dict[str, np.ndarray]:
    """The numbers of the scans in each split, each with the classes in equal shares."""
    labels = load_digits().target
    rows = np.arange(len(labels))
    parts = {"random_state": settings.seed}
    train, rest = train_test_split(rows, train_size=settings.train, stratify=labels, **parts)
    val, test = train_test_split(rest, train_size=settings.val, stratify=labels[rest], **parts)
    return {"train": np.sort(train), "val": np.sort(val), "test": np.sort(test)}


def write_pictures(folder: Path, splits: dict[str, np.ndarray]) -> None:
    """Write every scan as <split>/<digit>/<number>.png under `folder`, white on black."""
    digits = load_digits()
    pictures = (digits.images * 255 / WHITE).round().astype(np.uint8)  # (N, 8, 8)
    for split, rows in splits.items():
        for row in rows:
            path = folder / split / str(digits.target[row]) / f"{row:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pictures[row]).save(path)
