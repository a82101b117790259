"""Metrics from predictions: accuracy with its interval, macro F1, log loss, per class, confusion. No torch.

N pictures, C classes.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from src.ground.chunks import list_chunks
from src.results.predictions import Measured, Predictions

MOST_CHARTED = 40  # classes in a chart of DVC's
BINS = 15  # of the calibration error
TOP = 5  # top-5 accuracy is reported only for more classes than this
EPSILON = np.finfo(np.float64).eps  # probabilities are kept this far from 0 and 1, as in scikit-learn


def summarize(predictions: Predictions) -> dict[str, float]:
    """The metrics of one model, shares in [0, 1].

    accuracy_low and accuracy_high bound the 95 % interval of the accuracy (E. B. Wilson, 1927).
    balanced_accuracy, the mean recall, and macro_f1 are means over the classes that have pictures. log_loss
    is in nats, of probabilities scaled to sum to 1. brier is their mean squared distance to the truth,
    summed over the classes, in [0, 2] (G. W. Brier, 1950). ece is how far they are from the accuracy of those
    who say them, see find_calibration_error.
    """
    from scipy.stats import binomtest  # as scikit-learn below: a second that only those who count need

    labels, num_classes = predictions.labels, len(predictions.classes)
    correct = int((predictions.predicted == labels).sum())
    interval = binomtest(correct, len(labels)).proportion_ci(0.95, method="wilson")
    truth = find_truth(predictions)
    _, recall, f1, pictures = count_classes(predictions)
    figures = {
        "accuracy": correct / len(labels),
        "accuracy_low": interval.low,
        "accuracy_high": interval.high,
        "balanced_accuracy": recall[pictures > 0].mean(),
        "macro_f1": f1[pictures > 0].mean(),
        "log_loss": find_log_loss(truth.of_truth),
        "brier": truth.squares.mean(),
        "ece": find_calibration_error(truth.of_predicted, predictions.predicted == labels),
    }
    if num_classes > TOP:
        figures["top5"] = (truth.ranks < TOP).mean()
    return {name: round(float(value), 9) for name, value in figures.items()}


def find_log_loss(of_truth: np.ndarray) -> float:
    """The mean of -log of the true classes' probabilities (N,)."""
    return float(-np.log(of_truth.clip(EPSILON, 1 - EPSILON)).mean())


def find_calibration_error(confidences: np.ndarray, correct: np.ndarray) -> float:
    """The mean distance of confidence (N,) in [0, 1] and accuracy, in BINS bins of equally many pictures.

    The expected calibration error of C. Guo et al., On Calibration of Modern Neural Networks, 2017,
    arXiv:1706.04599, with the bins of J. Nixon et al., Measuring Calibration in Deep Learning, 2019,
    arXiv:1904.01685: of equal numbers instead of widths. Pictures of equal confidence may be in two bins.
    """
    bins = bin_by_confidence(confidences, correct)
    return sum(abs(sure - right) * count for sure, right, count in bins) / len(confidences)


def bin_by_confidence(confidences: np.ndarray, correct: np.ndarray) -> list[tuple[float, float, int]]:
    """The mean confidence, the accuracy and the number of pictures of each bin, the least sure first."""
    order = np.argsort(confidences, kind="stable")
    bins = np.array_split(order, min(BINS, len(order)))
    return [(float(confidences[one].mean()), float(correct[one].mean()), len(one)) for one in bins]


class Truth(NamedTuple):
    """What a model says of the pictures' true classes, its probabilities scaled to sum to 1."""

    of_truth: np.ndarray  # (N,) probability of the true class
    of_predicted: np.ndarray  # (N,) of the predicted one
    ranks: np.ndarray  # (N,) int64, of the true class, from 0
    squares: np.ndarray  # (N,) squared distance of the probabilities to the truth, summed over the classes


def find_truth(predictions: Predictions) -> Truth:
    """What a model says of the true classes.

    A row of zeros becomes uniform. Of equally probable classes the last one ranks first, as in scikit-learn's
    top_k_accuracy_score. A part of the rows at a time, so that the memory taken does not grow with N x C.
    """
    labels, (count, num_classes) = predictions.labels, predictions.probs.shape
    of_truth, of_predicted, ranks = np.empty(count), np.empty(count), np.empty(count, np.int64)
    squares = np.empty(count)
    for part in list_chunks(count, num_classes):
        probs, own = predictions.probs[part], labels[part, None]
        sums, values = probs.sum(axis=1), np.take_along_axis(probs, own, axis=1)
        scale = np.where(sums > 0, sums, 1)
        of_truth[part] = np.where(sums > 0, values[:, 0] / scale, 1 / num_classes)
        of_predicted[part] = np.where(sums > 0, probs.max(axis=1) / scale, 1 / num_classes)
        own_square = np.where(sums > 0, (probs**2).sum(axis=1) / scale**2, 1 / num_classes)
        squares[part] = own_square - 2 * of_truth[part] + 1
        tied_after = (probs == values) & (np.arange(num_classes) > own)
        ranks[part] = ((probs > values) | tied_after).sum(axis=1)
    return Truth(of_truth, of_predicted, ranks, squares)


def count_classes(predictions: Predictions) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and F1 in [0, 1], 0 where undefined, and the pictures of every class, each (C,)."""
    from sklearn.metrics import precision_recall_fscore_support

    return precision_recall_fscore_support(
        predictions.labels, predictions.predicted, labels=range(len(predictions.classes)), zero_division=0
    )


def measure_classes(predictions: Predictions) -> list[dict[str, float | str]]:
    """One row per class: name, number of pictures, precision, recall, F1, specificity, AUC, all in [0, 1].

    Specificity is the share of the other classes' pictures that are not taken for this class. roc_auc and
    average_precision rank all pictures by the class's probability against whether they are of it; they are
    empty where no picture is, or all are.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    precision, recall, f1, pictures = count_classes(predictions)
    labels, count = predictions.labels, len(predictions.labels)
    taken = np.bincount(predictions.predicted, minlength=len(predictions.classes))
    wrongly = taken - recall * pictures  # the other classes' pictures that are taken for this one
    rows: list[dict[str, float | str]] = []
    for number, name in enumerate(predictions.classes):
        others, probs = count - pictures[number], predictions.probs[:, number]
        ranked = 0 < pictures[number] < count
        rows.append(
            {
                "class": name,
                "pictures": int(pictures[number]),
                "precision": float(precision[number]),
                "recall": float(recall[number]),
                "f1": float(f1[number]),
                "specificity": float(1 - wrongly[number] / others) if others else "",
                "roc_auc": float(roc_auc_score(labels == number, probs)) if ranked else "",
                "average_precision": float(average_precision_score(labels == number, probs))
                if ranked
                else "",
            }
        )
    return rows


def tabulate_classes(models: Sequence[Measured]) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The columns and a row per model and class: both names joined, the model, and `measure_classes`."""
    rows = [(model.name, row) for model in models for row in measure_classes(model.predictions)]
    columns = ["name", "model", *rows[0][1]]
    return columns, [(f"{model}: {row['class']}", model, *row.values()) for model, row in rows]


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
