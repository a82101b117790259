"""What the labels alone say: one-hot targets, smoothed, weighted by class, and a stratified part of them.

N pictures, C classes.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from src.ground.params import by_class


def smoothed(truth: np.ndarray, share: float) -> np.ndarray:
    """Labels one-hot (N, C) of which `share` goes to all classes alike.

    C. Szegedy et al., Rethinking the Inception Architecture, 2015, arXiv:1512.00567.
    """
    return truth if share == 0 else ((1 - share) * truth + share / truth.shape[1]).astype(np.float32)


def class_weights(
    setting: str | Mapping[str, float], labels: np.ndarray, classes: Sequence[str], key: str
) -> np.ndarray:
    """A weight (N,) per label (N,): 1 for none; N / (C x its class's count) for balanced; or by name."""
    weights = np.ones(len(classes))
    if setting == "balanced":
        weights = len(labels) / (len(classes) * np.bincount(labels, minlength=len(classes)))
    elif setting != "none":
        for number, weight in by_class(setting, classes, f"{key}.class_weights").items():
            weights[number] = weight
    return weights[labels]


def stratified(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """The numbers of a random `fraction` of the pictures of each class, at least one, in rising order."""
    generator = np.random.default_rng(seed)
    chosen = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        chosen.append(generator.permutation(rows)[: max(1, round(fraction * len(rows)))])
    return np.sort(np.concatenate(chosen))
