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

from src.mixing import MixSettings
from src.runtime import seed_generators

CPU = torch.device("cpu")
Augment = Callable[[Image.Image], Image.Image]  # on Pillow's bytes: at 32 pixels twice as fast as on a tensor


@dataclass(frozen=True, kw_only=True)
class AugmentSettings(MixSettings):
    """What happens to a picture before the network sees it; what happens to batches is mixing's."""

    policy: str  # a name in POLICIES
    rotate: float  # of light: degrees to either side
    shift: float  # of light: share of width and of height to either side
    scale: float  # of light: share by which it grows or shrinks
    flip: float  # of light: probability of a left-right mirror image
    num_ops: int  # of randaugment: operations one after the other
    magnitude: int  # of randaugment: 0 to 30
    erase: float  # of all policies: probability that a random rectangle is made black


def light(settings: AugmentSettings) -> Augment:
    """A small random rotation, shift and change of size on black, now and then a mirror image."""
    affine = v2.RandomAffine(
        degrees=settings.rotate,
        translate=(settings.shift, settings.shift),
        scale=(1 - settings.scale, 1 + settings.scale),
        interpolation=InterpolationMode.BILINEAR,
    )
    return v2.Compose([affine, v2.RandomHorizontalFlip(settings.flip)])


def custom(settings: AugmentSettings) -> Augment:
    """Flip, crop, rotation, and up to three changes of blur, noise and colour."""
    from src.custom import Custom  # kornia's 0.4 s of CPU, which only this policy needs

    return Custom()


POLICIES: dict[str, Callable[[AugmentSettings], Augment]] = {
    "none": lambda settings: v2.Identity(),
    "light": light,
    "custom": custom,
    "autoaugment": lambda settings: v2.AutoAugment(),  # arXiv:1805.09501, the policy found on ImageNet
    "randaugment": lambda settings: v2.RandAugment(settings.num_ops, settings.magnitude),  # arXiv:1909.13719
    "trivialaugment": lambda settings: v2.TrivialAugmentWide(),  # arXiv:2103.10158
}


def build_augment(settings: AugmentSettings) -> Augment:
    """The transform of one picture that the settings ask for."""
    policy = POLICIES[settings.policy](settings)
    if not settings.erase:
        return policy
    erasing = v2.RandomErasing(settings.erase)  # arXiv:1708.04896
    return v2.Compose([policy, v2.PILToTensor(), erasing, v2.ToPILImage()])


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
            seed_generators(CPU, seed, epoch, number)
            augmented[row] = augment(Image.fromarray(picture))
    return torch.from_numpy(augmented).permute(0, 3, 1, 2)
