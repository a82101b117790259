"""The learning curves: a CSV row per epoch, on disk when the epoch ends, and the same in TensorBoard."""

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
    val_loss: float  # against the labels alone
    val_accuracy: float  # in [0, 1]


class Curves:
    """Writes the rows of one run, in the first of several processes; losing TensorBoard's folder costs a
    warning, never the run.
    """

    def __init__(self, path: Path, name: str):
        from torch.utils.tensorboard import SummaryWriter  # 1 s of CPU that only training needs

        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = open(path if is_main() else os.devnull, "w", encoding="utf-8", newline="")
        self.csv = csv.DictWriter(self.file, [field.name for field in fields(Row)], lineterminator="\n")
        self.csv.writeheader()
        self.board = None
        with self.board_may_fail():
            if is_main():
                self.board = SummaryWriter(TENSORBOARD / name / f"{datetime.now():%Y-%m-%d_%H-%M-%S}")

    def add(self, row: Row) -> None:
        """Put one epoch on disk."""
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
            print(f"warning: {TENSORBOARD}: {error.strerror}; training goes on without TensorBoard")
            self.board = None

    def __enter__(self) -> "Curves":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        with self.board_may_fail():
            if self.board:
                self.board.close()
