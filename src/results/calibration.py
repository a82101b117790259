"""How sure a model may be: a temperature for its probabilities, and below which it should not answer.

Both are chosen on val. N pictures, C classes.
"""

from dataclasses import dataclass, fields
from math import floor
from pathlib import Path

import numpy as np

from src.ground.errors import UserError, shorten
from src.ground.tables import REMEDY, read_numbers
from src.results.measuring import Scores
from src.results.metrics import find_calibration_error, find_log_loss, find_truth
from src.results.predictions import Predictions

LEAST, MOST = 0.1, 20.0  # temperatures among which the best is sought
NEVER = 2.0  # a threshold that no confidence reaches
RANGES = {"temperature": (LEAST, MOST), "threshold": (0, NEVER), "wanted_accuracy": (0, 1)}


@dataclass(frozen=True)
class Calibration:
    """How an exported student speaks: its file and the classifier demo follow this."""

    temperature: float  # its logits are divided by this
    threshold: float  # confidence, the largest probability over the sum of all, below which it is unsure
    wanted_accuracy: float  # of the answers on val, for which the threshold was chosen


def calibrate(on_val: Scores, fitted: bool, wanted_accuracy: float) -> Calibration:
    """The calibration by val; without `fitted`, at temperature 1."""
    temperature = fit_temperature(on_val) if fitted else 1.0
    predictions = on_val.predict(temperature)
    correct = predictions.predicted == predictions.labels
    threshold = choose_threshold(find_truth(predictions).of_predicted, correct, wanted_accuracy)
    return Calibration(temperature, floor(threshold * 1e9) / 1e9, wanted_accuracy)


def read_calibration(path: Path) -> Calibration:
    """The calibration that evaluate wrote; a UserError names the key that it did not."""
    names = [field.name for field in fields(Calibration)]
    found = read_numbers(path, (), names)
    if unknown := found.keys() - set(names):
        raise UserError(f"{path}: unknown {shorten(min(unknown), 50)!r} {REMEDY}")
    for name, (least, most) in RANGES.items():
        if not least <= found[name] <= most:
            raise UserError(f"{path}: {name} must be in [{least:g}, {most:g}], got {found[name]:g} {REMEDY}")
    return Calibration(**found)


def fit_temperature(scores: Scores) -> float:
    """The temperature T, in [LEAST, MOST], by which the probabilities have the smallest log loss.

    C. Guo et al., On Calibration of Modern Neural Networks, 2017, arXiv:1706.04599: the logits are divided by
    it. It has 4 significant digits. It is 1 if every prediction is right, since the loss has no minimum then,
    and if a prediction would change, as where sigmoids round to 1.
    """

    def find_loss(log: float) -> float:
        probs = scores.find_probs(float(np.exp(log)))
        return find_log_loss(find_truth(Predictions(scores.classes, scores.labels, probs)).of_truth)

    predicted = scores.find_probs(1.0).argmax(axis=1)
    if (predicted == scores.labels).all():
        return 1.0
    bounds = (np.log(LEAST), np.log(MOST))
    from scipy.optimize import minimize_scalar  # half a second that only evaluate needs

    found = minimize_scalar(find_loss, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    temperature = float(f"{np.exp(found.x):.4g}")
    same = np.array_equal(scores.find_probs(temperature).argmax(axis=1), predicted)
    return temperature if same else 1.0


def choose_threshold(confidences: np.ndarray, correct: np.ndarray, wanted: float) -> float:
    """The smallest confidence (of (N,)) from which on up the accuracy is at least `wanted`, NEVER if none is.

    Pictures of one confidence are answered or not together.
    """
    order = np.argsort(-confidences, kind="stable")
    sure, right = confidences[order], correct[order]
    last = np.append(sure[1:] < sure[:-1], True)  # of those that are as sure
    reached = last & (np.cumsum(right) >= wanted * np.arange(1, len(sure) + 1))
    return float(sure[np.flatnonzero(reached)[-1]]) if reached.any() else NEVER


def measure_calibrated(predictions: Predictions, calibration: Calibration) -> dict[str, float]:
    """What a calibration does to predictions at its temperature.

    Log loss and ece as in `summarize`; coverage is the share of pictures whose confidence reaches the
    threshold, and accuracy that of these, 0 if there is none.
    """
    truth, correct = find_truth(predictions), predictions.predicted == predictions.labels
    answered = truth.of_predicted >= calibration.threshold
    figures = {
        "temperature": calibration.temperature,
        "log_loss": find_log_loss(truth.of_truth),
        "ece": find_calibration_error(truth.of_predicted, correct),
        "threshold": calibration.threshold,
        "coverage": answered.mean(),
        "accuracy": correct[answered].mean() if answered.any() else 0,
    }
    return {name: round(float(value), 9) for name, value in figures.items()}


def trace_coverage(confidences: np.ndarray, correct: np.ndarray) -> list[tuple[float, float]]:
    """The coverage and the accuracy of each possible threshold, the highest first."""
    order = np.argsort(-confidences, kind="stable")
    sure, right = confidences[order], np.cumsum(correct[order])
    last = np.flatnonzero(np.append(sure[1:] < sure[:-1], True))
    return [(float((row + 1) / len(sure)), float(right[row] / (row + 1))) for row in last]
