"""Augmentation of single pictures, drawn from (seed, epoch, picture) and from nothing else.

H height, W width in pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

Augment = Callable[[Tensor], Tensor]  # uint8 (3, H, W) -> uint8 (3, H, W)


@dataclass(frozen=True)
class AugmentSettings:
    """What happens to a picture before the network sees it."""

    policy: str  # none or light
    rotate: float  # degrees to either side
    shift: float  # share of width and of height to either side
    scale: float  # share by which it grows or shrinks
    flip: float  # probability of a left-right mirror image


def light(settings: AugmentSettings) -> Augment:
    """A small random rotation, shift and change of size on black, now and then a mirror image."""
    affine = v2.RandomAffine(
        degrees=settings.rotate,
        translate=(settings.shift, settings.shift),
        scale=(1 - settings.scale, 1 + settings.scale),
        interpolation=InterpolationMode.BILINEAR,
    )
    return v2.Compose([affine, v2.RandomHorizontalFlip(settings.flip)])


def none(settings: AugmentSettings) -> Augment:
    """The picture as it is."""
    return v2.Identity()


POLICIES = {"none": none, "light": light}


def build_augment(settings: AugmentSettings) -> Augment:
    """The transform of one picture that the settings ask for."""
    return POLICIES[settings.policy](settings)


def augment_each(images: Tensor, augment: Augment, seed: int, epoch: int, numbers: list[int]) -> Tensor:
    """Every image of uint8 (N, 3, H, W) augmented; `numbers` (N,) are their places in the training set.

    The random numbers of a picture do not depend on its batch, on the number of workers or on what was drawn
    before; torch's own generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        augmented = []
        for image, number in zip(images, numbers, strict=True):
            torch.manual_seed(
                int(np.random.SeedSequence([seed, epoch, number]).generate_state(1, np.uint64)[0])
            )
            augmented.append(augment(image))
    return torch.stack(augmented)


def seed_generator(*key: int) -> None:
    """Seed torch's CPU generator from several numbers.

    torch.manual_seed would take 0.4 ms: it formats a traceback for CUDA at every call, and keeps it.
    """
    torch.default_generator.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]))
