"""From pictures, targets and weights to an epoch's batches, in a seeded order.

N pictures, M of them trained on, C classes, h height, w width in pixels.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from src.batches.augment import Augment, augment_each
from src.batches.batch import Batch
from src.batches.mixing import Transform
from src.ground.errors import UserError
from src.machine.collectives import own_slice
from src.pictures.reading import Pictures
from src.teaching.labels import Targets


@dataclass(frozen=True)
class TrainingSet:
    """Everything needed to build the batches of any epoch."""

    pictures: Pictures  # uint8 (N, h, w, 3), from the pack or from files
    targets: Targets  # float32 (N, C)
    weights: np.ndarray  # (N,)
    rows: np.ndarray  # (M,) indices of the pictures to train on
    augment: Augment  # of single pictures
    transforms: list[Transform]  # of whole batches; the training loop applies them on the device
    batch_size: int  # pictures per batch, summed over all processes
    seed: int
    workers: int  # processes that augment pictures
    views: int = 0  # augmentations of a picture, which the epochs use in turn; 0 = a new one in each epoch

    def epoch(self, epoch: int, done: int = 0) -> Iterable[Batch]:
        """The batches of one epoch in an order drawn from (seed, epoch), without the first `done`.

        A last, incomplete batch is dropped. With several processes, each gets its own rows of every batch.
        """
        order = np.random.default_rng([self.seed, epoch]).permutation(self.rows)
        own = own_slice(self.batch_size)
        batches = [
            order[start : start + self.batch_size][own].tolist()
            for start in range(done * self.batch_size, len(order) - self.batch_size + 1, self.batch_size)
        ]
        return self.add_targets(self.load_images(self.choose_view(epoch), batches), batches)

    def choose_view(self, epoch: int) -> int:
        """The epoch, from 1, whose augmentation an epoch sees."""
        return (epoch - 1) % self.views + 1 if self.views else epoch

    def load_images(self, view: int, batches: list[list[int]]) -> Iterable[Tensor]:
        """The images of each batch, augmented as in the epoch `view`."""
        loader = DataLoader(
            Epoch(self.pictures, self.augment, self.seed, view),
            batch_sampler=batches,
            collate_fn=keep_batch,
            num_workers=self.workers,
            pin_memory=torch.cuda.is_available(),
        )
        return report_workers(loader)

    def add_targets(self, images: Iterable[Tensor], batches: Iterable[list[int]]) -> Iterator[Batch]:
        """The images of each batch with its targets and weights, which no worker needs to know."""
        for part, numbers in zip(images, batches, strict=True):
            targets = torch.from_numpy(self.targets[numbers])
            weights = torch.from_numpy(self.weights[numbers]).float()
            if part.is_pinned():
                targets, weights = targets.pin_memory(), weights.pin_memory()
            yield Batch(part, targets, weights)


def report_workers(loader: Iterable[Any]) -> Iterator[Tensor]:
    """The same images; a UserError if a worker met one or died, which torch reports with a long traceback."""
    try:
        for images in loader:
            if isinstance(images, Refusal):
                raise UserError(*images.problems)
            yield images
    except RuntimeError as error:
        text = str(error)
        if "Caught" in text or not ("DataLoader worker" in text or "shared memory" in text):
            raise
        raise UserError(
            "params.yaml: workers: a process that augments pictures died, out of memory or of /dev/shm? "
            "(use fewer or 0; the same command resumes from the last saved state)"
        ) from None


def keep_batch(batch: Any) -> Any:
    """The batch unchanged: the dataset returns whole batches, so the loader has nothing to collate."""
    return batch


@dataclass(frozen=True)
class Refusal:
    """A UserError in a worker, on its way to the process that reports it."""

    problems: tuple[str, ...]


@dataclass(frozen=True)
class Epoch(Dataset):
    """The augmented pictures of one epoch, as the dataset that the loader's workers index.

    Python 3.14, macOS and Windows send it to each worker in each epoch, so it holds no more than they need.
    """

    pictures: Pictures  # uint8 (N, h, w, 3)
    augment: Augment
    seed: int
    epoch: int

    def __getitems__(self, numbers: list[int]) -> Tensor | Refusal:
        """The images (n, 3, H, W) uint8 of a batch."""
        try:
            return augment_each(self.pictures[numbers], self.augment, self.seed, self.epoch, numbers)
        except UserError as error:
            return Refusal(tuple(str(error).splitlines()))
