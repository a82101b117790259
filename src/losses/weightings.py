"""Weightings: which terms of a loss count, and how much.

Each maps an Outcome to factors (N, C), or (N, 1) if a row is one decision. N pictures in the batch, C
classes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from torch import Tensor, nn

from src.ground.errors import UserError
from src.ground.kinds import Factor, Share, within
from src.ground.params import Settings, index_by_class
from src.machine.collectives import all_rows, all_sum

TINY = 1e-7  # a power of a difference of probabilities may have no gradient at 0


class Outcome(NamedTuple):
    """What a weighting may use; nothing in it carries a gradient."""

    probs: Tensor  # (N, C)
    targets: Tensor  # (N, C)
    excess: Tensor  # (N, C) the loss terms less their values where probs = targets, which are 0 for hard ones
    weights: Tensor  # (N,)
    per_sample: bool


@dataclass(frozen=True)
class WeightedSettings(Settings):
    """Costs of mistakes."""

    costs: dict[str, dict[str, Factor]]  # true class -> class it is mistaken for -> cost; 1 for the rest


class Weighted(nn.Module):
    """Some mistakes cost more: factors from a matrix, where cost[a, b] is that of mistaking class a for b.

    In a bce loss, the term of class b gets the cost of mistaking the target's class for b. In a softmax loss
    only the target's class has a term, so the row gets the mean cost of the wrong classes, weighted by their
    probabilities. Soft targets blend the costs of their classes; costs of 1 give factors of 1. Others are
    not divided by a mean, which would depend on the mistakes being made: costs of k act on a softmax as k
    times the learning rate of SGD.
    """

    extra: Tensor  # (C, C)

    def __init__(self, settings: WeightedSettings, classes: Sequence[str], key: str):
        super().__init__()
        extra = torch.zeros(len(classes), len(classes))  # what a mistake costs above 1
        for true, row in index_by_class(settings.costs, classes, f"{key}.costs").items():
            for other, cost in index_by_class(row, classes, f"{key}.costs.{classes[true]}").items():
                if other == true:
                    raise UserError(
                        f"params.yaml: {key}.costs.{classes[true]}.{classes[true]}: a class cannot be "
                        "mistaken for itself (use class_weights to weight whole classes)"
                    )
                extra[true, other] = cost - 1
        self.register_buffer("extra", extra)

    def forward(self, outcome: Outcome) -> Tensor:
        """Factors (N, 1) or (N, C), non-negative."""
        sums = outcome.targets.sum(dim=1, keepdim=True)  # above 1 if a bce teacher is sure of several classes
        true = outcome.targets / sums.clamp(min=1)
        if not outcome.per_sample:
            return 1 + true @ self.extra
        mistakes = (1 - outcome.probs).clamp(min=TINY)  # (N, C): their probability if class c is true
        expected = outcome.probs @ self.extra.T / mistakes
        return (1 + (true * expected).sum(dim=1, keepdim=True)).clamp(min=0)  # rounding may go below 0


@dataclass(frozen=True)
class ThresholdSettings(Settings):
    """Probability bounds past which a decision is good enough and is ignored."""

    low: Share  # a wrong class is good enough at or below it
    high: Share  # the true class is good enough at or above it
    low_of: dict[str, dict[str, Share]]  # true class -> wrong class -> bound in place of low
    high_of: dict[str, Share]  # true class -> bound in place of high


class Threshold(nn.Module):
    """Ignore what is good enough: factor 0 past the probability bound that lies in the target's direction.

    An element of bce whose probability is below its target rests at or above `high`, one above its target at
    or below `low`, and one at its target has no gradient. So with hard targets the true class rests at or
    above `high`, a wrong one at or below `low`, and a soft target between the bounds is always learned. For
    softmax the unit is a row, where the true class, that of the largest target, decides: the row rests if
    its probability is at least `high` and not above its target.

    The idea is from https://github.com/zheng-yuwei/PyTorch-Image-Classification, which blends the bounds of
    the classes by the target, tests both whatever the direction, and lets the elements of a softmax row rest
    one by one. With hard targets the result is the same.
    """

    low: Tensor  # (C, C)
    high: Tensor  # (C,)

    def __init__(self, settings: ThresholdSettings, classes: Sequence[str], key: str):
        super().__init__()
        low = torch.full((len(classes), len(classes)), settings.low)  # [true, wrong]
        high = torch.full((len(classes),), settings.high)
        for true, row in index_by_class(settings.low_of, classes, f"{key}.low_of").items():
            for other, bound in index_by_class(row, classes, f"{key}.low_of.{classes[true]}").items():
                low[true, other] = bound
        for true, bound in index_by_class(settings.high_of, classes, f"{key}.high_of").items():
            high[true] = bound
        self.register_buffer("low", low)
        self.register_buffer("high", high)

    def forward(self, outcome: Outcome) -> Tensor:
        """Factors (N, 1) or (N, C), 0 or 1."""
        probs, targets = outcome.probs, outcome.targets
        true = targets.argmax(dim=1, keepdim=True)  # (N, 1)
        if outcome.per_sample:
            probs, targets = probs.gather(1, true), targets.gather(1, true)
            learns = (probs < self.high[true]) | (probs > targets)
        else:
            rises, falls = probs < targets, probs > targets
            learns = (rises & (probs < self.high)) | (falls & (probs > self.low[true[:, 0]]))
        return learns.to(probs.dtype)


@dataclass(frozen=True)
class GhmSettings(Settings):
    """Gradient harmonising mechanism."""

    bins: Annotated[int, within("[1, 10000]")]  # of the gradient norm, over [0, 1]
    momentum: Annotated[float, within("[0, 1)")]  # share of the old histogram kept at each step


class Ghm(nn.Module):
    """Equal influence for every gradient norm: the rarer it is in the batch, the larger the factor.

    B. Li, Y. Liu, X. Wang, Gradient Harmonized Single-stage Detector, 2018, arXiv:1811.05181: the factor is
    N / GD(g), where GD(g) is the number of examples in the bin of g divided by its width, from a moving
    average of the histogram. As in the authors' code, a bin that is empty in a batch keeps its average, and
    the factor is divided by the share of non-empty bins, so that its mean is about 1. Each bin's average is
    corrected for its start at 0; otherwise the first steps would weigh 1 / (1 - momentum) times as much.

    The norm is |probability - target| for an element of bce. For softmax it is half the sum of these over a
    row, which for a hard target is 1 minus the probability of the true class. Rows of weight 0 are ignored;
    the rows of all processes are counted, with `accumulate` those of one batch of the step.
    """

    average: Tensor  # (bins,)
    mass: Tensor

    def __init__(self, settings: GhmSettings, classes: Sequence[str], key: str):
        super().__init__()
        self.bins, self.momentum = settings.bins, settings.momentum
        self.register_buffer("average", torch.zeros(settings.bins))  # of the count of each bin
        self.register_buffer("mass", torch.zeros(settings.bins))  # sum of the weights in each average

    def forward(self, outcome: Outcome) -> Tensor:
        """Factors (N, 1) or (N, C), positive; 0 for rows of weight 0."""
        norms = (outcome.probs - outcome.targets).abs()
        if outcome.per_sample:
            norms = norms.sum(dim=1, keepdim=True) / 2
        bins = (norms * self.bins).long().clamp(0, self.bins - 1)
        counted = (outcome.weights > 0)[:, None].expand_as(bins)
        counts = torch.zeros_like(self.average).index_add_(
            0, bins.flatten(), counted.flatten().to(self.average.dtype)
        )
        counts = all_sum(counts)
        used = (counts > 0).to(counts.dtype)
        self.average.lerp_(counts, (1 - self.momentum) * used)
        self.mass.lerp_(used, (1 - self.momentum) * used)
        smooth = self.average / self.mass.clamp(min=TINY)
        factors = counts.sum() / (used.sum().clamp(min=1) * smooth.clamp(min=TINY))  # per bin
        return factors[bins] * counted


@dataclass(frozen=True)
class OhmSettings(Settings):
    """Online hard example mining."""

    hard_ratio: Annotated[float, within("(0, 1]")]  # share of the batch that is kept


class Ohm(nn.Module):
    """Learn only from the hardest: the share `hard_ratio` of largest losses counts, the rest has factor 0.

    A. Shrivastava, A. Gupta, R. Girshick, Training Region-based Object Detectors with Online Hard Example
    Mining, 2016, arXiv:1604.03540. The unit is a row for softmax and an element for bce. Rows of weight 0
    are ignored; the rows of all processes are counted, with `accumulate` those of one batch of the step.
    What is kept has the factor 1 / the share kept: the mean factor is 1, and the learning rate keeps its
    meaning.

    Of a soft target's loss its entropy remains however well it is learned: by the whole loss, the softest
    targets would be the hardest. What is compared is the rest, the divergence of the probabilities from the
    target, which for hard targets is the whole loss.
    """

    def __init__(self, settings: OhmSettings, classes: Sequence[str], key: str):
        super().__init__()
        self.hard_ratio = settings.hard_ratio

    def forward(self, outcome: Outcome) -> Tensor:
        """Factors (N, 1) or (N, C): not 0 if at least as hard as the last one kept, so ties stay together."""
        losses = outcome.excess.sum(dim=1, keepdim=True) if outcome.per_sample else outcome.excess
        losses = losses.masked_fill(outcome.weights[:, None] <= 0, -torch.inf)
        whole = all_rows(losses).flatten()
        counted = (whole > -torch.inf).sum()  # a tensor: a number would wait for the GPU
        last = (self.hard_ratio * counted.double()).round().long().clamp(min=1) - 1
        bound = whole.topk(max(1, round(self.hard_ratio * len(whole)))).values.take(last)
        factor = counted / (whole >= bound).sum()
        return (losses >= bound) * factor


@dataclass(frozen=True)
class WeightingSettings(Settings):
    """One entry per weighting; those that the loss does not name have no effect."""

    weighted: WeightedSettings
    threshold: ThresholdSettings
    ghm: GhmSettings
    ohm: OhmSettings


WEIGHTINGS: Mapping[str, Callable[..., nn.Module]] = {
    "weighted": Weighted,
    "threshold": Threshold,
    "ghm": Ghm,
    "ohm": Ohm,
}
