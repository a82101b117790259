"""The demo's pictures: 1,797 handwritten digits scanned at 8 x 8 pixels, out of scikit-learn.

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
from src.ground.params import Settings, require

SCANS, DIGITS = 1797, 10
WHITE = 16  # the scans count the set pixels of 4 x 4 blocks


@dataclass(frozen=True)
class DemoSettings(Settings):
    """The demo's handwritten digits: how many go where; the rest is for testing."""

    train: Annotated[int, within(f"[{DIGITS}, {SCANS - 2 * DIGITS}]")]  # pictures
    val: Annotated[int, within(f"[{DIGITS}, {SCANS - 2 * DIGITS}]")]  # pictures
    seed: Seed  # of the split
    imbalance: Annotated[
        float, within("[1, 1000]")
    ]  # pictures of the commonest digit over the rarest's, in train
    label_noise: Share  # of train, in a wrong digit's folder

    def check(self) -> None:
        rule = f"train and val must leave {DIGITS} of the {SCANS} digits for testing"
        require(self.train + self.val <= SCANS - DIGITS, rule, f"{self.train} and {self.val}")


def split_digits(settings: DemoSettings) -> dict[str, np.ndarray]:
    """The numbers of the scans in each split, with the classes in equal shares but for an imbalanced train.

    The digits of val and test do not depend on `imbalance`: train is thinned out.
    """
    labels = load_digits().target
    rows = np.arange(len(labels))
    parts = {"random_state": settings.seed}
    train, rest = train_test_split(rows, train_size=settings.train, stratify=labels, **parts)
    val, test = train_test_split(rest, train_size=settings.val, stratify=labels[rest], **parts)
    train = thin_out(train, labels[train], settings.imbalance)
    return {"train": np.sort(train), "val": np.sort(val), "test": np.sort(test)}


def thin_out(rows: np.ndarray, labels: np.ndarray, imbalance: float) -> np.ndarray:
    """The first of each class's rows, fewer from class to class: the last keeps 1 / `imbalance` of its own.

    Y. Cui et al., Class-Balanced Loss, 2019, arXiv:1901.05555, make their long-tailed sets so.
    """
    last = labels.max()
    kept = [
        own[: max(1, round(len(own) * imbalance ** (-label / last)))]
        for label in range(last + 1)
        for own in [rows[labels == label]]
    ]
    return np.concatenate(kept)


def corrupt_labels(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """The labels (N,) of which a random `share` became another of the ten digits, each as likely."""
    generator = np.random.default_rng(seed)
    wrong = generator.permutation(len(labels))[: round(share * len(labels))]
    noisy = labels.copy()
    noisy[wrong] = (labels[wrong] + generator.integers(1, 10, len(wrong))) % 10
    return noisy


def write_pictures(folder: Path, splits: dict[str, np.ndarray], label_noise: float, seed: int) -> None:
    """Write every scan as <split>/<digit>/<number>.png under `folder` in white on black, noise in train."""
    digits = load_digits()
    pictures = (digits.images * 255 / WHITE).round().astype(np.uint8)  # (N, 8, 8)
    for split, rows in splits.items():
        labels = corrupt_labels(digits.target[rows], label_noise if split == "train" else 0, seed)
        for row, label in zip(rows, labels, strict=True):
            path = folder / split / str(label) / f"{row:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pictures[row]).save(path)
