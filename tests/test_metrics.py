"""Predictions and their metrics, by hand and against scikit-learn."""

import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from src.results.drawing import draw_confusion
from src.results.metrics import count_confusions, measure_classes, summarize
from src.results.predictions import Predictions, read_predictions, round_probs, write_predictions

CLASSES = ("a", "b,c", "d")
PROBS = np.array([[0.7, 0.2, 0.1], [0.4, 0.5, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]])
HAND = Predictions(CLASSES, np.array([0, 0, 1, 1]), PROBS)  # correct, wrong, correct, wrong; no picture of d


def test_summary_by_hand():
    figures = summarize(HAND)
    assert figures["accuracy"] == 0.5
    assert figures["log_loss"] == pytest.approx(-math.log(0.7 * 0.4 * 0.8 * 0.3) / 4, abs=1e-9)
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 0.5) / 2, abs=1e-9)  # a: 1 and 1/2, b: 1/2 and 1/2
    assert "top5" not in figures


def test_the_interval_is_the_wilson_interval():
    """(p + z^2 / 2n -+ z sqrt(pq / n + z^2 / 4n^2)) / (1 + z^2 / n) for z = 1.959964, n = 4, p = 1/2."""
    z, n, p = 1.959963985, 4, 0.5
    centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    figures = summarize(HAND)
    assert figures["accuracy_low"] == pytest.approx((centre - half) / (1 + z * z / n), abs=1e-8)
    assert figures["accuracy_high"] == pytest.approx((centre + half) / (1 + z * z / n), abs=1e-8)


def test_confusion_has_a_row_per_true_class():
    assert count_confusions(HAND).tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]


def test_per_class_by_hand():
    rows = {row["class"]: row for row in measure_classes(HAND)}
    assert rows["a"] == {
        "class": "a",
        "pictures": 2,
        "precision": 1.0,
        "recall": 0.5,
        "f1": pytest.approx(2 / 3),
    }
    assert rows["d"] == {"class": "d", "pictures": 0, "precision": 0.0, "recall": 0.0, "f1": 0.0}


def test_many_classes_have_top5_and_match_scikit_learn():
    generator = np.random.default_rng(0)
    probs, labels = generator.dirichlet(np.ones(8), 200), generator.integers(0, 8, 200)
    figures = summarize(Predictions(tuple("abcdefgh"), labels, probs))
    assert figures["accuracy"] == pytest.approx(accuracy_score(labels, probs.argmax(1)))
    assert figures["macro_f1"] == pytest.approx(f1_score(labels, probs.argmax(1), average="macro"), abs=1e-8)
    in_top5 = (np.argsort(-probs, axis=1)[:, :5] == labels[:, None]).any(axis=1).mean()
    assert figures["top5"] == pytest.approx(in_top5)


def test_bce_probabilities_are_normalised_for_the_log_loss():
    figures = summarize(Predictions(("a", "b"), np.array([0, 1]), np.array([[0.9, 0.3], [0.0, 0.0]])))
    assert figures["log_loss"] == pytest.approx(-math.log(0.75 * 0.5) / 2, abs=1e-9)


def test_predictions_survive_a_round_trip(tmp_path):
    probs = round_probs(np.random.default_rng(0).dirichlet(np.ones(3), 4))
    predictions = Predictions(CLASSES, HAND.labels, probs)
    write_predictions(tmp_path / "p.csv", predictions, ["x,1", "y\n2", 'z"3', "w"])
    back = read_predictions(tmp_path / "p.csv")
    assert (
        back.classes == CLASSES
        and np.array_equal(back.labels, HAND.labels)
        and np.array_equal(back.probs, probs)
    )
    assert summarize(back) == summarize(predictions)


def test_the_confusion_plot_is_reproducible(tmp_path):
    for name in ("one", "two"):
        draw_confusion(
            tmp_path / f"{name}.png",
            {"student": count_confusions(HAND), "big": count_confusions(HAND)},
            CLASSES,
        )
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert (tmp_path / "one.png").stat().st_size > 5000
