"""Losses by recipe: a base and any weightings, joined by `+`.

A recipe such as `bce+ghm+ohm` names at most one base, by default bce, and any weightings, in any order.
N pictures in the batch, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from src.ground.kinds import Factor, Rule, Share, within
from src.ground.params import Settings
from src.losses.agreement import AGREEMENTS
from src.losses.bases import BASES, Base
from src.losses.weightings import TINY, WEIGHTINGS, Outcome, WeightingSettings

WORD = "|".join((*BASES, *WEIGHTINGS))
RECIPE = Rule(
    pattern=rf"^(?!.*\b(\w+)\b.*\b\1\b)(?!(.*\b({'|'.join(BASES)})\b){{2}})({WORD})(\+({WORD}))*$(?!\n)",
    rule=f"must be at most one of {', '.join(BASES)} (default bce) and any of {', '.join(WEIGHTINGS)}, "
    "joined by '+'",
)
Recipe = Annotated[str, RECIPE]


@dataclass(frozen=True, kw_only=True)
class LossSettings(Settings):
    """What modifies the terms of a base."""

    focal_gamma: Annotated[float, within("[0, 10]")]  # exponent of |target - probability|; 0 = off


@dataclass(frozen=True)
class DistillSettings(Settings):
    """How much the teachers' probabilities count."""

    share: Share  # of the teachers in the loss; the label has the rest; 0 = no distillation
    temperature: Annotated[float, within("[0.01, 1000]")]  # above 1 softens both, teachers' and student's
    unlabelled: Factor  # weight of a picture without label, of which the student hears from teachers alone
    loss: Literal["kl", "dist", "dkd"]  # how the student is to agree with them; the last two with softmax
    view: Literal["plain", "stored", "live"]  # what the teachers see: see docs/strategies.md


LABELS_ONLY = DistillSettings(share=0.0, temperature=1.0, unlabelled=0.0, loss="kl", view="plain")


def apply_focal(base: Base, gamma: float) -> Base:
    """The base with every term multiplied by |target - probability|^gamma; gamma 0 gives the base itself.

    For hard targets, T.-Y. Lin et al., Focal Loss for Dense Object Detection, 2017, arXiv:1708.02002; for
    soft targets, the quality focal loss of X. Li et al., 2020, arXiv:2006.04388, which is 0 at the target;
    `torchvision.ops.sigmoid_focal_loss` is not. The factor carries a gradient, which for soft targets has no
    bound near the target if gamma is below 1.
    """
    if gamma == 0:
        return base
    terms = partial(focal_terms, base=base, gamma=gamma)
    return base._replace(terms=terms, entropy=partial(focal_entropy, base=base, gamma=gamma))


def focal_terms(logits: Tensor, targets: Tensor, base: Base, gamma: float) -> Tensor:
    distance = (targets - base.probs(logits)).abs().clamp(min=TINY)  # (N, C)
    return distance**gamma * base.terms(logits, targets)


def focal_entropy(targets: Tensor, base: Base, gamma: float) -> Tensor:
    """The focal terms (N, C) where the distance is 0, that is, clamped."""
    return TINY**gamma * base.entropy(targets)


class Loss(nn.Module):
    """Mean over the batch of weights (N,) x factors (N, C) x terms (N, C), summed over classes.

    With distillation the terms are those of the base for the labels, times 1 - share, and those of agreement
    with the teachers at a temperature, times share. Targets of a picture without label are 0: of its row only
    the teachers' part counts, after mixing by its share of the row. Weightings see the teachers' word there.

    All weightings see the same outcome, so their order does not matter, except for rounding: the factors are
    multiplied in the order of the table. What they see of distillation is the blend of targets and teachers
    at T = 1; their factors weigh both terms.
    """

    def __init__(self, base: Base, weightings: Sequence[nn.Module], distill: DistillSettings = LABELS_ONLY):
        super().__init__()
        self.base, self.weightings, self.distill = base, nn.ModuleList(weightings), distill

    def forward(self, logits: Tensor, targets: Tensor, soft: Tensor, weights: Tensor) -> Tensor:
        """The scalar loss of logits (N, C) against targets and the teachers' probabilities `soft` (N, C)."""
        if self.distill.unlabelled:
            labelled = targets.sum(dim=1, keepdim=True)  # share of a row that has a label
            terms = labelled * self.base.terms(logits, targets / labelled.clamp(min=TINY))
            targets = targets + (1 - labelled) * soft
        else:
            terms = self.base.terms(logits, targets)
        seen, blend = terms, targets
        if share := self.distill.share:
            blend = (1 - share) * targets + share * soft
            seen = self.base.terms(logits, blend)
        factors = weights[:, None]
        with torch.no_grad():  # a weighting selects what to learn from; it is not trained
            excess = seen - self.base.entropy(blend)
            outcome = Outcome(self.base.probs(logits), blend, excess, weights, self.base.per_sample)
            for weighting in self.weightings:
                factors = factors * weighting(outcome)
        loss = (factors * terms).sum(dim=1).mean()
        if share:
            agree = AGREEMENTS[self.distill.loss]
            terms = agree(self.base, logits, soft, targets, factors, self.distill.temperature)
            loss = (1 - share) * loss + share * (factors * terms).sum(dim=1).mean()
        return loss


def split_recipe(recipe: str) -> tuple[str, list[str]]:
    """The base and the weightings in a recipe, the weightings in the order of the table."""
    words = recipe.split("+")
    bases = [word for word in words if word in BASES]
    return (bases or ["bce"])[0], [word for word in WEIGHTINGS if word in words]


def build_loss(
    recipe: str,
    settings: WeightingSettings,
    focal_gamma: float,
    classes: Sequence[str],
    key: str,
    distill: DistillSettings = LABELS_ONLY,
) -> Loss:
    """The loss that a recipe describes; params.schema.json has checked its words.

    `key` is the section of params.yaml with the weightings' settings, for the error about an unknown class.
    """
    base, names = split_recipe(recipe)
    weightings = [WEIGHTINGS[name](getattr(settings, name), classes, f"{key}.{name}") for name in names]
    return Loss(apply_focal(BASES[base], focal_gamma), weightings, distill)
