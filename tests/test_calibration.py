"""The fitted temperature and the threshold: by hand, by a law, and against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from src.ground.errors import UserError
from src.ground.files import write_json
from src.losses.bases import BASES
from src.results.calibration import (
    NEVER,
    Calibration,
    calibrate,
    choose_threshold,
    fit_temperature,
    measure_calibrated,
    read_calibration,
    trace_coverage,
)
from src.results.measuring import Scores
from src.results.metrics import find_log_loss, find_truth
from src.results.predictions import Predictions


def draw_scores(temperature, count=4000, base="softmax"):
    """Logits that are `temperature` times as large as those that the labels are drawn from."""
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (count, 4))
    odds = np.exp(logits)
    probs = odds / odds.sum(axis=1, keepdims=True)
    labels = (probs.cumsum(axis=1) < generator.random((count, 1))).sum(axis=1)
    return Scores(BASES[base], tuple("abcd"), labels, torch.from_numpy(logits * temperature).float())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_of_which_the_labels_were_drawn_is_found(temperature):
    assert fit_temperature(draw_scores(temperature)) == pytest.approx(temperature, rel=0.05)


class Given(ClassifierMixin, BaseEstimator):
    """An estimator whose decisions are the features themselves."""

    def fit(self, features, labels):
        self.classes_ = np.unique(labels)
        return self

    def decision_function(self, features):
        return features

    def predict(self, features):
        return features.argmax(axis=1)


def test_probabilities_at_the_temperature_are_those_of_scikit_learn():
    scores = draw_scores(2.0)
    features = scores.logits.numpy().astype(np.float64)
    given = FrozenEstimator(Given().fit(features, scores.labels))
    theirs = CalibratedClassifierCV(given, method="temperature").fit(features, scores.labels)
    ours = scores.predict(fit_temperature(scores)).probs
    assert np.abs(ours - theirs.predict_proba(features)).max() < 1e-3


def test_a_bce_student_has_the_least_loss_at_its_temperature():
    scores = draw_scores(4.0, base="bce")
    best = fit_temperature(scores)
    losses = [find_log_loss(find_truth(scores.predict(best * factor)).of_truth) for factor in (0.9, 1.0, 1.1)]
    assert losses[1] < min(losses[0], losses[2])
    assert np.allclose(scores.predict(best).probs, torch.sigmoid(scores.logits.double() / best), atol=1e-9)


SURE = np.array([0.9, 0.5, 0.8, 0.8, 0.6])
RIGHT = np.array([True, True, True, False, True])


@pytest.mark.parametrize(
    "wanted, threshold",
    [(1.0, 0.9), (0.8, 0.5), (0.75, 0.5), (0.0, 0.5)],  # .9: 1 of 1; .8: 2 of 3; .6: 3 of 4; .5: 4 of 5
)
def test_the_threshold_by_hand(wanted, threshold):
    assert choose_threshold(SURE, RIGHT, wanted) == threshold


def test_without_an_accurate_answer_nothing_is_answered():
    assert choose_threshold(SURE, ~RIGHT, 0.9) == NEVER
    probs = np.array([[1.0, 0.0], [0.9, 0.1]])
    predictions = Predictions(("a", "b"), np.array([1, 1]), probs)
    assert measure_calibrated(predictions, Calibration(1.0, NEVER, 0.9))["coverage"] == 0


def test_without_mistakes_or_where_predictions_would_change_the_temperature_is_one():
    labels = np.arange(60) % 3
    logits = torch.from_numpy(3.0 * np.eye(3)[labels])
    for base in BASES.values():
        assert fit_temperature(Scores(base, tuple("abc"), labels, logits)) == 1.0
    logits = logits + torch.tensor([0.0, 8.0, 9.0])  # sigmoids of 80 and 90 are both 1
    saturated = Scores(BASES["bce"], tuple("abc"), np.full(60, 2), logits)
    found = fit_temperature(saturated)
    assert np.array_equal(
        saturated.find_probs(found).argmax(axis=1), saturated.find_probs(1.0).argmax(axis=1)
    )


def test_the_curve_has_a_point_per_confidence():
    assert trace_coverage(SURE, RIGHT) == [(0.2, 1.0), (0.6, 2 / 3), (0.8, 0.75), (1.0, 0.8)]


def test_what_a_calibration_does():
    probs = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.45, 0.55]])
    predictions = Predictions(("a", "b"), np.array([0, 1, 1, 0]), probs)
    figures = measure_calibrated(predictions, Calibration(1.5, 0.6, 0.9))
    assert figures["coverage"] == 0.75 and figures["accuracy"] == pytest.approx(2 / 3, abs=1e-9)
    assert figures["log_loss"] == pytest.approx(-np.log([0.9, 0.4, 0.7, 0.45]).mean(), abs=1e-9)
    none = measure_calibrated(predictions, Calibration(1.5, 0.95, 0.9))
    assert (none["coverage"], none["accuracy"]) == (0, 0)


def test_without_calibration_the_temperature_is_one():
    scores = draw_scores(3.0)
    assert calibrate(scores, False, 0.9).temperature == 1.0
    found = calibrate(scores, True, 0.9)
    on_val = measure_calibrated(scores.predict(found.temperature), found)
    assert found.temperature > 2.5 and on_val["accuracy"] >= 0.9 and 0 < on_val["coverage"] < 1


SOUND = {"temperature": 1.5, "threshold": 0.5, "wanted_accuracy": 0.9}


def test_a_calibration_survives_a_round_trip(tmp_path):
    write_json(tmp_path / "c.json", SOUND)
    assert read_calibration(tmp_path / "c.json") == Calibration(1.5, 0.5, 0.9)


@pytest.mark.parametrize(
    "value, what",
    [
        ({}, "temperature is missing"),
        ([], "temperature is missing"),
        (None, "temperature is missing"),
        (SOUND | {"bias": 1}, "unknown 'bias'"),
        (SOUND | {"temperature": "hot"}, "temperature must be a number, got 'hot'"),
        (SOUND | {"temperature": True}, "temperature must be a number, got True"),
        (SOUND | {"temperature": 0}, r"temperature must be in \[0.1, 20\], got 0"),
        (SOUND | {"temperature": float("nan")}, "temperature must be a number, got nan"),
        (SOUND | {"temperature": 10**400}, "temperature must be a number, got 1000"),
        (SOUND | {"threshold": -1}, r"threshold must be in \[0, 2\], got -1"),
        (SOUND | {"wanted_accuracy": 90}, r"wanted_accuracy must be in \[0, 1\], got 90"),
    ],
)
def test_what_is_no_calibration_is_refused(tmp_path, value, what):
    write_json(tmp_path / "c.json", value)
    with pytest.raises(UserError, match=rf"^{tmp_path}/c.json: {what}[^\n]* \(run dvc repro\)$"):
        read_calibration(tmp_path / "c.json")
