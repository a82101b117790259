"""Ways in which a student is to agree with its teachers: words of distill.loss.

Each maps logits (N, C), the teachers' probabilities (N, C), the labels' targets (N, C), factors (N, 1) or
(N, C) and the temperature T to terms (N, C) or (N, 1), whose sum over a row, times the factors, is its loss.
N pictures in the batch, C classes.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from src.losses.bases import Base

Agreement = Callable[[Base, Tensor, Tensor, Tensor, Tensor, float], Tensor]
TARGET_WEIGHT, OTHERS_WEIGHT = 1.0, 8.0  # alpha and beta of DKD, as in its paper for CIFAR-100
TINY = 1e-8


def soften(base: Base, soft: Tensor, temperature: float) -> Tensor:
    """The probabilities (N, C) at a temperature; those at 1 are left to the bit."""
    return soft if temperature == 1 else base.soften(soft, temperature)


def match_probabilities(
    base: Base, logits: Tensor, soft: Tensor, targets: Tensor, factors: Tensor, temperature: float
) -> Tensor:
    """T^2 times the base's loss of z / T against q_T, which is a divergence and the entropy of q_T.

    G. Hinton, O. Vinyals, J. Dean, Distilling the Knowledge in a Neural Network, 2015, arXiv:1503.02531.
    """
    return temperature**2 * base.terms(logits / temperature, soften(base, soft, temperature))


def match_relations(
    base: Base, logits: Tensor, soft: Tensor, targets: Tensor, factors: Tensor, temperature: float
) -> Tensor:
    """DIST: T^2 times 1 - Pearson's correlation of each row, and the mean of that of each class's column.

    T. Huang et al., Knowledge Distillation from A Stronger Teacher, 2022, arXiv:2205.10536, with both of its
    weights 1. The columns are weighted by the factors, and are those of one process's part of a batch.
    """
    own, other = (logits / temperature).softmax(dim=1), soften(base, soft, temperature)
    even = torch.ones_like(own)
    rows = 1 - correlate(own, other, even, dim=1)[:, None]
    columns = 1 - correlate(own, other, factors.expand_as(own), dim=0).mean()
    return temperature**2 * (rows + columns)


def correlate(one: Tensor, other: Tensor, weights: Tensor, dim: int) -> Tensor:
    """Pearson's correlation of two matrices along a dimension, weighted; 0 where one of them is constant."""
    weights = weights / weights.sum(dim, keepdim=True).clamp(min=TINY)
    one = one - (weights * one).sum(dim, keepdim=True)
    other = other - (weights * other).sum(dim, keepdim=True)
    product = (weights * one * other).sum(dim)
    squares = (weights * one.square()).sum(dim) * (weights * other.square()).sum(dim)
    return product / squares.clamp(min=TINY**2).sqrt()


def match_decoupled(
    base: Base, logits: Tensor, soft: Tensor, targets: Tensor, factors: Tensor, temperature: float
) -> Tensor:
    """DKD: T^2 times the divergence of target against rest, and 8 times that among the other classes.

    B. Zhao et al., Decoupled Knowledge Distillation, 2022, arXiv:2203.08679. The target is the class of the
    label's largest share.
    """
    logs, other = (logits / temperature).log_softmax(dim=1), soften(base, soft, temperature)
    target = torch.zeros_like(targets, dtype=torch.bool).scatter_(1, targets.argmax(1, keepdim=True), True)
    own_target, other_target = logs.exp()[target], other[target]
    binary = diverge(
        torch.stack([own_target, 1 - own_target], 1).clamp(min=TINY).log(),
        torch.stack([other_target, 1 - other_target], 1).clamp(min=0),
    )
    rest = other.masked_fill(target, 0)
    rest = rest / rest.sum(dim=1, keepdim=True).clamp(min=TINY)
    among = diverge(logs.masked_fill(target, -torch.inf).log_softmax(dim=1).masked_fill(target, 0), rest)
    return temperature**2 * (TARGET_WEIGHT * binary + OTHERS_WEIGHT * among)[:, None]


def diverge(logs: Tensor, other: Tensor) -> Tensor:
    """The divergence (N,) of probabilities, given as logarithms (N, K), from others (N, K)."""
    return (torch.xlogy(other, other) - other * logs).sum(dim=1)


AGREEMENTS: Mapping[str, Agreement] = {
    "kl": match_probabilities,
    "dist": match_relations,
    "dkd": match_decoupled,
}
