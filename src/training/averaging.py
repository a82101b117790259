"""Averages of weights over steps (EMA) or epochs (SWA), evaluated and kept instead of the last step's.

torch's AveragedModel makes a GPU wait at every update, so it is used once an epoch, not once a step.
"""

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn

from src.batches.data import TrainingSet
from src.ground.kinds import CountOrZero, within
from src.ground.params import Settings
from src.networks.network import BATCH_NORM

MOST = 10_000  # pictures that BatchNorm's statistics are recomputed from


@dataclass(frozen=True, kw_only=True)
class AveragingSettings(Settings):
    """Which average of the weights is evaluated and kept."""

    ema: Annotated[float, within("[0, 1)")]  # decay of the moving average of the weights; 0 = off
    swa: CountOrZero  # number of final epochs whose weights are averaged; 0 = off
    swa_lr: Annotated[float, within("[0, 100]")]  # constant learning rate of these epochs; 0 = the schedule's


class Average:
    """No average: the network itself, and the interface of the subclasses."""

    def __init__(self, model: nn.Module):
        self.model = model

    def after_step(self) -> None:
        """Include the weights after a step."""

    def after_epoch(self, epoch: int, images: Callable[[], Iterable[Tensor]]) -> nn.Module:
        """The network to evaluate after `epoch`, from 1; `images` yields batches (N, 3, H, W) in [0, 1]."""
        return self.model

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to resume."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a saved state."""


class Ema(Average):
    """An exponential moving average over steps, including BatchNorm's statistics.

    B. T. Polyak, A. B. Juditsky, Acceleration of Stochastic Approximation by Averaging, 1992. Over the first
    steps n the decay grows as (1 + n) / (10 + n) up to its value, so that the average does not lag behind in
    a short training.
    """

    def __init__(self, model: nn.Module, decay: float):
        super().__init__(model)
        self.average, self.decay, self.steps = copy.deepcopy(model), decay, 0

    @torch.no_grad()
    def after_step(self) -> None:
        share = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps)) if self.steps else 1.0
        averages, currents = [], []
        for average, current in zip(list_tensors(self.average), list_tensors(self.model), strict=True):
            if average.is_floating_point():
                averages.append(average)
                currents.append(current)
            else:
                average.copy_(current)
        torch._foreach_lerp_(averages, currents, share)  # a few launches on a GPU, not one per tensor
        self.steps += 1

    def after_epoch(self, epoch: int, images: Callable[[], Iterable[Tensor]]) -> nn.Module:
        return self.average

    def state_dict(self) -> dict[str, Any]:
        return {"average": self.average.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.average.load_state_dict(state["average"])
        self.steps = state["steps"]


def list_tensors(model: nn.Module) -> list[Tensor]:
    """Parameters and buffers."""
    return [*model.parameters(), *model.buffers()]


class Swa(Average):
    """The mean of the weights after each of the last epochs, with BatchNorm's statistics recomputed.

    P. Izmailov et al., Averaging Weights Leads to Wider Optima, 2018, arXiv:1803.05407. There the rate of
    these epochs is constant, as `swa_lr` makes it, and the statistics are those of augmented training
    pictures; here they are those of plain ones, since the network is measured on such.
    """

    def __init__(self, model: nn.Module, first: int):
        super().__init__(model)
        self.first, self.last = first, 0  # epochs, from 1: where averaging begins, the last one averaged
        self.average = AveragedModel(model)

    def after_epoch(self, epoch: int, images: Callable[[], Iterable[Tensor]]) -> nn.Module:
        if epoch < self.first:
            return self.model
        if epoch > self.last:  # not yet, by a run that was stopped while it measured
            self.average.update_parameters(self.model)
            self.last = epoch
        norms = [m for m in self.model.modules() if isinstance(m, BATCH_NORM)]
        if any(norm.weight is None or norm.weight.requires_grad for norm in norms):
            update_bn(images(), self.average)
        return self.average.module

    def state_dict(self) -> dict[str, Any]:
        return {"average": self.average.state_dict(), "last": self.last}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.average.load_state_dict(state["average"])
        self.last = state["last"]


def build_average(model: nn.Module, settings: AveragingSettings, epochs: int) -> Average:
    """The average that the settings ask for, in a training of `epochs` epochs."""
    if settings.ema > 0:
        return Ema(model, settings.ema)
    return Swa(model, epochs - settings.swa + 1) if settings.swa > 0 else Average(model)


def read_images(
    data: TrainingSet, epoch: int, device: torch.device, before_batch: Callable[[], None]
) -> Iterator[Tensor]:
    """The images (N, 3, H, W) in [0, 1] of an epoch's first MOST pictures; calls `before_batch` before each.

    N pictures of a batch, H height, W width in pixels.
    """
    for batch in islice(data.epoch(epoch), math.ceil(MOST / data.batch_size)):
        before_batch()
        yield batch.to(device).images
