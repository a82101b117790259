"""Transforms of a whole batch on the device: mixup, cutmix, multi-scale. Each maps Batch -> Batch.

N pictures in the batch, C classes, H height, W width in pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import NormalDist
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from src.batches.batch import Batch
from src.ground.kinds import within
from src.ground.params import Settings
from src.machine.collectives import all_rows, own_slice

Transform = Callable[[Batch, np.random.Generator], Batch]
SIGMAS = 2  # standard deviations at which the normal distribution of a batch's scale is truncated


@dataclass(frozen=True, kw_only=True)
class MixSettings(Settings):
    """Transforms of whole batches; 0 switches each off."""

    mixup: Annotated[float, within("[0, 100]")]  # alpha of the mixing share's beta distribution; 0 = off
    cutmix: Annotated[float, within("[0, 100]")]  # alpha of the uncovered share's beta distribution; 0 = off
    multi_scale: Annotated[float, within("[0, 1)")]  # largest relative change of a batch's size; 0 = off


def blend(batch: Batch, partners: Batch, share: float, images: Tensor) -> Batch:
    """The batch with `images` and the matching targets and weights.

    The losses are affine in the targets: with targets (s w t + (1 - s) w' t') / w" and the weight
    w" = s w + (1 - s) w', the loss is s times the row's own plus 1 - s times its partner's. A row whose
    weights are both 0 keeps its targets.
    """
    own = share * batch.weights  # (N,)
    other = (1 - share) * partners.weights
    weights = own + other
    mixed = own[:, None] * batch.targets + other[:, None] * partners.targets
    targets = torch.where(weights[:, None] > 0, mixed / weights.clamp(min=1e-12)[:, None], batch.targets)
    return Batch(images, targets, weights)


def mixup(batch: Batch, generator: np.random.Generator, alpha: float) -> Batch:
    """Every picture blended with another one of the batch, with the same share for all.

    H. Zhang et al., mixup: Beyond Empirical Risk Minimization, 2017, arXiv:1710.09412.
    """
    share = generator.beta(alpha, alpha)
    partners = draw_partners(batch, generator)
    return blend(batch, partners, share, share * batch.images + (1 - share) * partners.images)


def cutmix(batch: Batch, generator: np.random.Generator, alpha: float) -> Batch:
    """The same rectangle of every picture covered by that of another one of the batch.

    S. Yun et al., CutMix, 2019, arXiv:1905.04899. A picture's share is the share of its pixels that remain.
    """
    height, width = batch.images.shape[-2:]
    side = np.sqrt(1 - generator.beta(alpha, alpha))
    y, x = generator.integers(height), generator.integers(width)  # the rectangle's centre
    top, bottom = (int(np.clip(y + sign * side * height / 2, 0, height)) for sign in (-1, 1))
    left, right = (int(np.clip(x + sign * side * width / 2, 0, width)) for sign in (-1, 1))
    partners = draw_partners(batch, generator)
    images = batch.images.clone()
    images[..., top:bottom, left:right] = partners.images[..., top:bottom, left:right]
    share = 1 - (bottom - top) * (right - left) / (height * width)
    return blend(batch, partners, share, images)


def draw_partners(batch: Batch, generator: np.random.Generator) -> Batch:
    """A partner for each picture: a permutation of the batch, taken over the rows of all processes."""
    whole = Batch(*map(all_rows, batch))
    order = torch.from_numpy(generator.permutation(len(whole.images)))
    return whole.rows(order[own_slice(len(order))])


def apply_one(batch: Batch, generator: np.random.Generator, choices: Sequence[Transform]) -> Batch:
    """The batch after one of the transforms, chosen uniformly at random."""
    return choices[int(generator.integers(len(choices)))](batch, generator)


def multi_scale(batch: Batch, generator: np.random.Generator, most: float) -> Batch:
    """The batch scaled by a factor in 1 +- `most`, from a truncated normal, with its aspect ratio kept."""
    normal = NormalDist(sigma=most / SIGMAS)
    scale = 1 + normal.inv_cdf(generator.uniform(normal.cdf(-most), normal.cdf(most)))
    size = [max(1, round(scale * side)) for side in batch.images.shape[-2:]]
    images = F.interpolate(batch.images, size, mode="bilinear", antialias=True, align_corners=False)
    return batch._replace(images=images)


def list_sizes(height: int, width: int, most: float) -> list[tuple[int, int]]:
    """The sizes to check a network at: the input's, and with multi-scale the extremes and an odd one."""
    if most == 0:
        return [(height, width)]
    ends = [(round(scale * height), round(scale * width)) for scale in (1 - most, 1 + most)]
    return [(height, width), *ends, (height - 1, width - 1)]


def build_transforms(settings: MixSettings) -> list[Transform]:
    """The transforms that are switched on; if both mixup and cutmix are, each batch gets one of them."""
    mixes = [
        partial(mix, alpha=alpha)
        for mix, alpha in ((mixup, settings.mixup), (cutmix, settings.cutmix))
        if alpha > 0
    ]
    transforms: list[Transform] = [partial(apply_one, choices=mixes)] if mixes else []
    if settings.multi_scale > 0:
        transforms.append(partial(multi_scale, most=settings.multi_scale))
    return transforms
