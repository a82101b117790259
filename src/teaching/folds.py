"""Folds of the training pictures: a teacher per fold learns from the others, and tells of this one.

N pictures. What a network says of pictures that it has not learned from is what it believes; of its own it
repeats the labels, wrong ones too.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from src.ground.errors import UserError, list_some

FOLDER = Path("data/models/folds")
SEED = 0  # of the division: all teachers of a fold leave out the same pictures


def choose_fold(arguments: Sequence[str], known: Sequence[int]) -> int:
    """The number of a fold, the only argument of a command line, one of knowledge.folds."""
    if len(arguments) != 1 or arguments[0] not in map(str, known):
        given = " ".join(arguments) or "nothing"
        raise UserError(
            f"train_fold: needs the number of a fold, got {given!r} (knowledge.folds has "
            f"{list_some([str(one) for one in known]) or 'none'})"
        )
    return int(arguments[0])


def assign_folds(labels: np.ndarray, count: int) -> np.ndarray:
    """The fold (N,), 1 to `count`, of each picture: as equal in every class of `labels` (N,) as can be."""
    generator, folds = np.random.default_rng(SEED), np.empty(len(labels), int)
    order = generator.permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    folds[by_class] = np.arange(len(labels)) % count + 1
    return folds


def name_weights(fold: int, teacher: str) -> Path:
    """The file of the weights that were trained without a fold."""
    return FOLDER / str(fold) / f"{teacher}.safetensors"


def find_dropped_folds(folds: Sequence[int], teachers: Sequence[str]) -> list[Path]:
    """Weights of folds or teachers that are no longer listed; they are still part of the folder's hash."""
    kept = {name_weights(fold, teacher) for fold in folds for teacher in teachers}
    return [path for path in sorted(FOLDER.glob("*/*.safetensors")) if path not in kept]
