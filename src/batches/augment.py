"""Augmentation of pictures, with random numbers that depend only on (seed, epoch, picture).

n pictures of a batch, H height, W width in pixels of the network's input, h and w of the pictures before
augmentation. A policy is either a map of a whole batch at once, which a GPU computes if there is one, or
works on Pillow images, one by one, in the processes that load.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from src.batches.mixing import MixSettings
from src.batches.warp import Affine, Crop, Erase, Flip, Warp
from src.ground.kinds import CountOrZero, Rule, Share, within
from src.machine.seeding import derive_seeds
from src.pictures.fitting import resize

CPU = torch.device("cpu")
Transform = Callable[[Image.Image], Image.Image]
Single = Callable[[np.ndarray], np.ndarray]  # a picture uint8 (h, w, 3) -> (H, W, 3)


class Augment(Protocol):
    """Pictures uint8 (n, h, w, 3) -> images uint8 (n, 3, H, W), in two steps.

    A picture's random numbers depend on the seed, the epoch and its index in the training set, `numbers`
    (n,): not on its batch, the number of workers or earlier draws. Torch's global generator is left
    unchanged.
    """

    def start(self, pictures: np.ndarray, seed: int, epoch: int, numbers: Sequence[int]) -> list[Tensor]:
        """What a process that loads computes, on the CPU: everything, but for what a GPU is to do."""
        ...

    def finish(self, parts: list[Tensor]) -> Tensor:
        """The images, from what `start` returned: on a GPU if that is to compute them."""
        ...


class Together:
    """Maps a batch at once, on `device`: a GPU gets the pictures as they are, and what was drawn for each."""

    def __init__(self, warps: Sequence[Warp], height: int, width: int, device: torch.device):
        self.warps, self.size, self.device = warps, (height, width), device

    def start(self, pictures: np.ndarray, seed: int, epoch: int, numbers: Sequence[int]) -> list[Tensor]:
        sizes = pictures.shape[1:3], self.size  # of what the first one maps, and the second one
        drawn = [
            [warp.draw(*size) for warp, size in zip(self.warps, sizes, strict=False)]
            for _ in seed_each(seed, epoch, numbers)
        ]
        maps = [torch.tensor(column, dtype=torch.float64) for column in zip(*drawn, strict=True)]
        parts = [torch.from_numpy(pictures), *maps]
        return [self.map(*parts)] if self.device.type == "cpu" else parts

    def finish(self, parts: list[Tensor]) -> Tensor:
        if self.device.type == "cpu":
            return parts[0]
        return self.map(*(part.to(self.device, non_blocking=True) for part in parts))

    def map(self, pictures: Tensor, *maps: Tensor) -> Tensor:
        for warp, drawn in zip(self.warps, maps, strict=True):
            pictures = warp.apply(pictures, drawn)
        return pictures.permute(0, 3, 1, 2)


class OneByOne:
    """Transforms each picture alone, on the CPU."""

    def __init__(self, *transforms: Single):
        self.transforms = transforms

    def start(self, pictures: np.ndarray, seed: int, epoch: int, numbers: Sequence[int]) -> list[Tensor]:
        each = zip(pictures, seed_each(seed, epoch, numbers), strict=True)
        augmented = [self.transform(picture) for picture, _ in each]
        return [torch.from_numpy(np.stack(augmented)).permute(0, 3, 1, 2)]

    def finish(self, parts: list[Tensor]) -> Tensor:
        return parts[0]

    def transform(self, picture: np.ndarray) -> np.ndarray:
        for transform in self.transforms:
            picture = transform(picture)
        return picture


class Resize:
    """A picture at the network's input size, by Pillow as those of val."""

    def __init__(self, height: int, width: int):
        self.size = height, width

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        return resize(pixels, *self.size)


class OnPillow:
    """A transform of Pillow images, on which torchvision's run twice as fast at 32 pixels as on tensors."""

    def __init__(self, transform: Transform):
        self.transform = transform

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        return np.asarray(self.transform(Image.fromarray(pixels)))


class Alone:
    """A map of batches for a single picture."""

    def __init__(self, warp: Warp):
        self.warp = warp

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        drawn = torch.tensor([self.warp.draw(*pixels.shape[:2])], dtype=torch.float64)
        return self.warp.apply(torch.from_numpy(np.array(pixels))[None], drawn)[0].numpy()


def flip(settings: "AugmentSettings", height: int, width: int) -> Warp:
    """A random horizontal flip."""
    return Flip(settings.flip, height, width)


