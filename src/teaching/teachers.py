"""Which teachers are listened to. N pictures, C classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from src.ground.errors import UserError, list_some
from src.ground.kinds import BatchSize, Count, CountOrZero, EntryName, Rule, Seed, Share
from src.ground.params import Settings, read_params

TEACHERS = Rule(
    keysOf="teacher", uniqueItems=True, rule="must be a list of distinct entries of teacher, or []"
)
FOLDS = Rule(uniqueItems=True, rule="must be [], or the numbers from 1 on, at least [1, 2]")


@dataclass(frozen=True)
class KnowledgeSettings(Settings):
    """Which teachers' knowledge is written."""

    teachers: Annotated[tuple[EntryName, ...], TEACHERS]  # entries of teacher; [] = labels only
    folds: Annotated[tuple[Count, ...], FOLDS]  # [1, ..., K]: teachers tell of pictures not learned from
    min_accuracy: Share  # on val; a teacher below it is refused
    batch_size: BatchSize  # pictures at once, auto: by their size; affects at most the last digits
    views: CountOrZero  # augmented views of a picture that are stored, with distill.view stored
    seed: Seed  # of the augmentation of these views
    top: Count  # most probable classes that are kept; text of all of them if plain and no more than these


def choose_teacher(arguments: Sequence[str]) -> str:
    """The name of a teacher, the only argument of a command line; a UserError lists those that there are."""
    known = list(read_params()["teacher"])
    if len(arguments) != 1 or arguments[0] not in known:
        given = " ".join(arguments) or "nothing"
        raise UserError(
            f"train_teacher: needs the name of one teacher, got {given!r} (params.yaml has "
            f"{list_some(known, most=20)})"
        )
    return arguments[0]


def find_dropped(folder: Path, teachers: Sequence[str]) -> list[Path]:
    """Weights of teachers that are no longer listed; they are still part of the folder's hash."""
    return [path for path in sorted(folder.glob("*.safetensors")) if path.stem not in teachers]


def find_dropped_figures(teachers: Sequence[str]) -> list[Path]:
    """Metrics and curves of teachers that are not listed: no stage of this pipeline writes them any more."""
    found = [*Path("metrics/teacher").glob("*.json"), *Path("plots/teacher").glob("*.csv")]
    return [path for path in sorted(found) if path.stem not in teachers]


def check_teacher(name: str, probs: np.ndarray, labels: np.ndarray, least: float) -> float:
    """A teacher's accuracy on val, from its probabilities (N, C); a UserError if it is below `least`."""
    accuracy = float((probs.argmax(axis=1) == labels).mean())
    if accuracy < least:
        raise UserError(
            f"teacher {name}: accuracy {accuracy:.4f} on val is below knowledge.min_accuracy "
            f"{least} (train it better or remove it from knowledge.teachers)"
        )
    return accuracy
