"""The predictions file: CSV `path,label,prediction,p_<class>,...`, rows in manifest order.

N pictures, C classes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from src.ground.digits import write_rows
from src.ground.errors import UserError, shorten
from src.ground.files import open_atomically, start_csv
from src.ground.tables import REMEDY, parse_numbers, read_table

COLUMNS, PREFIX = ("path", "label", "prediction"), "p_"


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
        start_csv(file).writerow([*COLUMNS, *(f"{PREFIX}{name}" for name in names)])
        rows = zip(paths, predictions.labels, predictions.predicted, strict=True)
        heads = ((path, names[label], names[predicted]) for path, label, predicted in rows)
        write_rows(file, heads, predictions.probs)


def read_predictions(path: Path) -> tuple[Predictions, list[str]]:
    """The predictions in a file that `write_predictions` wrote, and the paths (N,) of their pictures.

    A UserError names the line of what it cannot have written.
    """
    header, rows = read_table(path, COLUMNS, PREFIX)
    names = tuple(name.removeprefix(PREFIX) for name in header[len(COLUMNS) :])
    index = {name: label for label, name in enumerate(names)}
    paths, labels, probs = [], [], []
    for line, (picture, label, prediction, *texts) in rows:
        unknown = next((name for name in (label, prediction) if name not in index), None)
        if unknown is not None:
            raise UserError(f"{path}: line {line}: no class {shorten(repr(unknown), 50)} {REMEDY}")
        paths.append(picture)
        labels.append(index[label])
        probs.append(parse_numbers(path, line, texts, 0, 1))
    if not paths:
        raise UserError(f"{path}: no pictures {REMEDY}")
    return Predictions(names, np.array(labels), np.array(probs)), paths


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table computed from predictions as CSV, floats with 9 significant digits."""
    with open_atomically(path) as file:
        writer = start_csv(file)
        writer.writerow(columns)
        writer.writerows([f"{v:.9g}" if isinstance(v, float) else v for v in row] for row in rows)
