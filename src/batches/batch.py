"""Batch: what a training step eats, and everything that maps Batch -> Batch.

N pictures in the batch, C classes, H height, W width in pixels.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """Always these three, from the loader to the loss."""

    images: Tensor  # (N, 3, H, W) RGB; uint8 up to the device, then float in [0, 1]
    targets: Tensor  # (N, C) float in [0, 1]
    weights: Tensor  # (N,) float, not below 0

    def rows(self, order: Tensor) -> "Batch":
        """The pictures that `order` (M,) names, in its order."""
        return Batch(*(part[order.to(part.device)] for part in self))

    def to(self, device: torch.device) -> "Batch":
        """The batch on `device`, its images as float in [0, 1]; bytes travel, floats are made there."""
        images, targets, weights = (part.to(device, non_blocking=True) for part in self)
        return Batch(scale_to_unit(images), targets, weights)


def scale_to_unit(images: Tensor) -> Tensor:
    """uint8 images as float in [0, 1], pixels of a channel apart in memory as convolutions like it best."""
    return images.contiguous(memory_format=torch.channels_last).float().div_(255)
