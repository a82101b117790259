"""Bases: how a network's logits are read, as probabilities and as loss terms.

N pictures, C classes.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Base(NamedTuple):
    """How a network's logits are read."""

    name: str
    probs: Callable[[Tensor], Tensor]  # logits (N, C) -> probabilities (N, C)
    logits: Callable[[Tensor], Tensor]  # the way back, where rows sum to 1 if per_sample
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
    "softmax": Base("softmax", softmax_probs, torch.log, softmax_terms, per_sample=True),
    "bce": Base("bce", torch.sigmoid, torch.logit, bce_terms, per_sample=False),
}