def light(settings: "AugmentSettings", height: int, width: int) -> Warp:
    """A small random rotation, shift and scaling, padded with black, then a random horizontal flip."""
    return Affine(settings.rotate, settings.shift, settings.scale, settings.flip, height, width)


def crop(settings: "AugmentSettings", height: int, width: int) -> Warp:
    """A random crop, resized, then a random horizontal flip."""
    return Crop(settings.min_area, settings.flip, height, width)


def custom(settings: "AugmentSettings") -> Transform:
    """Flip, crop, rotation, and up to three changes of blur, noise and colour; it heeds no setting."""
    from src.batches.custom import Custom

    return Custom()


def autoaugment(settings: "AugmentSettings") -> Transform:
    """One of 25 pairs of operations that a search found for ImageNet.

    E. D. Cubuk et al., AutoAugment, 2018, arXiv:1805.09501. What moves in from outside is black, as padding
    is; in the authors' code it is grey.
    """
    from torchvision.transforms import InterpolationMode, v2

    return v2.AutoAugment(interpolation=InterpolationMode.BILINEAR)


def randaugment(settings: "AugmentSettings") -> Transform:
    """`num_ops` random operations of strength `magnitude`, padded with black.

    E. D. Cubuk et al., RandAugment, 2019, arXiv:1909.13719.
    """
    from torchvision.transforms import InterpolationMode, v2

    bilinear = InterpolationMode.BILINEAR
    return v2.RandAugment(settings.num_ops, settings.magnitude, interpolation=bilinear)


def trivialaugment(settings: "AugmentSettings") -> Transform:
    """One random operation of random strength, padded with black.

    S. G. Mueller, F. Hutter, TrivialAugment, 2021, arXiv:2103.10158, in its wide space. It shifts by up to 32
    pixels whatever the size, so that of pictures of 32 nothing may be left.
    """
    from torchvision.transforms import InterpolationMode, v2

    return v2.TrivialAugmentWide(interpolation=InterpolationMode.BILINEAR)


WARPS = {"light": light, "crop": crop}
BASES = {"flip": flip, **WARPS}
# The published recipes crop at random and flip before the rest: pictures of 32 padded and shifted by some
# pixels, photographs resized. The basis `crop` is the latter, `light` is like the former.
ON_PILLOW = {"custom": custom}
PUBLISHED = {"autoaugment": autoaugment, "randaugment": randaugment, "trivialaugment": trivialaugment}
POLICIES = ("none", *WARPS, *ON_PILLOW, *PUBLISHED)


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


def build_augment(settings: AugmentSettings, height: int, width: int, device: torch.device = CPU) -> Augment:
    """The configured augmentation, to images of `height` x `width`; a GPU as `device` does what it can."""
    erase: list[Warp] = [Erase(settings.erase)] if settings.erase else []
    if settings.policy in WARPS:
        return Together([WARPS[settings.policy](settings, height, width), *erase], height, width, device)
    steps = build_steps(settings, height, width)
    return OneByOne(*steps, *map(Alone, erase))


def build_steps(settings: AugmentSettings, height: int, width: int) -> list[Single]:
    """The transforms of a single picture by a policy that is no map of batches."""
    if settings.policy in PUBLISHED:
        basis = BASES[settings.basis](settings, height, width)
        return [Alone(basis), OnPillow(PUBLISHED[settings.policy](settings))]
    if settings.policy in ON_PILLOW:
        return [OnPillow(ON_PILLOW[settings.policy](settings)), Resize(height, width)]
    return [Resize(height, width)]


def count_views(settings: AugmentSettings) -> int:
    """How many different pictures the epochs make of one: 1 without augmentation, 0 = one per epoch."""
    return 1 if settings.policy == "none" and not settings.erase else settings.views


def augment_each(
    pictures: np.ndarray, augment: Augment, seed: int, epoch: int, numbers: Sequence[int]
) -> Tensor:
    """The pictures uint8 (n, h, w, 3) augmented, as uint8 (n, 3, H, W); see Augment."""
    return augment.finish(augment.start(pictures, seed, epoch, numbers))


def seed_each(seed: int, epoch: int, numbers: Sequence[int]) -> Iterator[None]:
    """Seeds torch's global generator for each picture in turn, and restores it in the end."""
    with torch.random.fork_rng(devices=[]):
        for one in derive_seeds(seed, epoch, numbers):
            torch.default_generator.manual_seed(one)
            yield
