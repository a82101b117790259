"""The progress of a training: a bar per epoch on a terminal, one line per epoch everywhere."""

import time
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from src.batches.batch import Batch
from src.machine.collectives import is_main
from src.training.curves import Row
from src.training.validation import Best


class Display:
    """Shows the epochs after the first `done` of `epochs`; has no effect on the training."""

    def __init__(self, epochs: int, done: int):
        self.epochs, self.done, self.began = epochs, done, time.monotonic()

    def show_batches(self, batches: Iterable[Batch], epoch: int, done: int, wanted: int) -> Iterable[Batch]:
        """The same batches, with a bar that starts at `done` of `wanted`."""
        hide = None if is_main() else True  # None: hidden unless on a terminal
        return tqdm(batches, self.title(epoch), wanted, initial=done, leave=False, disable=hide)

    def print_epoch(self, row: Row, best: Best) -> None:
        """Print one line about a finished epoch."""
        left = (time.monotonic() - self.began) / (row.epoch - self.done) * (self.epochs - row.epoch)
        print(
            f"{self.title(row.epoch)}: loss {row.train_loss:.4f}, val loss {row.val_loss:.4f}, val accuracy "
            f"{row.val_accuracy:.4f} (best epoch {best.epoch}: {best.loss:.4f}, {best.accuracy:.4f}), "
            f"{tqdm.format_interval(left)} left",
            flush=True,
        )

    def title(self, epoch: int) -> str:
        return f"epoch {epoch}/{self.epochs}"


def print_resumption(path: Path, epoch: int, batches: int) -> None:
    """Print where training resumes: after `epoch` and the first `batches` batches of the next one."""
    begun = f" and {batches} batches of the next" if batches else ""
    print(f"resuming from epoch {epoch}{begun}, saved in {path}")
