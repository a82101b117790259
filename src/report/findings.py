"""What is counted for the report from predictions and pictures. N pictures, C classes."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from src.ground.chunks import list_chunks
from src.pictures.manifest import Manifest
from src.pictures.reading import Pictures
from src.results.predictions import Predictions


class Naive(NamedTuple):
    """The accuracies, in [0, 1], of two answers that need no network."""

    commonest: float  # always train's commonest class
    class_name: str  # which that is
    colour: float  # the class of train whose mean colour is the nearest


def measure_naive(train: Manifest, test: Manifest, train_pictures: Pictures, pictures: Pictures) -> Naive:
    """How good an answer is that does not look at the picture, or at its mean colour alone."""
    counts = np.bincount(train.labels, minlength=len(train.classes))
    commonest = int(counts.argmax())
    colours, known = find_colours(train_pictures), np.flatnonzero(counts)
    centres = np.stack([colours[train.labels == number].mean(axis=0) for number in known])
    own, nearest = find_colours(pictures), np.empty(len(test.labels), int)
    for part in list_chunks(len(own), 3 * len(centres)):
        distances = np.square(own[part, None] - centres).sum(axis=2)
        nearest[part] = known[distances.argmin(axis=1)]
    return Naive(
        float((test.labels == commonest).mean()),
        train.classes[commonest],
        float((nearest == test.labels).mean()),
    )


def find_colours(pictures: Pictures) -> np.ndarray:
    """The mean red, green and blue (N, 3) of pictures uint8 (N, H, W, 3)."""
    count, height, width, _ = pictures.shape
    parts = list_chunks(count, height * width * 3, most=2**26)
    return np.concatenate([np.asarray(pictures[part]).mean(axis=(1, 2)) for part in parts])


class Agreement(NamedTuple):
    """Student and teacher on the same pictures."""

    same: float  # share of pictures on which both predict the same class
    student_alone: int  # pictures that the student alone has right
    teacher_alone: int
    p: float  # of McNemar's exact test: that both are equally good


def compare_models(student: Predictions, teacher: Predictions) -> Agreement:
    """Where two models differ; the test is Q. McNemar's, 1947, with the binomial distribution itself."""
    from scipy.special import bdtr  # scipy.stats has the whole test, and takes half a second

    right = student.predicted == student.labels
    others = teacher.predicted == teacher.labels
    ours, theirs = int((right & ~others).sum()), int((others & ~right).sum())
    p = min(1.0, 2 * float(bdtr(min(ours, theirs), ours + theirs, 0.5)))  # both tails, which are alike
    return Agreement(float((student.predicted == teacher.predicted).mean()), ours, theirs, p)


class Pair(NamedTuple):
    """Pictures of one class that were taken for another."""

    label: str
    prediction: str
    pictures: int
    share: float  # of the true class's pictures


def list_confused(predictions: Predictions, most: int) -> list[Pair]:
    """The pairs of classes that are confused most often, the first ones first in a tie."""
    wrong = predictions.predicted != predictions.labels
    pairs = Counter(
        zip(predictions.labels[wrong].tolist(), predictions.predicted[wrong].tolist(), strict=True)
    )
    totals, names = np.bincount(predictions.labels), predictions.classes
    ordered = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:most]
    return [Pair(names[a], names[b], count, count / int(totals[a])) for (a, b), count in ordered]


def rank_classes(rows: Sequence[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """The rows of the classes with the lowest F1 that have pictures, worst first."""
    return sorted((row for row in rows if row["pictures"]), key=lambda row: (row["f1"], row["class"]))[:most]
