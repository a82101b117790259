"""The initial weights and bias of an untrained classifier.

C classes, F features.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from src.ground.errors import UserError
from src.ground.params import index_by_class
from src.ground.rules import spell_prior_problem
from src.losses.bases import Base
from src.networks.network import Network


def compute_prior_bias(
    prior: str | Mapping[str, float], base: Base, classes: Sequence[str], key: str
) -> Tensor | None:
    """The bias b (C,) with which an untrained classifier predicts the class probabilities p of `prior`.

    For bce b = -log((1 - p) / p), for softmax b = log p. uniform gives every class 1 / C: softmax does so
    anyway (None), but bce starts at 1/2 and first has to learn to answer no for every class. Classes missing
    from a mapping get 1 / C for bce; for softmax they share the remainder equally. none keeps the network's
    own bias (None). J. Chen et al., Is Sampling Heuristics Necessary in Training Deep Object Detectors?,
    2019, arXiv:1909.04868.
    """
    if prior == "none" or (prior == "uniform" and base.per_sample):
        return None
    given = index_by_class({} if isinstance(prior, str) else prior, classes, f"{key}.prior")
    rest, left = len(classes) - len(given), 1 - sum(given.values())
    if base.per_sample and (problem := spell_prior_problem(given, len(classes))):
        raise UserError(f"params.yaml: {key}.prior: {problem}")
    other = left / max(rest, 1) if base.per_sample else 1 / max(len(classes), 2)
    probs = torch.tensor([given.get(c, other) for c in range(len(classes))], dtype=torch.float64)
    return base.logits(probs)


def redraw_large_classifiers(network: Network) -> None:
    """Redraw, by torch's rule, the weights (C, F) of classifiers that the library drew too large.

    EfficientNet and MNASNet scale them by the number of classes: they are small for ImageNet's thousand, but
    for ten they give large random logits that a short training does not unlearn.
    """
    for layer in network.classifiers():
        if not isinstance(layer, nn.Linear):
            continue
        if layer.weight.detach().std() > layer.in_features**-0.5:  # torch's rule gives 0.58 of it
            layer.reset_parameters()


def set_bias(network: Network, bias: Tensor | None) -> None:
    """Set the bias of every classifier of the network to `bias` (C,); None leaves them unchanged."""
    if bias is None:
        return
    for layer in network.classifiers():
        own = getattr(layer, "bias", None)
        if own is not None:
            own.data.copy_(bias)
