"""The format of the curriculum: CSV `path,weight`, a row per training picture. N pictures."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from src.ground.errors import UserError
from src.ground.files import open_atomically, start_csv


def choose_weights(curriculum: np.ndarray, used: bool) -> np.ndarray:
    """The curriculum's weights (N,) if it is used, else ones."""
    return curriculum if used else np.ones_like(curriculum)


def write_weights(path: Path, paths: Sequence[str], weights: np.ndarray) -> None:
    """Write the weights (N,) of the pictures in `paths` (N,)."""
    with open_atomically(path) as file:
        writer = start_csv(file)
        writer.writerow(["path", "weight"])
        writer.writerows((name, f"{weight:.9g}") for name, weight in zip(paths, weights, strict=True))


def read_weights(path: Path, paths: Sequence[str]) -> np.ndarray:
    """The weights (N,) in the order of `paths` (N,); every picture must have a finite, non-negative one."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = {row["path"]: float(row["weight"]) for row in csv.DictReader(file)}
    missing = [name for name in paths if name not in rows]
    if missing:
        raise UserError(
            f"{path}: {len(missing)} of {len(paths)} training pictures have no weight, first {missing[0]} "
            "(run dvc repro -f make_curriculum)"
        )
    weights = np.array([rows[name] for name in paths])
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise UserError(f"{path}: weights must be finite and non-negative (run dvc repro -f make_curriculum)")
    return weights
