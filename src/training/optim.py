"""Optimizers by name, and schedules: pure functions from the time in epochs to a factor of the learning rate.

E epochs in all, w epochs of warm-up.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from timm.optim import create_optimizer_v2, param_groups_layer_decay, param_groups_weight_decay
from torch import nn

from src.ground.names import MAPPED
from src.networks.models import classifier_names

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {  # all others are timm's
    "adam": partial(torch.optim.Adam, fused=True),  # fused takes a third of the time
    "adamw": partial(torch.optim.AdamW, fused=True),
    "sgd": partial(torch.optim.SGD, momentum=0.9, fused=True),
    "asgd": torch.optim.ASGD,
}
START, END = 1 / 25, 1e-4 / 25  # onecycle's first and last factor, as in torch.optim.lr_scheduler.OneCycleLR


def build_optimizer(
    name: str,
    model: nn.Module,
    lr: float,
    weight_decay: float,
    layer_decay: float,
    head_lr_mult: float,
) -> torch.optim.Optimizer:
    """The optimizer over all weights that learn; biases and the weights of norms are not decayed.

    With a `layer_decay` below 1 the learning rate of a group of layers (timm's) is lr * layer_decay^(groups
    above it), for nets that start from pretrained weights: H. Bao, L. Dong, F. Wei, BEiT, 2021,
    arXiv:2106.08254. The classifier's is `head_lr_mult` times that.
    """
    groups = parameter_groups(model, lr, weight_decay, layer_decay)
    if head_lr_mult != 1:
        groups = with_head_apart(groups, model.net, lr, head_lr_mult)
    if name in OPTIMIZERS:
        return OPTIMIZERS[name](groups, lr=lr)
    return create_optimizer_v2(groups, opt=MAPPED.get(name, name), lr=lr, weight_decay=0.0)


def parameter_groups(
    model: nn.Module, lr: float, weight_decay: float, layer_decay: float
) -> list[dict[str, Any]]:
    """timm's groups of weights, each with its own decay and learning rate."""
    if layer_decay == 1:
        return param_groups_weight_decay(model, weight_decay)
    groups = param_groups_layer_decay(model.net, weight_decay, layer_decay=layer_decay)
    return [
        {"params": group["params"], "weight_decay": group["weight_decay"], "lr": lr * group["lr_scale"]}
        for group in groups
    ]


def with_head_apart(
    groups: list[dict[str, Any]], net: nn.Module, lr: float, head_lr_mult: float
) -> list[dict[str, Any]]:
    """Each group in two, the classifier's weights at `head_lr_mult` times the group's learning rate."""
    modules = [net.get_submodule(name) for name in classifier_names(net)]
    head = {id(parameter) for module in modules for parameter in module.parameters()}
    parts = []
    for group in groups:
        for in_head, factor in ((False, 1.0), (True, head_lr_mult)):
            parameters = [p for p in group["params"] if (id(p) in head) == in_head]
            if parameters:
                parts.append({**group, "params": parameters, "lr": group.get("lr", lr) * factor})
    return parts


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


def cosine_factor(time: float, epochs: int, warmup: int, warmup_factor: float) -> float:
    """A straight line from `warmup_factor` to 1 over the warm-up, then half a cosine down to 0 at the end.

    I. Loshchilov, F. Hutter, SGDR, 2016, arXiv:1608.03983, without restarts.
    """
    if time < warmup:
        return warmup_factor + (1 - warmup_factor) * time / warmup
    return cosine(1, 0, (time - warmup) / (epochs - warmup))


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
        "cosine": partial(cosine_factor, epochs=epochs, warmup=warmup, warmup_factor=warmup_factor),
        "onecycle": partial(onecycle_factor, epochs=epochs, warmup=warmup),
    }[name]
