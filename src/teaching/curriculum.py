"""The curriculum: a weight per training picture, smaller for those that the teachers find hard.

N pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from src.ground.chunks import list_chunks
from src.ground.kinds import Factor, Rule, Seed, Share
from src.ground.params import Settings
from src.teaching.targets import AnyKnowledge

FALLING = Rule(minItems=1, rule="must be a list of decreasing numbers in [0, 1], ending at 0")
WEIGHTS = Rule(minItems=1, rule="must be a list of non-negative numbers, one per threshold")


@dataclass(frozen=True)
class CurriculumSettings(Settings):
    """The weight of a picture, by the teachers' probability of its true class."""

    thresholds: Annotated[tuple[Share, ...], FALLING]  # decreasing to 0; the first one reached decides
    weights: Annotated[tuple[Factor, ...], WEIGHTS]  # one per threshold
    order: Literal["teacher", "random", "anti"]  # how weights are assigned; random and anti are controls
    seed: Seed  # of the random order


def find_truth_probs(knowledge: Sequence[AnyKnowledge], labels: np.ndarray) -> np.ndarray:
    """The mean probability (N,), over teachers and views, of each picture's label (N,); 1 if no teacher.

    Of a picture without label, -1, it is the largest of its probabilities.
    """
    if not knowledge:
        return np.ones(len(labels))
    sums = np.zeros(len(labels))
    for one in knowledge:
        for view in range(one.views):
            for rows in list_chunks(*one.shape):
                probs = one.take(view, rows)
                own = np.where(labels[rows] < 0, probs.argmax(axis=1), labels[rows])
                sums[rows] += probs[np.arange(len(probs)), own] / one.views
    return sums / len(knowledge)


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
