"""The curriculum: a weight per training picture, smaller for those that the teachers find hard.

The file is CSV `path,weight`. N pictures.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from src.ground.errors import UserError
from src.ground.files import open_atomically
from src.ground.kinds import Factor, Rule, Seed, Share
from src.ground.params import Settings, require

FALLING = Rule(minItems=1, rule="must be a list of decreasing numbers in [0, 1], ending at 0")
WEIGHTS = Rule(minItems=1, rule="must be a list of non-negative numbers, one per threshold")


@dataclass(frozen=True)
class CurriculumSettings(Settings):
    """The weight of a picture, by the teachers' probability of its true class."""

    thresholds: Annotated[tuple[Share, ...], FALLING]  # decreasing to 0; the first one reached decides
    weights: Annotated[tuple[Factor, ...], WEIGHTS]  # one per threshold
    order: Literal["teacher", "random", "anti"]  # how weights are assigned; random and anti are controls
    seed: Seed  # of the random order

    def check(self) -> None:
        thresholds, weights = list(self.thresholds), list(self.weights)
        require(len(thresholds) == len(weights), "thresholds and weights must have the same length",
                f"{len(thresholds)} and {len(weights)}")  # fmt: skip
        falling = all(high > low for high, low in zip(thresholds, thresholds[1:], strict=False))
        require(falling and thresholds[-1] == 0, "thresholds must decrease and end at 0", thresholds)
        require(any(weights), "at least one weight must be positive", weights)


def assign_weights(truth_probs: np.ndarray, settings: CurriculumSettings) -> np.ndarray:
    """Weights (N,): that of the first threshold t with p >= t, p (N,) the probability of the true class.

    The controls give the same weights to other pictures: if they do as well, the teacher's order is not what
    helped.
    """
    reached = truth_probs[:, None] >= np.array(settings.thresholds)  # (N, thresholds)
    weights = np.array(settings.weights)[reached.argmax(axis=1)]
    if settings.order == "random":
        return np.random.default_rng(settings.seed).permutation(weights)
    if settings.order == "anti":
        hardest_first = truth_probs.argsort(kind="stable")
        swapped = np.empty_like(weights)
        swapped[hardest_first] = weights[hardest_first[::-1]]
        return swapped
    return weights


def write_weights(path: Path, paths: Sequence[str], weights: np.ndarray) -> None:
    """Write the weights (N,) of the pictures in `paths` (N,)."""
    with open_atomically(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "weight"])
        writer.writerows((name, f"{weight:.9g}") for name, weight in zip(paths, weights, strict=True))


def read_weights(path: Path, paths: Sequence[str]) -> np.ndarray:
    """The weights (N,) in the order of `paths` (N,); every picture must have a finite, non-negative one."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = {row["path"]: float(row["weight"]) for row in csv.DictReader(file)}
    missing = [name for name in paths if name not in rows]
    if missing:
        raise UserError(
            f"{path}: {len(missing)} of {len(paths)} training pictures have no weight, first {missing[0]} "
            "(run dvc repro -f make_curriculum)"
        )
    weights = np.array([rows[name] for name in paths])
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise UserError(f"{path}: weights must be finite and non-negative (run dvc repro -f make_curriculum)")
    return weights
