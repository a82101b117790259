"""Which pictures are worth a look: rows of predictions. N pictures, C classes."""

import numpy as np

from src.results.metrics import find_truth
from src.results.predictions import Predictions


def find_share(predictions: Predictions, row: int, number: int) -> float:
    """The probability of a class for one picture, over the sum of all, as `find_truth` scales them."""
    probs = predictions.probs[row]
    return float(probs[number] / probs.sum()) if probs.sum() > 0 else 1 / len(probs)


def pick_mistakes(predictions: Predictions) -> np.ndarray:
    """The rows of wrong predictions, the surest first."""
    wrong = np.flatnonzero(predictions.predicted != predictions.labels)
    return wrong[np.argsort(-find_truth(predictions).of_predicted[wrong], kind="stable")]


def pick_unsure(predictions: Predictions) -> np.ndarray:
    """All rows, the least sure first."""
    return np.argsort(find_truth(predictions).of_predicted, kind="stable")


def pick_disagreements(student: Predictions, teacher: Predictions) -> np.ndarray:
    """The rows on which two models differ, those of which both are sure first."""
    differ = np.flatnonzero(student.predicted != teacher.predicted)
    sure = np.minimum(find_truth(student).of_predicted, find_truth(teacher).of_predicted)
    return differ[np.argsort(-sure[differ], kind="stable")]


def pick_of_class(predictions: Predictions, number: int) -> np.ndarray:
    """The rows of a class, those whose true class is most probable first."""
    own = np.flatnonzero(predictions.labels == number)
    return own[np.argsort(-find_truth(predictions).of_truth[own], kind="stable")]


def pick_random(predictions: Predictions) -> np.ndarray:
    """All rows in an order of chance, always the same."""
    return np.random.default_rng(0).permutation(len(predictions.labels))


PICKS = {"wrong": pick_mistakes, "unsure": pick_unsure, "random": pick_random}
