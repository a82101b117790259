"""Teachers' probabilities, as a student of either base takes them. N pictures, C classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CLAMP = 1e-7  # bce probabilities are kept this far from 0 and 1 before taking logits
SUMS_TO_ONE = {"softmax": True, "bce": False}  # the keys of losses.bases.BASES; whether a row is one decision


@dataclass(frozen=True)
class Knowledge:
    """The contents of one knowledge file, rows in the order of the training manifest."""

    base: str  # softmax: a row sums to 1; bce: its probabilities are independent
    probs: np.ndarray  # (N, C) float64 in [0, 1]
    views = 1

    @property
    def shape(self) -> tuple[int, int]:
        """N and C."""
        count, width = self.probs.shape
        return count, width

    def take(self, view: int, rows: slice | np.ndarray | list[int]) -> np.ndarray:
        """The probabilities (n, C) of some rows, the same in every view."""
        return self.probs[rows]


def average_teachers(knowledge: Sequence[Knowledge], base: str) -> np.ndarray:
    """The mean (N, C) of all teachers' probabilities, for a student of `base`.

    A softmax student reads the logits z of a bce teacher as a softmax's: softmax(logit(p)), which softens as
    they do, since softmax(log(softmax(z)) / T) equals softmax(z / T). A bce student takes every probability
    as it is.
    """
    taken = [
        one.probs if SUMS_TO_ONE[one.base] or not SUMS_TO_ONE[base] else read_as_softmax(one.probs)
        for one in knowledge
    ]
    return np.mean(taken, axis=0)


def read_as_softmax(probs: np.ndarray) -> np.ndarray:
    """softmax(logit(p)) of independent probabilities (N, C): the odds, divided by their sum."""
    p = probs.clip(CLAMP, 1 - CLAMP)
    odds = p / (1 - p)
    return odds / odds.sum(axis=1, keepdims=True)
