"""The demo data: 1,797 handwritten digits of 8 x 8 pixels, from scikit-learn.

E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from src.ground.kinds import Seed, Share, within
from src.ground.params import Settings
from src.ground.rules import DEMO_CLASSES, DEMO_PICTURES

WHITE = 16  # a scan's value is the number of set pixels in a 4 x 4 block


@dataclass(frozen=True)
class DemoSettings(Settings):
    """The demo data, handwritten digits: how many go into train and val; test gets the rest."""

    train: Annotated[int, within(f"[{DEMO_CLASSES}, {DEMO_PICTURES - 2 * DEMO_CLASSES}]")]  # pictures
    val: Annotated[int, within(f"[{DEMO_CLASSES}, {DEMO_PICTURES - 2 * DEMO_CLASSES}]")]  # pictures
    seed: Seed  # of the split
    imbalance: Annotated[float, within("[1, 1000]")]  # ratio of the commonest digit to the rarest, in train
    label_noise: Share  # of train, put into a wrong digit's folder


def split_digits(settings: DemoSettings) -> dict[str, np.ndarray]:
    """The scan indices of each split, stratified by class; `imbalance` then thins train out.

    The digits of val and test do not depend on `imbalance`.
    """
    labels = load_digits().target
    rows = np.arange(len(labels))
    parts = {"random_state": settings.seed}
    train, rest = train_test_split(rows, train_size=settings.train, stratify=labels, **parts)
    val, test = train_test_split(rest, train_size=settings.val, stratify=labels[rest], **parts)
    train = thin_out(train, labels[train], settings.imbalance)
    return {"train": np.sort(train), "val": np.sort(val), "test": np.sort(test)}


def thin_out(rows: np.ndarray, labels: np.ndarray, imbalance: float) -> np.ndarray:
    """The first rows of each class, fewer from class to class: the last keeps 1 / `imbalance` of its rows.

    Long-tailed data sets are made this way in Y. Cui et al., Class-Balanced Loss, 2019, arXiv:1901.05555.
    """
    last = labels.max()
    kept = [
        own[: max(1, round(len(own) * imbalance ** (-label / last)))]
        for label in range(last + 1)
        for own in [rows[labels == label]]
    ]
    return np.concatenate(kept)


def corrupt_labels(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """The labels (N,) with a random `share` changed to another of the ten digits, all equally likely."""
    generator = np.random.default_rng(seed)
    wrong = generator.permutation(len(labels))[: round(share * len(labels))]
    noisy = labels.copy()
    noisy[wrong] = (labels[wrong] + generator.integers(1, 10, len(wrong))) % 10
    return noisy


def write_pictures(folder: Path, splits: dict[str, np.ndarray], label_noise: float, seed: int) -> None:
    """Write each scan to `folder`/<split>/<digit>/<number>.png, white on black; label noise in train only."""
    digits = load_digits()
    pictures = (digits.images * 255 / WHITE).round().astype(np.uint8)  # (N, 8, 8)
    for split, rows in splits.items():
        labels = corrupt_labels(digits.target[rows], label_noise if split == "train" else 0, seed)
        for row, label in zip(rows, labels, strict=True):
            path = folder / split / str(label) / f"{row:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pictures[row]).save(path)
