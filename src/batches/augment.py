"""Augmentation of single pictures, with random numbers that depend only on (seed, epoch, picture).

N pictures, H height, W width in pixels of the network's input, h and w of the picture before augmentation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from src.batches.mixing import MixSettings
from src.ground.kinds import CountOrZero, Rule, Share, within
from src.machine.seeding import seed_generators
from src.pictures.fitting import resize

CPU = torch.device("cpu")
BILINEAR = InterpolationMode.BILINEAR
Augment = Callable[[np.ndarray], np.ndarray]  # uint8 (h, w, 3) -> (H, W, 3), the network's size
Policy = Callable[["AugmentSettings", int, int], Augment]  # settings, height, width -> transform


class OnPillow:
    """A torchvision transform of a picture (h, w, 3), followed by a resize to the network's input size.

    It runs on Pillow images, which at 32 pixels is twice as fast as on tensors.
    """

    def __init__(self, transform: Callable[[Image.Image], Image.Image], height: int, width: int):
        self.transform, self.height, self.width = transform, height, width

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        return resize(np.asarray(self.transform(Image.fromarray(pixels))), self.height, self.width)


class Crop:
    """A random crop with a slightly changed aspect ratio, resized to the network's input, randomly flipped.

    C. Szegedy et al., Going Deeper with Convolutions, 2014, arXiv:1409.4842, as in torchvision: the crop's
    area is uniform in [min_area, 1] of the picture's, the logarithm of its aspect ratio uniform in that of
    [3/4, 4/3]. Torch resizes uint8 five times as fast as Pillow; a few pixels differ by one grey level.
    """

    def __init__(self, settings: "AugmentSettings", height: int, width: int):
        self.part = v2.RandomResizedCrop((height, width), scale=(settings.min_area, 1.0))
        self.size, self.flip = (height, width), settings.flip

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        whole = torch.from_numpy(pixels).permute(2, 0, 1)
        top, left, height, width = self.part.make_params([whole]).values()
        part = whole[None, :, top : top + height, left : left + width]
        part = part.contiguous(memory_format=torch.channels_last)  # interpolates twice as fast as a view
        if (height, width) != self.size:
            part = F.interpolate(part, self.size, mode="bilinear", antialias=True)
        if torch.rand(()) < self.flip:
            part = part.flip(-1)
        return part[0].permute(1, 2, 0).numpy()


class Erase:
    """Blacks out a random rectangle with a given probability. Z. Zhong et al., 2017, arXiv:1708.04896."""

    def __init__(self, probability: float):
        self.erase = v2.RandomErasing(probability)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        return self.erase(torch.from_numpy(np.array(pixels)).permute(2, 0, 1)).permute(1, 2, 0).numpy()


def flip(settings: "AugmentSettings") -> v2.Transform:
    """A random horizontal flip."""
    return v2.RandomHorizontalFlip(settings.flip)


def light(settings: "AugmentSettings") -> v2.Transform:
    """A small random rotation, shift and scaling, padded with black, then a random horizontal flip."""
    affine = v2.RandomAffine(
        degrees=settings.rotate,
        translate=(settings.shift, settings.shift),
        scale=(1 - settings.scale, 1 + settings.scale),
        interpolation=BILINEAR,
    )
    return v2.Compose([affine, flip(settings)])


def custom(settings: "AugmentSettings") -> Callable[[Image.Image], Image.Image]:
    """Flip, crop, rotation, and up to three changes of blur, noise and colour; it heeds no setting."""
    from src.batches.custom import Custom

    return Custom()


def autoaugment(settings: "AugmentSettings") -> v2.Transform:
    """One of 25 pairs of operations that a search found for ImageNet.

    E. D. Cubuk et al., AutoAugment, 2018, arXiv:1805.09501. What moves in from outside is black, as padding
    is; in the authors' code it is grey.
    """
    return v2.AutoAugment(interpolation=BILINEAR)


def randaugment(settings: "AugmentSettings") -> v2.Transform:
    """`num_ops` random operations of strength `magnitude`, padded with black.

    E. D. Cubuk et al., RandAugment, 2019, arXiv:1909.13719.
    """
    return v2.RandAugment(settings.num_ops, settings.magnitude, interpolation=BILINEAR)


def trivialaugment(settings: "AugmentSettings") -> v2.Transform:
    """One random operation of random strength, padded with black.

    S. G. Mueller, F. Hutter, TrivialAugment, 2021, arXiv:2103.10158, in its wide space. It shifts by up to 32
    pixels whatever the size, so that of pictures of 32 nothing may be left.
    """
    return v2.TrivialAugmentWide(interpolation=BILINEAR)


def wrap_pillow(transform: Callable[["AugmentSettings"], Callable[[Image.Image], Image.Image]]) -> Policy:
    """A policy from a transform of Pillow images."""
    return lambda settings, height, width: OnPillow(transform(settings), height, width)


def follow_basis(transform: Callable[["AugmentSettings"], v2.Transform]) -> Policy:
    """A policy from a published transform: the basis, then the transform at the network's input size.

    The recipes put a random crop and a flip before it: padded and shifted by some pixels for pictures of 32,
    resized for photographs. The basis `crop` is the latter, `light` is like the former, `flip` a flip alone.
    """

    def build(settings: "AugmentSettings", height: int, width: int) -> Augment:
        basis = BASES[settings.basis](settings, height, width)
        return v2.Compose([basis, OnPillow(transform(settings), height, width)])

    return build


BASES: dict[str, Policy] = {"flip": wrap_pillow(flip), "light": wrap_pillow(light), "crop": Crop}
POLICIES: dict[str, Policy] = {
    "none": wrap_pillow(lambda settings: v2.Identity()),
    "light": BASES["light"],
    "crop": BASES["crop"],
    "custom": wrap_pillow(custom),
    "autoaugment": follow_basis(autoaugment),
    "randaugment": follow_basis(randaugment),
    "trivialaugment": follow_basis(trivialaugment),
}


@dataclass(frozen=True, kw_only=True)
class AugmentSettings(MixSettings):
    """How training pictures and batches are augmented."""

    policy: Annotated[str, Rule(enum=list(POLICIES))]  # augmentation of single pictures
    basis: Annotated[str, Rule(enum=list(BASES))]  # auto-, rand-, trivialaugment: what comes before them
    min_area: Annotated[float, within("(0, 1]")]  # crop: smallest area, as a share of the picture's
    rotate: Annotated[float, within("[0, 180]")]  # light: largest rotation to either side, in degrees
    shift: Share  # light: largest shift to either side, as a share of width and height
    scale: Annotated[float, within("[0, 1)")]  # light: largest relative change of size, up or down
    flip: Share  # all but none and custom: probability of a horizontal flip
    num_ops: Annotated[int, within("[0, 14]")]  # randaugment: number of operations, applied in sequence
    magnitude: Annotated[int, within("[0, 30]")]  # randaugment: strength of the operations
    erase: Share  # all policies: probability of blacking out a random rectangle
    views: CountOrZero  # augmentations of a picture, used in turn; 0 = a new one in every epoch


def build_augment(settings: AugmentSettings, height: int, width: int) -> Augment:
    """The configured transform of one picture; its output is `height` x `width`."""
    policy = POLICIES[settings.policy](settings, height, width)
    return v2.Compose([policy, Erase(settings.erase)]) if settings.erase else policy


def count_views(settings: AugmentSettings) -> int:
    """How many different pictures the epochs make of one: 1 without augmentation, 0 = one per epoch."""
    return 1 if settings.policy == "none" and not settings.erase else settings.views


def augment_each(
    pictures: np.ndarray, augment: Augment, seed: int, epoch: int, numbers: Sequence[int]
) -> Tensor:
    """The pictures uint8 (N, h, w, 3) augmented, as uint8 (N, 3, H, W) at the network's input size.

    A picture's random numbers depend on the seed, the epoch and its index in the training set, `numbers`
    (N,): not on its batch, the number of workers or earlier draws. Torch's global generator is left
    unchanged.
    """
    augmented = []
    with torch.random.fork_rng(devices=[]):
        for picture, number in zip(pictures, numbers, strict=True):
            seed_generators(CPU, seed, epoch, number)
            augmented.append(augment(picture))
    return torch.from_numpy(np.stack(augmented)).permute(0, 3, 1, 2)
