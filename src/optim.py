"""Optimizers by name, and schedules: pure functions from the time in epochs to a factor of the learning rate.

E epochs in all, w epochs of warm-up.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from timm.optim import param_groups_weight_decay
from torch import nn

OPTIMIZERS = {
    "adam": partial(torch.optim.Adam, fused=True),
    "adamw": partial(torch.optim.AdamW, fused=True),
    "sgd": partial(torch.optim.SGD, momentum=0.9, fused=True),
}
START, END = 1 / 25, 1e-4 / 25  # onecycle's first and last factor, as in torch.optim.lr_scheduler.OneCycleLR


def build_optimizer(name: str, model: nn.Module, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """The optimizer over all weights; biases and the weights of norms are not decayed."""
    return OPTIMIZERS[name](param_groups_weight_decay(model, weight_decay), lr=lr)


def step_boundaries(epochs: int, warmup: int) -> tuple[int, ...]:
    """The epochs at which the factor falls: w + int(k (E - w) / 4) for k = 1.5, 2.5, 3.5."""
    return tuple(warmup + int(k * (epochs - warmup) / 4) for k in (1.5, 2.5, 3.5))


def step_factor(
    time: float, warmup: int, warmup_factor: float, factors: tuple[float, ...], boundaries: tuple[int, ...]
) -> float:
    """`warmup_factor` before epoch w, then the first of `factors`, and the next at each boundary."""
    if time < warmup:
        return warmup_factor
    return factors[sum(time >= boundary for boundary in boundaries)]


def onecycle_factor(time: float, epochs: int, warmup: int) -> float:
    """A cosine up from 1/25 to 1 over the warm-up, then a cosine down to 4e-6 at the end.

    L. N. Smith, N. Topin, Super-Convergence, 2017, arXiv:1708.07120, with torch's numbers; momentum stays as
    it is.
    """
    if time < warmup:
        return cosine(START, 1, time / warmup)
    return cosine(1, END, (time - warmup) / (epochs - warmup))


def cosine(start: float, end: float, share: float) -> float:
    """From `start` at share 0 to `end` at share 1, flat at both ends."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def build_schedule(
    name: str,
    epochs: int,
    warmup: int,
    warmup_factor: float,
    factors: tuple[float, ...],
    boundaries: tuple[int, ...],
) -> Callable[[float], float]:
    """Time in epochs, from 0 on -> factor of the learning rate; empty `boundaries` mean the original's."""
    return {
        "step": partial(
            step_factor,
            warmup=warmup,
            warmup_factor=warmup_factor,
            factors=factors,
            boundaries=boundaries or step_boundaries(epochs, warmup),
        ),
        "onecycle": partial(onecycle_factor, epochs=epochs, warmup=warmup),
    }[name]
