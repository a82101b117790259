"""Label settings: smoothing and class weights against torch and scikit-learn, stratified fractions."""

import tracemalloc

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight
from timm.loss import BinaryCrossEntropy

from src.batches.batch import Batch
from src.batches.mixing import blend
from src.ground.errors import UserError
from src.losses.bases import BASES
from src.losses.loss import Loss
from src.pictures.manifest import Manifest
from src.teaching.labels import LabelSettings, LabelTargets, build_lesson, draw_fraction, weigh_classes

LABELS = np.array([0, 0, 0, 0, 1, 1, 2])
CLASSES = ("cat", "dog", "owl")
TRUTH = np.eye(3, dtype=np.float32)[LABELS]
ALL = np.arange(7)


def test_smoothing_matches_torch():
    logits = torch.randn(7, 3)
    smooth = LabelTargets(LABELS, 3, 0.1)[:]
    ours = Loss(BASES["softmax"], [])(logits, *2 * [torch.from_numpy(smooth)], torch.ones(7))
    reference = F.cross_entropy(logits, torch.from_numpy(LABELS), label_smoothing=0.1)
    assert ours.item() == pytest.approx(reference.item(), rel=1e-5)


def test_smoothing_of_bce_matches_timm():
    logits = torch.randn(7, 3)
    smooth = torch.from_numpy(LabelTargets(LABELS, 3, 0.1)[:])
    ours = Loss(BASES["bce"], [])(logits, smooth, smooth, torch.ones(7))
    reference = BinaryCrossEntropy(smoothing=0.1, sum_classes=True)(logits, torch.from_numpy(LABELS))
    assert ours.item() == pytest.approx(reference.item(), rel=1e-5)


@pytest.mark.parametrize("rows", [slice(None), slice(2, 5), [6, 0, 0], np.array([3]), []], ids=str)
def test_targets_of_labels_are_rows_of_the_one_hot_matrix(rows):
    targets = LabelTargets(LABELS, 3)
    assert np.array_equal(targets[rows], TRUTH[rows]) and targets[rows].dtype == np.float32
    smooth = (0.75 * TRUTH + 0.25 / 3).astype(np.float32)
    assert np.array_equal(LabelTargets(LABELS, 3, 0.25)[rows], smooth[rows])
    assert len(targets) == 7 and targets.shape == TRUTH.shape and np.array_equal(list(targets), TRUTH)


def test_targets_of_labels_take_a_number_per_picture():
    """A million pictures of 10,000 classes: 40 GB as a matrix."""
    tracemalloc.start()
    targets = LabelTargets(np.arange(1_000_000) % 10_000, 10_000)
    assert targets[[5, 999_999]].argmax(axis=1).tolist() == [5, 9999]
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


@pytest.mark.parametrize("rows", [ALL, np.array([0, 3, 4, 6])], ids=["all", "a part"])
def test_balanced_matches_scikit_learn(rows):
    """Among the pictures that are trained on."""
    reference = compute_class_weight("balanced", classes=np.arange(3), y=LABELS[rows])
    assert np.allclose(weigh_classes("balanced", LABELS, rows, CLASSES, "student"), reference[LABELS])


@pytest.mark.parametrize("rows", [ALL, np.array([0, 3, 4, 6]), ALL[:6]], ids=["all", "a part", "no owl"])
@pytest.mark.parametrize("setting", ["none", "balanced", {}, {"owl": 9.0, "cat": 0.5}, {"cat": 0.0}])
def test_weights_of_classes_have_mean_one_over_the_pictures_trained_on(setting, rows):
    """So the gradient of pictures that are all alike is, on average over batches, what it is without."""
    weights = weigh_classes(setting, LABELS, rows, CLASSES, "student")
    assert weights[rows].mean() == pytest.approx(1)
    if not setting or setting == "none":
        assert weights.tolist() == [1] * 7


def test_a_lesson_weighs_the_pictures_trained_on():
    manifest = Manifest([f"{number}.png" for number in ALL], LABELS, CLASSES, "")
    settings, rows = LabelSettings(label_smoothing=0.1, class_weights={"owl": 9.0}), np.array([0, 3, 4, 6])
    lesson = build_lesson(manifest, settings, "student", rows)
    assert lesson.rows is rows and lesson.weights == pytest.approx(
        [1 / 3] * 6 + [3]
    )  # 9 / the mean of 1, 1, 1, 9
    whole = build_lesson(manifest, settings, "student")
    assert whole.rows.tolist() == ALL.tolist() and whole.weights.mean() == pytest.approx(1)


