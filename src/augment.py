"""Augmentation of single pictures, drawn from (seed, epoch, picture) and from nothing else.

N pictures, H height, W width in pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

Augment = Callable[[Image.Image], Image.Image]  # on Pillow's bytes: at 32 pixels twice as fast as on a tensor


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


def augment_each(
    pictures: np.ndarray, augment: Augment, seed: int, epoch: int, numbers: Sequence[int]
) -> Tensor:
    """Every picture of uint8 (N, H, W, 3) augmented, as uint8 (N, 3, H, W).

    The random numbers of a picture are drawn from the seed, the epoch and its place in the training set,
    `numbers` (N,): not from its batch, the number of workers or what was drawn before. Torch's own generator
    is left as it was.
    """
    augmented = np.empty_like(pictures)
    with torch.random.fork_rng(devices=[]):
        for row, (picture, number) in enumerate(zip(pictures, numbers, strict=True)):
            seed_generator(seed, epoch, number)
            augmented[row] = augment(Image.fromarray(picture))
    return torch.from_numpy(augmented).permute(0, 3, 1, 2)


def seed_generator(*key: int) -> None:
    """Seed torch's CPU generator from several numbers.

    torch.manual_seed would take 0.4 ms: it formats a traceback for CUDA at every call, and keeps it.
    """
    torch.default_generator.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]))
