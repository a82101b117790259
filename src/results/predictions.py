"""The predictions file: CSV `path,label,prediction,p_<class>,...`, rows in manifest order.

N pictures, C classes.
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from src.ground.digits import write_rows
from src.ground.files import open_atomically, start_csv


@dataclass(frozen=True)
class Predictions:
    """A model's predictions for pictures whose class is known."""

    classes: tuple[str, ...]  # (C,)
    labels: np.ndarray  # (N,) int64
    probs: np.ndarray  # (N, C) float64, 9 significant digits as in the file

    @cached_property
    def predicted(self) -> np.ndarray:
        """The most probable class (N,) of each picture, the first one in a tie."""
        return self.probs.argmax(axis=1)


@dataclass(frozen=True)
class Measured:
    """A network's predictions, under the name that figures and tables show."""

    name: str  # of the weights file, without its suffix; two networks may share it
    predictions: Predictions


def write_predictions(path: Path, predictions: Predictions, paths: Sequence[str]) -> None:
    """Write the predictions of pictures `paths` (N,)."""
    names = predictions.classes
    with open_atomically(path) as file:
        start_csv(file).writerow(["path", "label", "prediction", *(f"p_{name}" for name in names)])
        rows = zip(paths, predictions.labels, predictions.predicted, strict=True)
        heads = ((path, names[label], names[predicted]) for path, label, predicted in rows)
        write_rows(file, heads, predictions.probs)


def read_predictions(path: Path) -> Predictions:
    """The predictions in a file that `write_predictions` wrote."""
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        names = tuple(name.removeprefix("p_") for name in next(reader)[3:])
        index = {name: label for label, name in enumerate(names)}
        labels, probs = [], []
        for row in reader:
            labels.append(index[row[1]])
            probs.append(np.fromiter(map(float, row[3:]), np.float64, len(names)))
    return Predictions(names, np.array(labels), np.array(probs))


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table computed from predictions as CSV, floats with 9 significant digits."""
    with open_atomically(path) as file:
        writer = start_csv(file)
        writer.writerow(columns)
        writer.writerows([f"{v:.9g}" if isinstance(v, float) else v for v in row] for row in rows)
