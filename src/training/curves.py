"""The learning curves: a CSV row per epoch, on disk as soon as it ends, and the same in TensorBoard."""

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path

from src.machine.collectives import is_main

TENSORBOARD = Path(os.environ.get("DVC_ROOT", ".")) / "tensorboard"


@dataclass(frozen=True)
class Row:
    """One epoch."""

    epoch: int  # from 1
    lr: float  # learning rate of its first step
    train_loss: float  # mean over the steps, with augmentation, soft targets and weights
    val_loss: float  # against the true labels
    val_accuracy: float  # in [0, 1]


class NoCurves:
    """The interface of the curves; this base class writes nothing, `Curves` does."""

    def add(self, row: Row) -> None:
        """Write one epoch."""


class Curves(NoCurves):
    """Writes the rows of one run, in the main process only.

    If TensorBoard's folder cannot be written, the run continues with a warning.
    """

    def __init__(self, path: Path, name: str):
        from torch.utils.tensorboard import SummaryWriter  # takes 1 s, and only training needs it

        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = open(path if is_main() else os.devnull, "w", encoding="utf-8", newline="")
        self.csv = csv.DictWriter(self.file, [field.name for field in fields(Row)], lineterminator="\n")
        self.csv.writeheader()
        self.board = None
        with self.board_may_fail():
            if is_main():
                self.board = SummaryWriter(TENSORBOARD / name / f"{datetime.now():%Y-%m-%d_%H-%M-%S}")

    def add(self, row: Row) -> None:
        """Write one epoch to disk."""
        self.csv.writerow({name: f"{value:.9g}" for name, value in asdict(row).items()})
        self.file.flush()
        with self.board_may_fail():
            if self.board is not None:
                for name, value in asdict(row).items():
                    self.board.add_scalar(name, value, row.epoch)

    @contextmanager
    def board_may_fail(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            print(f"warning: {TENSORBOARD}: {error.strerror}; training continues without TensorBoard")
            self.board = None

    def __enter__(self) -> "Curves":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        with self.board_may_fail():
            if self.board:
                self.board.close()
