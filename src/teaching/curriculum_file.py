"""The format of the curriculum: CSV `path,weight`, a row per training picture. N pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from src.ground.errors import UserError, shorten
from src.ground.files import open_atomically, read_csv, start_csv
from src.ground.tables import Places

COLUMNS = ["path", "weight"]
REMEDY = "(run dvc repro -f make_curriculum)"


def choose_weights(curriculum: np.ndarray, used: bool) -> np.ndarray:
    """The curriculum's weights (N,) if it is used, else ones."""
    return curriculum if used else np.ones_like(curriculum)


def check_weights(weights: np.ndarray) -> None:
    """Refuse weights (M,) of the pictures trained on, class weights included, of which none is positive."""
    if not (weights > 0).any():
        raise UserError(
            "params.yaml: student.curriculum: all pictures to train on have weight 0 (set it false, or give "
            "curriculum.weights and student.class_weights fewer zeros)"
        )


def write_weights(path: Path, paths: Sequence[str], weights: np.ndarray) -> None:
    """Write the weights (N,) of the pictures in `paths` (N,)."""
    with open_atomically(path) as file:
        writer = start_csv(file)
        writer.writerow(COLUMNS)
        writer.writerows((name, f"{weight:.9g}") for name, weight in zip(paths, weights, strict=True))


def read_weights(path: Path, paths: Sequence[str]) -> np.ndarray:
    """The weights (N,) in the order of `paths` (N,); every picture must have a finite, non-negative one.

    Empty lines, a byte order mark and rows of other pictures are ignored.
    """
    rows = read_csv(path)
    line, header = next(rows, (1, []))
    if header != COLUMNS:
        raise UserError(f"{path}: line {line}: must be {','.join(COLUMNS)} {REMEDY}")
    weights, given = np.empty(len(paths)), np.zeros(len(paths), bool)
    places = Places(paths)
    for line, row in rows:
        number = places.find(row[0])
        if number is None:
            continue
        if given[number]:
            raise UserError(f"{path}: line {line}: {row[0]} is listed twice {REMEDY}")
        weights[number], given[number] = parse_weight(path, line, row), True
    missing = np.flatnonzero(~given)
    if len(missing):
        raise UserError(
            f"{path}: {len(missing)} of {len(paths)} training pictures have no weight, first "
            f"{paths[missing[0]]} {REMEDY}"
        )
    return weights


def parse_weight(path: Path, line: int, row: list[str]) -> float:
    try:
        (weight,) = map(float, row[1:])
    except ValueError:
        weight = float("nan")
    if not 0 <= weight < float("inf"):
        got = shorten(",".join(row[1:]), 50)
        raise UserError(
            f"{path}: line {line}: a weight must be finite and non-negative, got {got!r} {REMEDY}"
        )
    return weight