def test_class_weights_by_name_are_relative():
    """Four cats of .5, two dogs of 1 and an owl of 3 have mean 1; four times as much is the same."""
    weights = weigh_classes({"owl": 3.0, "cat": 0.5}, LABELS, ALL, CLASSES, "student")
    assert weights.tolist() == [0.5] * 4 + [1, 1, 3]
    fourfold = weigh_classes({"owl": 12.0, "cat": 2.0, "dog": 4.0}, LABELS, ALL, CLASSES, "student")
    assert fourfold.tolist() == weights.tolist()
    without_owl = weigh_classes({"owl": 3.0, "cat": 0.5}, LABELS, ALL[:6], CLASSES, "student")
    assert without_owl == pytest.approx(weights * 6 / 4)
    with pytest.raises(UserError) as error:
        weigh_classes({"cta": 2.0}, LABELS, ALL, CLASSES, "student")
    assert str(error.value) == "params.yaml: student.class_weights.cta: no such class, did you mean cat?"


def test_class_weights_match_torch():
    """Over the whole training set; torch divides by the mean weight of each batch."""
    logits, given = torch.randn(7, 3), {"cat": 4.0, "dog": 1.0, "owl": 9.0}
    weights = weigh_classes(given, LABELS, ALL, CLASSES, "student")
    ours = Loss(BASES["softmax"], [])(logits, *2 * [torch.from_numpy(TRUTH)], torch.from_numpy(weights))
    reference = F.cross_entropy(logits, torch.from_numpy(LABELS), weight=torch.tensor([4.0, 1, 9]))
    assert ours.item() == pytest.approx(reference.item(), rel=1e-5)


def test_class_weights_under_smoothing_are_those_of_the_pictures():
    """As if the smoothed row were drawn so many times; torch instead weights each class of the row."""
    logits, weights = torch.randn(7, 3), torch.tensor([0.5, 1, 3])
    smooth = torch.from_numpy(LabelTargets(LABELS, 3, 0.1)[:])
    ours = Loss(BASES["softmax"], [])(logits, smooth, smooth, weights[LABELS])
    rows = F.cross_entropy(logits, torch.from_numpy(LABELS), label_smoothing=0.1, reduction="none")
    assert ours.item() == pytest.approx((weights[LABELS] * rows).mean().item(), rel=1e-5)


def test_class_weights_under_mixup_match_torch():
    """Where torch takes the mixed targets as probabilities."""
    logits, weights, labels = torch.randn(7, 3), torch.tensor([0.5, 1, 3]), torch.from_numpy(LABELS)
    batch = Batch(torch.zeros(7, 1, 1, 1), *2 * [torch.from_numpy(TRUTH)], weights[labels])
    mixed = blend(batch, batch.rows(torch.arange(7).flip(0)), 0.3, batch.images)
    ours = Loss(BASES["softmax"], [])(logits, *mixed[1:])
    targets = 0.3 * torch.from_numpy(TRUTH) + 0.7 * torch.from_numpy(TRUTH).flip(0)
    assert ours.item() == pytest.approx(F.cross_entropy(logits, targets, weight=weights).item(), rel=1e-5)


def test_a_fraction_is_stratified():
    labels = np.repeat([0, 1, 2], [100, 50, 3])
    rows = draw_fraction(labels, 0.2, seed=1)
    assert np.bincount(labels[rows]).tolist() == [20, 10, 1] and len(set(rows)) == 31
    assert rows.tolist() == sorted(rows) and rows.tolist() != draw_fraction(labels, 0.2, seed=2).tolist()
    assert draw_fraction(labels, 1.0, seed=1).tolist() == list(range(153))


def test_a_fraction_is_what_a_loop_over_the_classes_draws():
    """Labels in any order, a class number that does not occur."""
    labels = np.random.default_rng(3).choice([0, 2, 3, 7], 400, p=[0.5, 0.3, 0.19, 0.01])
    generator, chosen = np.random.default_rng(5), []
    for label in (0, 2, 3, 7):
        rows = np.flatnonzero(labels == label)
        chosen += generator.permutation(rows)[: max(1, round(0.3 * len(rows)))].tolist()
    assert draw_fraction(labels, 0.3, seed=5).tolist() == sorted(chosen)
