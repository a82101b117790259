"""Bases: how a network's logits become probabilities and loss terms.

N pictures, C classes.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Base(NamedTuple):
    """How a network's logits are interpreted."""

    name: str
    probs: Callable[[Tensor], Tensor]  # logits (N, C) -> probabilities (N, C)
    logits: Callable[[Tensor], Tensor]  # the inverse, for rows that sum to 1 if per_sample
    terms: Callable[[Tensor, Tensor], Tensor]  # logits, targets (N, C) -> loss terms (N, C)
    per_sample: bool  # one decision per row (softmax) or per element (bce)


def softmax_terms(logits: Tensor, targets: Tensor) -> Tensor:
    """The terms of cross entropy: the sum of a row is its loss."""
    return -targets * F.log_softmax(logits, dim=1)


def bce_terms(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross entropy of each class separately."""
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def softmax_probs(logits: Tensor) -> Tensor:
    return logits.softmax(dim=1)


BASES = {
    "softmax": Base("softmax", softmax_probs, torch.log, softmax_terms, per_sample=True),
    "bce": Base("bce", torch.sigmoid, torch.logit, bce_terms, per_sample=False),
}
