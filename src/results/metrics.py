"""Metrics from predictions: accuracy with its interval, macro F1, log loss, per class, confusion. No torch.

N pictures, C classes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.stats import binomtest
from sklearn.metrics import log_loss, precision_recall_fscore_support, top_k_accuracy_score

from src.results.predictions import Measured, Predictions

TOP = 5  # top-5 accuracy is reported only for more classes than this


def summarize(predictions: Predictions) -> dict[str, float]:
    """The metrics of one model, shares in [0, 1].

    accuracy_low and accuracy_high bound the 95 % interval of the accuracy (E. B. Wilson, 1927). macro_f1 is
    the mean over the classes that have pictures. log_loss is in nats, of probabilities scaled to sum to 1.
    """
    labels, probs, classes = predictions.labels, predictions.probs, np.arange(len(predictions.classes))
    correct = int((predictions.predicted == labels).sum())
    interval = binomtest(correct, len(labels)).proportion_ci(0.95, method="wilson")
    sums = probs.sum(axis=1, keepdims=True)
    scaled = np.where(sums > 0, probs / np.where(sums > 0, sums, 1), 1 / len(classes))
    figures = {
        "accuracy": correct / len(labels),
        "accuracy_low": interval.low,
        "accuracy_high": interval.high,
        "macro_f1": float(np.mean([row["f1"] for row in measure_classes(predictions) if row["pictures"]])),
        "log_loss": log_loss(labels, scaled, labels=classes),
    }
    if len(classes) > TOP:
        figures["top5"] = top_k_accuracy_score(labels, probs, k=TOP, labels=classes)
    return {name: round(float(value), 9) for name, value in figures.items()}


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


def pair_labels(predictions: Predictions) -> list[tuple[str, str]]:
    """The names of the true and the predicted class of each picture."""
    names = predictions.classes
    pairs = zip(predictions.labels, predictions.predicted, strict=True)
    return [(names[label], names[predicted]) for label, predicted in pairs]
