"""The policy `custom`: flip, crop, rotate, then up to three of eight changes of blur, noise and colour.

The numbers below define the policy, so they are not settings: it flips half of the time, whatever
`augment.flip` is. H height, W width in pixels.
"""

from collections.abc import Callable

import torch
from kornia.filters import bilateral_blur, box_blur, motion_blur
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

Operation = Callable[[Tensor], Tensor]
MOST = 3  # changes per picture
LIKELY = 0.8  # probability that a chosen change is applied


class Custom:
    """Maps a picture to one of the same size; every random number comes from torch's generator."""

    def __call__(self, picture: Image.Image) -> Image.Image:
        image = F.pil_to_tensor(picture)  # uint8 (3, H, W)
        for operation in (flip, crop, rotate):
            if draw_chance(0.5):
                image = operation(image)
        for number in torch.randperm(len(CHANGES))[: draw_whole(0, MOST)].tolist():
            if draw_chance(LIKELY):
                image = CHANGES[number](image)
        return F.to_pil_image(image)


def draw_chance(probability: float) -> bool:
    return bool(torch.rand(()) < probability)


def draw_between(low: float, high: float) -> float:
    """A number in [low, high)."""
    return low + (high - low) * torch.rand(()).item()


def draw_whole(low: int, high: int) -> int:
    """An integer in [low, high]."""
    return int(torch.randint(low, high + 1, ()))


def draw_odd(low: int, high: int) -> int:
    """An odd integer in [low, high]; both bounds must be odd."""
    return 2 * draw_whole(low // 2, high // 2) + 1


def flip(image: Tensor) -> Tensor:
    """The picture flipped horizontally."""
    return F.horizontal_flip(image)


def crop(image: Tensor) -> Tensor:
    """The picture with 0 to 10 % cut off each side, resized to its original size."""
    height, width = image.shape[-2:]
    top, bottom = (round(draw_between(0, 0.1) * height) for _ in range(2))
    left, right = (round(draw_between(0, 0.1) * width) for _ in range(2))
    return F.resized_crop(image, top, left, height - top - bottom, width - left - right, [height, width])


def rotate(image: Tensor) -> Tensor:
    """The picture rotated by up to 20 degrees to either side, padded with black."""
    return F.rotate(image, draw_between(-20, 20), InterpolationMode.BILINEAR)


def soften(image: Tensor) -> Tensor:
    """Gaussian blur with sigma 0 to 2, or a box blur of 1 to 5 pixels."""
    if draw_chance(0.5):
        sigma = max(draw_between(0, 2), 0.01)
        return F.gaussian_blur(image, [2 * round(3 * sigma) + 1] * 2, [sigma] * 2)
    side = draw_whole(1, 5)
    return apply_on_floats(image, lambda floats: box_blur(floats, (side, side)))


def smear(image: Tensor) -> Tensor:
    """Motion blur of 3 to 11 pixels at any angle, or a bilateral filter of 1 to 5 pixels."""
    if draw_chance(0.5):
        length, angle = draw_odd(3, 11), draw_between(0, 360)
        return apply_on_floats(image, lambda floats: motion_blur(floats, length, angle, direction=0.0))
    side = 2 * (draw_whole(1, 5) // 2) + 1  # the filter's size must be odd: even ones are rounded up
    colour, space = draw_between(10, 250) / 255, draw_between(10, 250)
    return apply_on_floats(image, lambda floats: bilateral_blur(floats, side, colour, (space, space)))


def add_noise(image: Tensor) -> Tensor:
    """Salt-and-pepper noise on up to 3 % of the pixels, or Gaussian noise, sigma up to 0.05 of the range."""
    if draw_chance(0.5):
        draws, share = torch.rand(image.shape[-2:]), draw_between(0, 0.03)
        image = image.masked_fill(draws < share / 2, 0)
        return image.masked_fill(draws > 1 - share / 2, 255)
    sigma = draw_between(0, 0.05)
    return apply_on_floats(image, lambda floats: floats + sigma * torch.randn_like(floats))


def change_contrast(image: Tensor) -> Tensor:
    """Contrast times 0.6 to 1.4 around mid-grey, half of the time separately for each channel."""
    channels = 3 if draw_chance(0.5) else 1
    factors = torch.tensor([draw_between(0.6, 1.4) for _ in range(channels)]).view(-1, 1, 1)
    return apply_on_floats(image, lambda floats: (floats - 0.5) * factors + 0.5)


def sharpen(image: Tensor) -> Tensor:
    """Sharpness times 1 to 2."""
    return F.adjust_sharpness(image, draw_between(1, 2))


def change_brightness(image: Tensor) -> Tensor:
    """Up to 30 levels added or subtracted, or brightness times 0.5 to 1.5."""
    if draw_chance(0.5):
        change = draw_between(-30, 30) / 255
        return apply_on_floats(image, lambda floats: floats + change)
    return F.adjust_brightness(image, draw_between(0.5, 1.5))


def change_saturation(image: Tensor) -> Tensor:
    """Saturation times 0.5 to 1.5."""
    return F.adjust_saturation(image, draw_between(0.5, 1.5))


def turn_hue(image: Tensor) -> Tensor:
    """Hue shifted by up to a twentieth of the colour circle to either side."""
    return F.adjust_hue(image, draw_between(-0.05, 0.05))


CHANGES = (soften, smear, add_noise, change_contrast, sharpen, change_brightness, change_saturation, turn_hue)


def apply_on_floats(image: Tensor, change: Operation) -> Tensor:
    """`change` applied to the picture as float (1, 3, H, W) in [0, 1], rounded back to uint8 (3, H, W)."""
    changed = change(image[None].float() / 255)[0]
    return (changed.clamp(0, 1) * 255).round().to(torch.uint8)
