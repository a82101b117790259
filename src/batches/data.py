"""From pictures, targets and weights to an epoch's batches, in a seeded order.

N pictures, M of them trained on, C classes, h height, w width in pixels.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from src.batches.augment import Augment, OneByOne, Resize
from src.batches.batch import Batch
from src.batches.loader import Epochs, Loader, Task, Views
from src.batches.mixing import Transform, Transforms, no_transforms
from src.machine.collectives import own_slice
from src.pictures.reading import Pictures
from src.teaching.labels import Targets


@dataclass(frozen=True)
class TrainingSet:
    """Everything needed to build the batches of any epoch."""

    pictures: Pictures  # uint8 (N, h, w, 3), from the pack or from files
    targets: Targets  # float32 (N, C)
    soft: Sequence[Targets]  # float32 (N, C), the teachers' word on each view, or one for all
    weights: np.ndarray  # (N,)
    rows: np.ndarray  # (M,) indices of the pictures to train on
    augment: Augment  # of single pictures, on the device that trains if it can
    transforms: Transforms  # of whole batches; the training loop applies them on the device
    batch_size: int  # pictures per batch, summed over all processes
    seed: int
    workers: int  # processes that augment pictures
    view_seed: int  # of the augmentation
    listen: Sequence[Transform] = ()  # after the transforms, in every epoch: teachers in the loop
    views: int = 0  # augmentations of a picture, which the epochs use in turn; 0 = a new one in each epoch

    @cached_property
    def epochs(self) -> Epochs:
        """Computes the images of all epochs."""
        views = Views(self.pictures, self.augment, self.view_seed)
        return Epochs(Loader(views, self.workers), self.list_tasks)

    def epoch(self, epoch: int, done: int = 0) -> Iterable[Batch]:
        """The batches of one epoch in an order drawn from (seed, epoch), without the first `done`.

        A last, incomplete batch is dropped. With several processes, each gets its own rows of every batch.
        """
        return self.add_targets(self.load_images(epoch, done), self.list_tasks(epoch)[done:])

    @cached_property
    def list_tasks(self) -> Callable[[int], list[Task]]:
        """What the loader is to compute for an epoch."""
        return partial(list_tasks, self.rows, self.batch_size, self.seed, self.views)

    def leave_plain(self, height: int, width: int) -> "TrainingSet":
        """The same pictures without augmentation and transforms, resized to `height` x `width` pixels."""
        plain = OneByOne(Resize(height, width))
        return replace(self, augment=plain, transforms=no_transforms, views=1)

    def load_images(self, epoch: int, done: int) -> Iterable[Tensor]:
        """The images of each batch of an epoch, without the first `done`."""
        return map(self.augment.finish, self.epochs.load(epoch, done))

    def add_targets(self, images: Iterable[Tensor], tasks: Iterable[Task]) -> Iterator[Batch]:
        """The images of each batch with its targets and weights, which no worker needs to know."""
        for part, (view, numbers) in zip(images, tasks, strict=True):
            word = self.soft[(view - 1) % len(self.soft)]
            targets = torch.from_numpy(self.targets[numbers])
            soft = targets if word is self.targets else torch.from_numpy(word[numbers])
            weights = torch.from_numpy(self.weights[numbers]).float()
            if part.is_cuda or part.is_pinned():
                targets, soft, weights = targets.pin_memory(), soft.pin_memory(), weights.pin_memory()
            yield Batch(part, targets, soft, weights)


def list_tasks(rows: np.ndarray, batch_size: int, seed: int, views: int, epoch: int) -> list[Task]:
    """The batches of an epoch, from 1: the view that they show and this process's part of their pictures."""
    order, own = np.random.default_rng([seed, epoch]).permutation(rows), own_slice(batch_size)
    starts = range(0, len(order) - batch_size + 1, batch_size)
    view = choose_view(epoch, views)
    return [(view, order[start : start + batch_size][own].tolist()) for start in starts]


def choose_view(epoch: int, views: int) -> int:
    """The epoch, from 1, whose augmentation an epoch sees, if there are so many, or 0 = new ones in each."""
    return (epoch - 1) % views + 1 if views else epoch
