"""Augmentation of single pictures, drawn from (seed, epoch, picture) and from nothing else.

N pictures, H height, W width in pixels of the network's input, h and w of the picture before.
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
from src.ground.kinds import Rule, Share, within
from src.machine.seeding import seed_generators
from src.pictures.letterbox import resize

CPU = torch.device("cpu")
Augment = Callable[[np.ndarray], np.ndarray]  # uint8 (h, w, 3) -> (H, W, 3), the network's size
Policy = Callable[["AugmentSettings", int, int], Augment]  # settings, height, width -> what they ask for


class OnPillow:
    """A transform of torchvision on a picture (h, w, 3), ending at the network's size.

    On Pillow's bytes, which at 32 pixels is twice as fast as on a tensor.
    """

    def __init__(self, transform: Callable[[Image.Image], Image.Image], height: int, width: int):
        self.transform, self.height, self.width = transform, height, width

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        return resize(np.asarray(self.transform(Image.fromarray(pixels))), self.height, self.width)


class Crop:
    """A random part of the picture at the network's size, its ratio changed a little, now and then mirrored.

    C. Szegedy et al., Going Deeper with Convolutions, 2014, arXiv:1409.4842, in torchvision's form: the
    part's area is uniform in [min_area, 1] of the picture's, its ratio's logarithm in that of [3/4, 4/3].
    Torch's resizing of bytes is five times as fast as Pillow's and differs by a grey level here and there.
    """

    def __init__(self, settings: "AugmentSettings", height: int, width: int):
        self.part = v2.RandomResizedCrop((height, width), scale=(settings.min_area, 1.0))
        self.size, self.flip = (height, width), settings.flip

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        whole = torch.from_numpy(pixels).permute(2, 0, 1)
        top, left, height, width = self.part.make_params([whole]).values()
        part = whole[None, :, top : top + height, left : left + width]
        part = part.contiguous(memory_format=torch.channels_last)  # twice as fast as on a view
        if (height, width) != self.size:
            part = F.interpolate(part, self.size, mode="bilinear", antialias=True)
        if torch.rand(()) < self.flip:
            part = part.flip(-1)
        return part[0].permute(1, 2, 0).numpy()


class Erase:
    """A random rectangle made black, with a probability. Z. Zhong et al., 2017, arXiv:1708.04896."""

    def __init__(self, probability: float):
        self.erase = v2.RandomErasing(probability)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        return self.erase(torch.from_numpy(np.array(pixels)).permute(2, 0, 1)).permute(1, 2, 0).numpy()


def light(settings: "AugmentSettings") -> v2.Transform:
    """A small random rotation, shift and change of size on black, now and then a mirror image."""
    affine = v2.RandomAffine(
        degrees=settings.rotate,
        translate=(settings.shift, settings.shift),
        scale=(1 - settings.scale, 1 + settings.scale),
        interpolation=InterpolationMode.BILINEAR,
    )
    return v2.Compose([affine, v2.RandomHorizontalFlip(settings.flip)])


def custom(settings: "AugmentSettings") -> Callable[[Image.Image], Image.Image]:
    """Flip, crop, rotation, and up to three changes of blur, noise and colour."""
    from src.batches.custom import Custom

    return Custom()


def randaugment(settings: "AugmentSettings") -> v2.Transform:
    """`num_ops` random operations of one strength. E. D. Cubuk et al., 2019, arXiv:1909.13719."""
    return v2.RandAugment(settings.num_ops, settings.magnitude)


def wrap_pillow(transform: Callable[["AugmentSettings"], Callable[[Image.Image], Image.Image]]) -> Policy:
    """A policy out of a transform of Pillow's pictures."""
    return lambda settings, height, width: OnPillow(transform(settings), height, width)


POLICIES: dict[str, Policy] = {
    "none": wrap_pillow(lambda settings: v2.Identity()),
    "light": wrap_pillow(light),
    "crop": Crop,
    "custom": wrap_pillow(custom),
    "autoaugment": wrap_pillow(lambda settings: v2.AutoAugment()),  # arXiv:1805.09501, ImageNet's policy
    "randaugment": wrap_pillow(randaugment),
    "trivialaugment": wrap_pillow(lambda settings: v2.TrivialAugmentWide()),  # arXiv:2103.10158
}


@dataclass(frozen=True, kw_only=True)
class AugmentSettings(MixSettings):
    """What happens to a picture before the network sees it; what happens to batches is mixing's."""

    policy: Annotated[str, Rule(enum=list(POLICIES))]  # which augmentation
    min_area: Annotated[float, within("(0, 1]")]  # of crop: smallest share of the picture's area
    rotate: Annotated[float, within("[0, 180]")]  # of light: degrees to either side
    shift: Share  # of light: share of width and of height to either side
    scale: Annotated[float, within("[0, 1)")]  # of light: share by which a picture grows or shrinks
    flip: Share  # of light and crop: probability of a mirror image
    num_ops: Annotated[int, within("[0, 14]")]  # of randaugment: operations one after the other
    magnitude: Annotated[int, within("[0, 30]")]  # of randaugment
    erase: Share  # of all policies: probability that a random rectangle is made black


def build_augment(settings: AugmentSettings, height: int, width: int) -> Augment:
    """The transform of one picture that the settings ask for; what comes out is `height` x `width`."""
    policy = POLICIES[settings.policy](settings, height, width)
    return v2.Compose([policy, Erase(settings.erase)]) if settings.erase else policy


def augment_each(
    pictures: np.ndarray, augment: Augment, seed: int, epoch: int, numbers: Sequence[int]
) -> Tensor:
    """Every picture of uint8 (N, h, w, 3) augmented, as uint8 (N, 3, H, W) in the network's size.

    The random numbers of a picture are drawn from the seed, the epoch and its place in the training set,
    `numbers` (N,): not from its batch, the number of workers or what was drawn before. Torch's own generator
    is left as it was.
    """
    augmented = []
    with torch.random.fork_rng(devices=[]):
        for picture, number in zip(pictures, numbers, strict=True):
            seed_generators(CPU, seed, epoch, number)
            augmented.append(augment(picture))
    return torch.from_numpy(np.stack(augmented)).permute(0, 3, 1, 2)
