"""Schedules: pure functions from the time in epochs to a factor of the learning rate.

E epochs in total, w epochs of warm-up.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from src.ground.kinds import Count, CountOrZero, Factor, Rule, within
from src.ground.params import Settings

START, END = 1 / 25, 1e-4 / 25  # onecycle's first and last factor, as in torch.optim.lr_scheduler.OneCycleLR
FACTORS = Rule(minItems=1, rule="must be a list of factors of lr, each at least 0")
RISING = Rule(
    rule="must be a list of increasing epochs, or [] for 1.5/4, 2.5/4, 3.5/4 of those after the warm-up"
)


@dataclass(frozen=True, kw_only=True)
class ScheduleSettings(Settings):
    """How long a training lasts and how its learning rate changes."""

    epochs: Count  # total number, including the warm-up
    schedule: Literal["step", "cosine", "onecycle"]  # how the learning rate changes
    warmup: CountOrZero  # epochs of warm-up
    warmup_factor: Annotated[float, within("[0, 10]")]  # of lr in step's warm-up, at the start of cosine's
    step_factors: Annotated[tuple[Factor, ...], FACTORS]  # step: factors of lr after the warm-up
    step_epochs: Annotated[tuple[CountOrZero, ...], RISING]  # where the next factor starts; [] = by quarters


def step_boundaries(epochs: int, warmup: int) -> tuple[int, ...]:
    """The epochs at which the factor changes: w + int(k (E - w) / 4) for k = 1.5, 2.5, 3.5."""
    return tuple(warmup + int(k * (epochs - warmup) / 4) for k in (1.5, 2.5, 3.5))


def step_factor(
    time: float, warmup: int, warmup_factor: float, factors: tuple[float, ...], boundaries: tuple[int, ...]
) -> float:
    """`warmup_factor` before epoch w, then the first of `factors`, and the next at each boundary."""
    if time < warmup:
        return warmup_factor
    return factors[sum(time >= boundary for boundary in boundaries)]


def cosine_factor(time: float, epochs: int, warmup: int, warmup_factor: float) -> float:
    """Linear from `warmup_factor` to 1 over the warm-up, then half a cosine down to 0 at the end.

    I. Loshchilov, F. Hutter, SGDR, 2016, arXiv:1608.03983, without restarts.
    """
    if time < warmup:
        return warmup_factor + (1 - warmup_factor) * time / warmup
    return cosine(1, 0, (time - warmup) / (epochs - warmup))


def onecycle_factor(time: float, epochs: int, warmup: int) -> float:
    """A cosine up from 1/25 to 1 over the warm-up, then a cosine down to 4e-6 at the end.

    L. N. Smith, N. Topin, Super-Convergence, 2017, arXiv:1708.07120, with torch's constants; momentum is not
    cycled.
    """
    if time < warmup:
        return cosine(START, 1, time / warmup)
    return cosine(1, END, (time - warmup) / (epochs - warmup))


def cosine(start: float, end: float, share: float) -> float:
    """Half a cosine from `start` at share 0 to `end` at share 1, flat at both ends."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def hurry(time: float, turn: int, last: int, epochs: int) -> float:
    """The time at which a schedule of E epochs is read if epoch `turn` is followed by its rest until `last`.

    The E - turn epochs that were left pass in last - turn epochs: the learning rate goes on from where it is
    and takes the values that it would have taken, only faster.
    """
    return time if time <= turn else turn + (time - turn) * (epochs - turn) / (last - turn)


def hold(schedule: Callable[[float], float], start: float, value: float) -> Callable[[float], float]:
    """The schedule, with the constant factor `value` from epoch `start` on."""
    return lambda time: value if time >= start else schedule(time)


def build_schedule(settings: ScheduleSettings) -> Callable[[float], float]:
    """The schedule: time in epochs, from 0 -> factor of the learning rate."""
    epochs, warmup, first = settings.epochs, settings.warmup, settings.warmup_factor
    boundaries = settings.step_epochs or step_boundaries(epochs, warmup)
    schedules: dict[str, Callable[[float], float]] = {
        "step": lambda time: step_factor(time, warmup, first, settings.step_factors, boundaries),
        "cosine": lambda time: cosine_factor(time, epochs, warmup, first),
        "onecycle": lambda time: onecycle_factor(time, epochs, warmup),
    }
    return schedules[settings.schedule]
