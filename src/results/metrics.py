"""Metrics from predictions: accuracy with its interval, macro F1, log loss, per class, confusion. No torch.

N pictures, C classes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.stats import binomtest
from sklearn.metrics import precision_recall_fscore_support

from src.ground.chunks import list_chunks
from src.results.predictions import Measured, Predictions

MOST_CHARTED = 40  # classes in a chart of DVC's
BINS = 15  # of the calibration error
TOP = 5  # top-5 accuracy is reported only for more classes than this
EPSILON = np.finfo(np.float64).eps  # probabilities are kept this far from 0 and 1, as in scikit-learn


def summarize(predictions: Predictions) -> dict[str, float]:
    """The metrics of one model, shares in [0, 1].

    accuracy_low and accuracy_high bound the 95 % interval of the accuracy (E. B. Wilson, 1927). macro_f1 is
    the mean over the classes that have pictures. log_loss is in nats, of probabilities scaled to sum to 1;
    ece is how far these are from the accuracy of those who say them, see find_calibration_error.
    """
    labels, num_classes = predictions.labels, len(predictions.classes)
    correct = int((predictions.predicted == labels).sum())
    interval = binomtest(correct, len(labels)).proportion_ci(0.95, method="wilson")
    of_truth, of_predicted, ranks = find_truth(predictions)
    figures = {
        "accuracy": correct / len(labels),
        "accuracy_low": interval.low,
        "accuracy_high": interval.high,
        "macro_f1": float(np.mean([row["f1"] for row in measure_classes(predictions) if row["pictures"]])),
        "log_loss": -np.log(of_truth.clip(EPSILON, 1 - EPSILON)).mean(),
        "ece": find_calibration_error(of_predicted, predictions.predicted == labels),
    }
    if num_classes > TOP:
        figures["top5"] = (ranks < TOP).mean()
    return {name: round(float(value), 9) for name, value in figures.items()}


def find_calibration_error(confidences: np.ndarray, correct: np.ndarray) -> float:
    """The mean distance of confidence (N,) in [0, 1] and accuracy, in BINS bins of equally many pictures.

    The expected calibration error of C. Guo et al., On Calibration of Modern Neural Networks, 2017,
    arXiv:1706.04599, with the bins of J. Nixon et al., Measuring Calibration in Deep Learning, 2019,
    arXiv:1904.01685: of equal numbers instead of widths. Pictures of equal confidence may be in two bins.
    """
    order = np.argsort(confidences, kind="stable")
    bins = np.array_split(order, min(BINS, len(order)))
    return sum(abs(confidences[one].mean() - correct[one].mean()) * len(one) for one in bins) / len(order)


def find_truth(predictions: Predictions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The probabilities (N,) of each picture's true class and of the predicted one; the truth's rank from 0.

    The probabilities are scaled to sum to 1; a row of zeros becomes uniform. Of equally probable classes the
    last one ranks first, as in scikit-learn's top_k_accuracy_score. A part of the rows at a time, so that the
    memory taken does not grow with N x C.
    """
    labels, (count, num_classes) = predictions.labels, predictions.probs.shape
    of_truth, of_predicted, ranks = np.empty(count), np.empty(count), np.empty(count, np.int64)
    for part in list_chunks(count, num_classes):
        probs, own = predictions.probs[part], labels[part, None]
        sums, values = probs.sum(axis=1), np.take_along_axis(probs, own, axis=1)
        scale = np.where(sums > 0, sums, 1)
        of_truth[part] = np.where(sums > 0, values[:, 0] / scale, 1 / num_classes)
        of_predicted[part] = np.where(sums > 0, probs.max(axis=1) / scale, 1 / num_classes)
        tied_after = (probs == values) & (np.arange(num_classes) > own)
        ranks[part] = ((probs > values) | tied_after).sum(axis=1)
    return of_truth, of_predicted, ranks


def measure_classes(predictions: Predictions) -> list[dict[str, float | str]]:
    """One row per class: name, number of pictures, precision, recall and F1 in [0, 1], 0 where undefined."""
    columns = precision_recall_fscore_support(
        predictions.labels, predictions.predicted, labels=range(len(predictions.classes)), zero_division=0
    )
    return [
        {"class": name, "pictures": int(count), "precision": precision, "recall": recall, "f1": f1}
        for name, precision, recall, f1, count in zip(predictions.classes, *columns, strict=True)
    ]


def count_confusions(predictions: Predictions) -> coo_array:
    """Counts (C, C) int64 of the pairs that occur: row = true class, column = predicted class."""
    num_classes = len(predictions.classes)
    codes, counts = np.unique(predictions.labels * num_classes + predictions.predicted, return_counts=True)
    return coo_array((counts, np.divmod(codes, num_classes)), shape=(num_classes, num_classes))


def tabulate_classes(models: Sequence[Measured]) -> list[tuple[Any, ...]]:
    """A row per model and class: both names joined, the model, and the values of `measure_classes`."""
    return [
        (f"{model.name}: {row['class']}", model.name, *row.values())
        for model in models
        for row in measure_classes(model.predictions)
    ]


def pick_charted(predictions: Predictions) -> list[int]:
    """The classes that a chart of DVC's shows: all or, of more than MOST_CHARTED, the most often confused.

    A browser cannot draw a matrix of 1,000 classes: it takes over 1.4 GB.
    """
    num_classes, wrong = len(predictions.classes), predictions.labels != predictions.predicted
    confused = np.concatenate([predictions.labels[wrong], predictions.predicted[wrong]])
    order = np.argsort(-np.bincount(confused, minlength=num_classes), kind="stable")
    return sorted(order[:MOST_CHARTED].tolist())


def pair_labels(predictions: Predictions, charted: Sequence[int]) -> list[tuple[str, str]]:
    """The names of the true and the predicted class of each picture; all classes not `charted` as one."""
    names = dict.fromkeys(range(len(predictions.classes)), name_rest(predictions.classes, len(charted)))
    names |= {number: predictions.classes[number] for number in charted}
    pairs = zip(predictions.labels.tolist(), predictions.predicted.tolist(), strict=True)
    return [(names[label], names[predicted]) for label, predicted in pairs]


def name_rest(classes: Sequence[str], num_charted: int) -> str:
    """A name for the classes that are not charted, which no class has."""
    rest = f"{len(classes) - num_charted} other classes"
    while rest in classes:
        rest = f"({rest})"
    return rest
