"""What the labels alone provide: one-hot targets, smoothed, weighted by class, and a stratified part of them.

N pictures, C classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

import numpy as np

from src.ground.kinds import Factor, Rule, within
from src.ground.params import Settings, index_by_class
from src.ground.rules import count_fraction
from src.pictures.manifest import Manifest

ClassWeights = Annotated[
    Literal["none", "balanced"] | dict[str, Factor],
    Rule(rule="must be none, balanced, or a weight in [0, 1e6] per class"),
]


@dataclass(frozen=True, kw_only=True)
class LabelSettings(Settings):
    """How labels become targets and weights."""

    label_smoothing: Annotated[float, within("[0, 1)")]  # share of the label spread over all classes
    class_weights: ClassWeights  # of each class, relative to the others; classes not listed have 1


class LabelTargets:
    """Behaves like targets, float32 (N, C), but computes rows on access: a picture takes one number, not C.

    The row of a picture without label, -1, is 0.

    With `smoothing`, that share of each label is spread evenly over all classes: C. Szegedy et al.,
    Rethinking the Inception Architecture, 2015, arXiv:1512.00567.
    """

    def __init__(self, labels: np.ndarray, num_classes: int, smoothing: float = 0.0):
        self.labels, self.shape = labels, (len(labels), num_classes)
        values = np.array([0, 1], np.float32)
        self.false, self.true = (1 - smoothing) * values + smoothing / num_classes

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: slice | np.ndarray | list[int]) -> np.ndarray:
        """The targets of a slice or of indices (n,): float32 (n, C)."""
        labels = self.labels[rows]
        targets = np.full((len(labels), self.shape[1]), self.false, np.float32)
        targets[np.arange(len(labels)), labels] = self.true
        targets[labels < 0] = 0
        return targets

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[row : row + 1][0] for row in range(len(self)))


class Targets(Protocol):
    """Targets (N, C) float32: an array, or what computes its rows on access."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> np.ndarray: ...


@dataclass(frozen=True)
class Lesson:
    """What is learned from the training pictures."""

    targets: Targets  # float32 (N, C)
    soft: Sequence[Targets]  # float32 (N, C), the teachers' word on each view, or one for all
    weights: np.ndarray  # (N,)
    rows: np.ndarray  # (M,) indices of the pictures that are used


def build_lesson(
    train: Manifest, settings: LabelSettings, key: str, rows: np.ndarray | None = None
) -> Lesson:
    """The labels, smoothed and weighted by class, of the pictures `rows` (M,), or of all.

    `key` is the section of params.yaml.
    """
    rows = np.arange(len(train.labels)) if rows is None else rows
    weights = weigh_classes(settings.class_weights, train.labels, rows, train.classes, key)
    targets = LabelTargets(train.labels, len(train.classes), settings.label_smoothing)
    return Lesson(targets, [targets], weights, rows)


def add_unlabelled(lesson: Lesson, smoothing: float, count: int, weight: float) -> Lesson:
    """A lesson of labels with `count` further pictures that have none, all of them used, each of a weight."""
    assert isinstance(lesson.targets, LabelTargets)
    labels, known = lesson.targets.labels, len(lesson.targets)
    longer = LabelTargets(np.append(labels, np.full(count, -1)), lesson.targets.shape[1], smoothing)
    rows = np.append(lesson.rows, np.arange(known, known + count))
    return Lesson(longer, [longer], np.append(lesson.weights, np.full(count, weight)), rows)


def weigh_classes(
    setting: str | Mapping[str, float], labels: np.ndarray, rows: np.ndarray, classes: Sequence[str], key: str
) -> np.ndarray:
    """A weight (N,) per label (N,), by its class; those of the pictures trained on, `rows` (M,), have mean 1.

    For none all are 1, for balanced the inverses of the numbers of pictures of the classes, for a mapping
    what it says; divided by their mean, they leave the learning rate its meaning. A weight is that of a
    picture, whatever its target: `torch.nn.CrossEntropyLoss(weight=...)`, which divides by the mean over each
    batch, weights smoothed labels class by class.
    """
    counts = np.bincount(labels[rows], minlength=len(classes))
    if setting == "balanced":
        return (len(rows) / (np.count_nonzero(counts) * counts.clip(1)))[labels]
    weights = np.ones(len(classes))
    if not isinstance(setting, str):
        for number, weight in index_by_class(setting, classes, f"{key}.class_weights").items():
            weights[number] = weight
    return (weights / (counts @ weights / len(rows)))[labels]


def draw_fraction(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """The sorted indices of a random `fraction` of the pictures of each class, at least one of each."""
    generator = np.random.default_rng(seed)
    counts = np.unique(labels, return_counts=True)[1]
    of_each = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    chosen = [generator.permutation(rows)[: count_fraction(len(rows), fraction)] for rows in of_each]
    return np.sort(np.concatenate(chosen))
