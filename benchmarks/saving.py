"""The cost of saving a training's state after its epochs, as a share of the training time.

For the default student, and for a network of 4.9 M parameters. Run `dvc repro` first.

run     python -m benchmarks.saving
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.students import train_student
from benchmarks.timing import time_in_turns
from src.ground.errors import run
from src.training.state import Saved, State

ROUNDS = 5
STUDENTS: dict[str, list[str]] = {
    "the student": [],
    "timm/resnet10t": ["student.epochs=15", "student.warmup=4", "student.arch=timm/resnet10t"],
}


def train_with_saving(overrides: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        train_student(overrides, Saved(Path(folder)))


def measure_shares(overrides: list[str]) -> list[float]:
    """The time that saving adds to a training, in percent of it, per round."""
    contestants: dict[str, Callable[[], object]] = {
        "plain": partial(train_student, overrides, State()),
        "saving": partial(train_with_saving, overrides),
    }
    seconds = time_in_turns(contestants, ROUNDS)
    return [100 * (s / p - 1) for s, p in zip(seconds["saving"], seconds["plain"], strict=True)]


def main() -> None:
    for name, overrides in STUDENTS.items():
        added = measure_shares(overrides)
        spread = f"{median(added):.1f} % ({min(added):.1f} to {max(added):.1f})"
        print(f"{name}: saving adds {spread}", flush=True)


if __name__ == "__main__":
    run(main)
