"""The learning curves: a CSV row per epoch, on disk when the epoch ends, and the same in TensorBoard."""

import csv
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

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
    """Writes the rows of one run; losing TensorBoard's folder costs a warning, never the run."""

    def __init__(self, path: Path, name: str):
        from torch.utils.tensorboard import SummaryWriter  # 1 s of CPU that only training needs

        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = open(path, "w", encoding="utf-8", newline="")
        self.csv = csv.DictWriter(self.file, [field.name for field in fields(Row)], lineterminator="\n")
        self.csv.writeheader()
        try:
            self.board = SummaryWriter(TENSORBOARD / name)
        except OSError as error:
            self.lose_board(error)

    def add(self, row: Row) -> None:
        values = {name: f"{value:.9g}" for name, value in asdict(row).items()}
        self.csv.writerow(values)
        self.file.flush()
        try:
            for name, value in asdict(row).items():
                if self.board:
                    self.board.add_scalar(name, value, row.epoch)
        except OSError as error:
            self.lose_board(error)

    def lose_board(self, error: OSError) -> None:
        print(f"warning: {TENSORBOARD}: {error.strerror}; training goes on without TensorBoard")
        self.board = None

    def close(self) -> None:
        self.file.close()
        if self.board:
            self.board.close()
