"""Transforms of a whole batch on the device: mixup, cutmix, changes of size. Each maps Batch -> Batch.

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
from src.ground.kinds import Count, Rule, within
from src.ground.params import Settings
from src.ground.rules import scale_side
from src.machine.collectives import all_rows, own_slice

Transform = Callable[[Batch, np.random.Generator], Batch]
Transforms = Callable[[int], Sequence[Transform]]  # of an epoch, counted from 1
SIGMAS = 2  # standard deviations at which the normal distribution of a batch's scale is truncated
SCALES = Rule(minItems=1, rule="must be a list of shares of the input size, each in (0, 1]; [1] = off")


@dataclass(frozen=True, kw_only=True)
class MixSettings(Settings):
    """Transforms of whole batches."""

    mixup: Annotated[float, within("[0, 100]")]  # alpha of the mixing share's beta distribution; 0 = off
    cutmix: Annotated[float, within("[0, 100]")]  # alpha of the uncovered share's beta distribution; 0 = off
    multi_scale: Annotated[float, within("[0, 1)")]  # largest relative change of a batch's size; 0 = off
    train_scales: Annotated[tuple[Annotated[float, within("(0, 1]")], ...], SCALES]  # one after another
    size_divisor: Count  # pixels; both keys above change sizes to multiples of it


def no_transforms(epoch: int) -> Sequence[Transform]:
    """Leave every batch as it is."""
    return ()


def blend(batch: Batch, partners: Batch, share: float, images: Tensor) -> Batch:
    """The batch with `images` and the matching targets, soft ones too, and weights.

    The losses are affine in the targets: with targets (s w t + (1 - s) w' t') / w" and the weight
    w" = s w + (1 - s) w', the loss is s times the row's own plus 1 - s times its partner's. A row whose
    weights are both 0 keeps its targets.
    """
    own = share * batch.weights  # (N,)
    other = (1 - share) * partners.weights
    weights = own + other

    def mix(mine: Tensor, theirs: Tensor) -> Tensor:
        mixed = own[:, None] * mine + other[:, None] * theirs
        return torch.where(weights[:, None] > 0, mixed / weights.clamp(min=1e-12)[:, None], mine)

    return Batch(images, mix(batch.targets, partners.targets), mix(batch.soft, partners.soft), weights)


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


def resize(batch: Batch, generator: np.random.Generator, scale: float, divisor: int) -> Batch:
    """The batch at `scale` times its size, each side the nearest multiple of `divisor` pixels."""
    size = [scale_side(side, scale, divisor) for side in batch.images.shape[-2:]]
    images = F.interpolate(batch.images, size, mode="bilinear", antialias=True, align_corners=False)
    return batch._replace(images=images)


def multi_scale(
    batch: Batch, generator: np.random.Generator, most: float, scale: float, divisor: int
) -> Batch:
    """The batch resized by `scale` times a factor in 1 +- `most`, drawn from a truncated normal."""
    normal = NormalDist(sigma=most / SIGMAS)
    change = 1 + normal.inv_cdf(generator.uniform(normal.cdf(-most), normal.cdf(most)))
    return resize(batch, generator, scale * change, divisor)


def pick_scale(scales: Sequence[float], epoch: int, epochs: int) -> float:
    """The scale of an epoch, from 1, if `epochs` are split evenly among the scales.

    One scale below 1 is the training of FixRes (H. Touvron et al., Fixing the train-test resolution
    discrepancy, 2019, arXiv:1906.06423): measured on larger pictures than it was trained on, a network sees
    things as large as random crops had made them. The original then tunes classifier and BatchNorm at the
    larger size; here a last phase at 1 trains the whole network there. Rising scales are progressive
    resizing; M. Tan, Q. Le, EfficientNetV2, 2021, arXiv:2104.00298, raise the regularisation too.
    """
    return scales[(epoch - 1) * len(scales) // epochs]


def list_sizes(
    height: int, width: int, most: float, scales: Sequence[float], divisor: int
) -> list[tuple[int, int]]:
    """The sizes to check a network at: the input's, each scale's, and with multi-scale the extremes.

    With multi-scale and a divisor of 1 also one that is a pixel smaller, since a size may then be odd.
    """
    sizes = [(height, width)]
    for scale in scales:
        for change in (1, 1 - most, 1 + most):
            sizes.append(
                (scale_side(height, scale * change, divisor), scale_side(width, scale * change, divisor))
            )
        if most and divisor == 1:
            sizes.append((scale_side(height, scale, 1) - 1, scale_side(width, scale, 1) - 1))
    return list(dict.fromkeys(sizes))


def build_transforms(settings: MixSettings, epochs: int, epoch: int) -> list[Transform]:
    """The transforms that are switched on in an epoch, from 1, of `epochs`.

    If both mixup and cutmix are on, each batch gets one of them.
    """
    mixes = [
        partial(mix, alpha=alpha)
        for mix, alpha in ((mixup, settings.mixup), (cutmix, settings.cutmix))
        if alpha > 0
    ]
    transforms: list[Transform] = [partial(apply_one, choices=mixes)] if mixes else []
    scale, divisor = pick_scale(settings.train_scales, epoch, epochs), settings.size_divisor
    if settings.multi_scale > 0:
        transforms.append(partial(multi_scale, most=settings.multi_scale, scale=scale, divisor=divisor))
    elif scale != 1:
        transforms.append(partial(resize, scale=scale, divisor=divisor))
    return transforms
