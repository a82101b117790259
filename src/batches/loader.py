"""The processes that compute a training's batches: started once, the same ones for all epochs.

n pictures of a batch, H height, W width in pixels of the network's input.
"""

import atexit
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from src.batches.augment import Augment
from src.ground.errors import UserError
from src.machine.workers import block_signals, kill_children, start_worker
from src.pictures.reading import Pictures

Task = tuple[int, list[int]]  # an epoch, and the numbers (n,) of the pictures of a batch
Parts = list[Tensor]  # what Augment.start makes of a task, and Augment.finish makes images of


class WorkerDied(UserError):
    """A worker is gone, for no fault of a picture that it could report."""

    def __init__(self) -> None:
        super().__init__(
            "params.yaml: workers: a process that augments pictures died, out of memory or of /dev/shm? (use "
            "fewer or 0; the same command resumes from the last saved state)"
        )


@dataclass(frozen=True)
class Refusal:
    """A UserError in a worker, on its way to the process that reports it."""

    problems: tuple[str, ...]


@dataclass(frozen=True)
class Views(Dataset):
    """The augmented pictures of every epoch.

    Python 3.14, macOS and Windows send it to each worker, so it holds no more than they need.
    """

    pictures: Pictures  # uint8 (N, h, w, 3)
    augment: Augment
    seed: int

    def __getitem__(self, task: Task) -> Parts | Refusal:
        """What becomes the images of a batch."""
        epoch, numbers = task
        try:
            return self.augment.start(self.pictures[numbers], self.seed, epoch, numbers)
        except UserError as error:
            return Refusal(tuple(str(error).splitlines()))


class Tasks:
    """What the loader is to compute next: torch asks for an iterator whenever an epoch begins."""

    def __init__(self) -> None:
        self.next: Iterable[Task] = ()

    def __iter__(self) -> Iterator[Task]:
        return iter(self.next)


class Loader:
    """Computes batches in `workers` processes, which stay for later calls; in this process if 0.

    SIGTERM and Ctrl-C do not end them, even if sent to all processes at once: the training needs them for the
    step after which it stops. They end with this process.
    """

    def __init__(self, views: Views, workers: int):
        self.tasks, self.is_new = Tasks(), workers > 0
        self.loader: DataLoader = DataLoader(
            views,
            batch_size=None,  # a task is a whole batch
            sampler=self.tasks,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=start_worker,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # torch's global one, from which it would draw, is left unchanged
        )

    def load(self, tasks: Iterable[Task]) -> Iterator[Parts]:
        """The parts of each task; the first one ends what an earlier call still computes.

        The workers are two tasks each ahead of what is taken.

        A UserError if a worker met one, WorkerDied if one died.
        """
        self.tasks.next = tasks
        try:
            for parts in self.start():
                if isinstance(parts, Refusal):
                    raise UserError(*parts.problems)
                yield parts
        except (RuntimeError, OSError, EOFError) as error:
            if not self.loader.num_workers or str(error).startswith("Caught"):
                raise  # not of the connection with a worker, but of what it computes
            raise WorkerDied from None

    def start(self) -> Iterator[Any]:
        """An iterator over the results of the tasks; the first call starts the workers."""
        if not self.is_new:
            return iter(self.loader)
        self.is_new, handler = False, signal.getsignal(signal.SIGCHLD)
        try:
            with block_signals():
                return iter(self.loader)
        finally:
            signal.signal(
                signal.SIGCHLD, handler
            )  # torch's raises an error in whatever runs as a worker dies
            atexit.register(kill_children)


class Epochs:
    """The parts of one epoch after another, as one stream: the workers begin the next before one is over.

    So they work while the network is measured, and its next step need not wait for a first batch. Nothing
    here refers to what holds this, so that the workers end with it.
    """

    def __init__(self, loader: Loader, list_tasks: Callable[[int], list[Task]]):
        self.loader, self.list_tasks = loader, list_tasks
        self.place: tuple[int, int] | None = None  # epoch and batch, from 0, that the stream gives next
        self.parts: Iterator[Parts] = iter(())

    def load(self, epoch: int, done: int) -> Iterator[Parts]:
        """The parts of an epoch's tasks without the first `done`; see Loader.load."""
        last = len(self.list_tasks(epoch))
        if self.place != (epoch, done):
            self.parts = self.loader.load(list_from(epoch, done, self.list_tasks))
        for batch in range(done, last):
            parts = next(self.parts)
            self.place = (epoch, batch + 1) if batch + 1 < last else (epoch + 1, 0)
            yield parts


def list_from(epoch: int, done: int, list_tasks: Callable[[int], list[Task]]) -> Iterator[Task]:
    """The tasks of all epochs, without end, from one whose first `done` are left out."""
    yield from list_tasks(epoch)[done:]
    for following in count(epoch + 1):
        yield from list_tasks(following)
