"""Pictures with their targets and weights -> an epoch's batches, seeded.

N pictures, B pictures in a batch, C classes, H height, W width in pixels.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from src.batches.augment import Augment, augment_each
from src.batches.batch import Batch
from src.batches.mixing import Transform
from src.ground.errors import UserError
from src.machine.collectives import own_slice
from src.pictures.reading import Pictures


@dataclass(frozen=True)
class TrainingSet:
    """All that the batches of any epoch are made of."""

    pictures: Pictures  # uint8 (N, h, w, 3), from the pack or from files
    targets: np.ndarray  # float32 (N, C)
    weights: np.ndarray  # (N,)
    rows: np.ndarray  # (M,) numbers of the pictures that take part
    augment: Augment  # of single pictures
    transforms: list[Transform]  # of batches on the device; the training loop calls them
    batch_size: int  # pictures, of all processes together
    seed: int
    workers: int  # processes that augment

    def epoch(self, epoch: int, done: int = 0) -> Iterable[Batch]:
        """The batches of one epoch in an order drawn from (seed, epoch), but for the first `done`.

        The last, smaller one is dropped. Of several processes each gets its rows of every batch.
        """
        order = np.random.default_rng([self.seed, epoch]).permutation(self.rows)
        own = own_slice(self.batch_size)
        batches = [
            order[start : start + self.batch_size][own].tolist()
            for start in range(done * self.batch_size, len(order) - self.batch_size + 1, self.batch_size)
        ]
        loader = DataLoader(
            Epoch(self, epoch),
            batch_sampler=batches,
            collate_fn=keep_batch,
            num_workers=self.workers,
            pin_memory=torch.cuda.is_available(),
        )
        return report_dead_workers(loader)


def report_dead_workers(loader: Iterable[Batch]) -> Iterator[Batch]:
    """The same batches; a UserError where a worker of the loader dies, which torch tells in a long trace."""
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader worker" not in str(error) and "shared memory" not in str(error):
            raise
        raise UserError(
            "params.yaml: workers: a process that augments pictures died, out of memory or of /dev/shm? "
            "(fewer, or 0; the same command goes on from the last finished epoch)"
        ) from None


def keep_batch(batch: Any) -> Any:
    """What the loader is to make of a Batch, which is one already."""
    return batch


@dataclass(frozen=True)
class Epoch(Dataset):
    """The view of one epoch on a training set, which the loader's workers index."""

    data: TrainingSet
    epoch: int

    def __getitems__(self, numbers: list[int]) -> Batch:
        data = self.data
        return Batch(
            augment_each(data.pictures[numbers], data.augment, data.seed, self.epoch, numbers),
            torch.from_numpy(data.targets[numbers]),
            torch.from_numpy(data.weights[numbers]).float(),
        )
