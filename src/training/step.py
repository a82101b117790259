"""The training loop itself: it knows batches, a loss and hooks, and no feature by name.

N pictures in a batch, C classes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from src.batches.batch import Batch
from src.batches.mixing import Transform
from src.machine.collectives import all_sum, rank, world
from src.machine.seeding import seed_generators


@dataclass(frozen=True)
class Training:
    """Everything that a step needs."""

    model: nn.Module  # images (N, 3, H, W) in [0, 1] -> logits (N, C); averages gradients over processes
    loss: nn.Module  # (logits, targets, soft, weights) -> scalar
    optimizer: torch.optim.Optimizer
    device: torch.device
    penalties: Sequence[Callable[[], Tensor]] = ()  # added to the loss
    before_epoch: Sequence[Callable[[], Any]] = ()  # with the model in training mode
    before_step: list[Callable[[], Any]] = field(default_factory=list)  # after the gradients are computed
    after_step: list[Callable[[], Any]] = field(default_factory=list)
    after_epoch: Sequence[Callable[[], Any]] = ()  # before the model is evaluated
    accumulate: int = 1  # batches whose gradients are accumulated into one step
    precision: torch.dtype = torch.float32  # of the forward pass; float32 = no autocast

    @cached_property
    def scaler(self) -> torch.amp.GradScaler:
        """Keeps float16 gradients from vanishing; does nothing at another precision."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision is torch.float16)


class Losses:
    """The losses of an epoch's batches so far, in one tensor on the device.

    One of its own for each, kept to the epoch's end, would lie between those of the steps: the room of a
    (N, C) tensor was lost at every step, since the next one no longer fitted in between.
    """

    def __init__(self, values: Tensor):
        self.count = len(values)
        self.room = torch.cat([values, values.new_zeros(1024)])

    def __len__(self) -> int:
        return self.count

    @property
    def values(self) -> Tensor:
        """(batches,)"""
        return self.room[: self.count]

    def append(self, loss: Tensor) -> None:
        """Add a scalar, without waiting for the GPU."""
        if self.count == len(self.room):
            self.room = torch.cat([self.room, torch.zeros_like(self.room)])
        self.room[self.count] = loss
        self.count += 1


def train_epoch(
    run: Training,
    batches: Iterable[Batch],
    seed: Sequence[int],
    transforms: Sequence[Transform] = (),
    losses: Losses | None = None,
) -> Tensor:
    """One pass over `batches`; returns the losses (batches,), each averaged over all processes.

    The transforms map a batch on the device, before the model. Batch n, from 1, draws only from generators
    seeded by (*seed, n), inside the network also by the rank. `losses` holds those of the finished batches;
    each new one is appended.
    """
    run.model.train()
    for hook in run.before_epoch:
        hook()
    losses = Losses(torch.zeros(0, device=run.device)) if losses is None else losses
    for number, batch in enumerate(move(batches, run.device), len(losses) + 1):
        generator = np.random.default_rng([*seed, number])
        seed_generators(run.device, *seed, number, rank())
        for transform in transforms:
            batch = transform(batch, generator)
        with torch.autocast(run.device.type, run.precision, enabled=run.precision is not torch.float32):
            logits = run.model(batch.images)
        loss = run.loss(logits.float(), batch.targets, batch.soft, batch.weights)
        penalised = sum((penalty() for penalty in run.penalties), loss)
        if (number - 1) % run.accumulate == 0:
            run.optimizer.zero_grad(set_to_none=True)
        run.scaler.scale(penalised / run.accumulate).backward()
        losses.append(loss.detach())  # .item() here would wait for the GPU at every step
        if number % run.accumulate == 0:
            run.scaler.unscale_(run.optimizer)
            for hook in run.before_step:
                hook()
            run.scaler.step(run.optimizer)
            run.scaler.update()
            for hook in run.after_step:
                hook()
    for hook in run.after_epoch:
        hook()
    return average_losses(losses.values)


def move(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """The batches on `device`; to a GPU each is copied, and there augmented, during the step before."""
    if device.type != "cuda":
        yield from (batch.to(device) for batch in batches)
        return
    copies, steps = torch.cuda.Stream(device), torch.cuda.current_stream(device)
    pending = iter(batches)
    while True:
        with torch.cuda.stream(copies):  # also of what the GPU computes for it: its augmentation
            if (batch := next(pending, None)) is None:
                return
            batch = batch.to(device)
        steps.wait_stream(copies)
        for part in batch:
            part.record_stream(steps)  # its memory is not used again before the step is over
        yield batch


def average_losses(losses: Tensor) -> Tensor:
    """This process's losses of some batches (batches,), averaged over all processes, on the CPU."""
    return all_sum(losses.clone().cpu()) / world()  # which adds in place
