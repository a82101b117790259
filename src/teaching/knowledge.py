"""Teachers' probabilities: softened, normalised, averaged. N pictures, C classes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

CLAMP = 1e-7  # bce probabilities are kept this far from 0 and 1 before taking logits


class Kind(NamedTuple):
    """How probabilities (N, C) of one base are interpreted."""

    sums_to_one: bool  # a row is one decision
    soften: Callable[[np.ndarray, float], np.ndarray]  # at a temperature
    normalise: Callable[[np.ndarray], np.ndarray]  # to rows that sum to 1


def soften_rows(probs: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(log(p) / T)."""
    if temperature < 1:  # many classes, a low temperature: without a 1 in it, a whole row might become 0
        probs = probs / probs.max(axis=1, keepdims=True)
    powers = probs ** (1 / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


def soften_elements(probs: np.ndarray, temperature: float) -> np.ndarray:
    """sigmoid(logit(p) / T)."""
    p = probs.clip(CLAMP, 1 - CLAMP)
    return np.exp(-np.logaddexp(0, -(np.log(p) - np.log1p(-p)) / temperature))  # exp alone may overflow


def scale_rows(probs: np.ndarray) -> np.ndarray:
    """Each row divided by its sum; a row of zeros becomes uniform."""
    p = probs.clip(CLAMP)
    return p / p.sum(axis=1, keepdims=True)


KINDS = {  # with the keys of losses.bases.BASES
    "softmax": Kind(True, soften_rows, normalise=lambda probs: probs),
    "bce": Kind(False, soften_elements, normalise=scale_rows),
}


@dataclass(frozen=True)
class Knowledge:
    """The contents of one knowledge file, rows in the order of the training manifest."""

    base: str  # softmax: a row sums to 1; bce: its probabilities are independent
    probs: np.ndarray  # (N, C) float64 in [0, 1]


def average_teachers(knowledge: Sequence[Knowledge], base: str, temperature: float) -> np.ndarray:
    """The mean (N, C) of all teachers' probabilities at a temperature, for a student of `base`.

    This is equivalent to dividing the teachers' logits z by the temperature T, since softmax(log(p) / T)
    equals softmax(z / T), and sigmoid(logit(p) / T) equals sigmoid(z / T): G. Hinton, O. Vinyals, J. Dean,
    Distilling the Knowledge in a Neural Network, 2015, arXiv:1503.02531. For a softmax student, the rows of a
    bce teacher are normalised to sum to 1; for a bce student, nothing is normalised.
    """
    taken = []
    for one in knowledge:
        kind = KINDS[one.base]
        probs = one.probs if temperature == 1 else kind.soften(one.probs, temperature)
        taken.append(kind.normalise(probs) if KINDS[base].sums_to_one else probs)
    return np.mean(taken, axis=0)
