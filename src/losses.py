"""Losses as data: a base says how logits become probabilities and terms, weightings say which terms count.

A recipe such as `bce+ohm` names at most one base and any weightings; their order does not matter, and no base
means bce. N pictures in the batch, C classes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Base(NamedTuple):
    """How a network's logits are read."""

    name: str
    probs: Callable[[Tensor], Tensor]  # logits (N, C) -> probabilities (N, C)
    terms: Callable[[Tensor, Tensor], Tensor]  # logits, targets (N, C) -> loss terms (N, C)
    per_sample: bool  # one decision a row (softmax) or one an element (bce)


def softmax_terms(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy, term by term: the sum of a row is the row's loss."""
    return -targets * F.log_softmax(logits, dim=1)


def bce_terms(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross entropy of each class on its own."""
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def softmax_probs(logits: Tensor) -> Tensor:
    return logits.softmax(dim=1)


BASES = {
    "softmax": Base("softmax", softmax_probs, softmax_terms, per_sample=True),
    "bce": Base("bce", torch.sigmoid, bce_terms, per_sample=False),
}


class Outcome(NamedTuple):
    """What a weighting may look at; nothing in it carries a gradient."""

    probs: Tensor  # (N, C)
    targets: Tensor  # (N, C)
    terms: Tensor  # (N, C)
    weights: Tensor  # (N,)
    per_sample: bool


@dataclass(frozen=True)
class OhmSettings:
    """Online hard mining."""

    hard_ratio: float  # share of the hardest that is kept, in (0, 1]; 1 keeps all


class Ohm(nn.Module):
    """Learn from the hardest alone: factor 1 for the share of largest losses in the batch, 0 for the rest.

    A. Shrivastava, A. Gupta, R. Girshick, Training Region-based Object Detectors with Online Hard Example
    Mining, 2016, arXiv:1604.03540. The unit is a row for softmax and an element for bce. Rows of weight 0 do
    not count.
    """

    def __init__(self, settings: OhmSettings):
        super().__init__()
        self.hard_ratio = settings.hard_ratio

    def forward(self, outcome: Outcome) -> Tensor:
        """Factors (N, 1) or (N, C): 1 where at least as hard as the last one kept, so ties stay together."""
        counted = (outcome.weights > 0)[:, None]  # (N, 1)
        losses = outcome.terms.sum(dim=1, keepdim=True) if outcome.per_sample else outcome.terms
        candidates = losses.masked_select(counted)
        if not len(candidates):
            return torch.zeros_like(losses)
        kept = candidates.topk(max(1, round(self.hard_ratio * len(candidates))), sorted=False).values
        return (losses >= kept.min()).to(losses.dtype)


@dataclass(frozen=True)
class WeightingSettings:
    """One entry per weighting; those that the recipe does not name rest."""

    ohm: OhmSettings


WEIGHTINGS = {"ohm": Ohm}


class Loss(nn.Module):
    """Mean over the batch of weights (N,) x factors (N, C) x terms (N, C), summed over classes."""

    def __init__(self, base: Base, weightings: list[nn.Module]):
        super().__init__()
        self.base, self.weightings = base, nn.ModuleList(weightings)

    def forward(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """The loss of logits (N, C) against targets (N, C), as a scalar."""
        terms = self.base.terms(logits, targets)
        factors = weights[:, None]
        with torch.no_grad():  # a weighting chooses what to learn from; it is not learnt itself
            outcome = Outcome(self.base.probs(logits), targets, terms.detach(), weights, self.base.per_sample)
            for weighting in self.weightings:
                factors = factors * weighting(outcome)
        return (factors * terms).sum(dim=1).mean()


def split_recipe(recipe: str) -> tuple[str, list[str]]:
    """The base and the weightings that a recipe names, the latter in the table's order."""
    words = recipe.split("+")
    bases = [word for word in words if word in BASES]
    return (bases or ["bce"])[0], [word for word in WEIGHTINGS if word in words]


def build_loss(recipe: str, settings: WeightingSettings) -> Loss:
    """The loss that a recipe describes; params.schema.json has checked its words."""
    base, names = split_recipe(recipe)
    return Loss(BASES[base], [WEIGHTINGS[name](getattr(settings, name)) for name in names])
