"""Bases: how a network's logits become probabilities and loss terms.

N pictures, C classes.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from src.teaching.knowledge import CLAMP


class Base(NamedTuple):
    """How a network's logits are interpreted."""

    name: str
    probs: Callable[[Tensor], Tensor]  # logits (N, C) -> probabilities (N, C)
    logits: Callable[[Tensor], Tensor]  # the inverse, for rows that sum to 1 if per_sample
    terms: Callable[[Tensor, Tensor], Tensor]  # logits, targets (N, C) -> loss terms (N, C)
    soften: Callable[[Tensor, float], Tensor]  # probabilities (N, C) at a temperature
    entropy: Callable[[Tensor], Tensor]  # targets (N, C) -> the terms (N, C) where probabilities = targets
    per_sample: bool  # one decision per row (softmax) or per element (bce)


def softmax_terms(logits: Tensor, targets: Tensor) -> Tensor:
    """The terms of cross entropy: the sum of a row is its loss."""
    return -targets * F.log_softmax(logits, dim=1)


def bce_terms(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross entropy of each class separately."""
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def softmax_soften(probs: Tensor, temperature: float) -> Tensor:
    """softmax(log(p) / T): equal to softmax(z / T) of the logits z that p is the softmax of."""
    return (probs.log() / temperature).softmax(dim=1)


def bce_soften(probs: Tensor, temperature: float) -> Tensor:
    """sigmoid(logit(p) / T), of each class separately."""
    return (probs.logit(eps=CLAMP) / temperature).sigmoid()


def softmax_entropy(targets: Tensor) -> Tensor:
    """The terms of the targets' entropy, 0 for hard ones: the sum of a row is the least loss it can have."""
    return -torch.xlogy(targets, targets)


def bce_entropy(targets: Tensor) -> Tensor:
    """The entropy of each target by itself, 0 for hard targets: the least loss it can have."""
    rest = (1 - targets).clamp(min=0)  # rounding may leave a target above 1
    return -torch.xlogy(targets, targets) - torch.xlogy(rest, rest)


def softmax_probs(logits: Tensor) -> Tensor:
    return logits.softmax(dim=1)


BASES = {
    "softmax": Base(
        "softmax", softmax_probs, torch.log, softmax_terms, softmax_soften, softmax_entropy, per_sample=True
    ),
    "bce": Base("bce", torch.sigmoid, torch.logit, bce_terms, bce_soften, bce_entropy, per_sample=False),
}
