"""The batch: what the loader yields, transforms map and a training step consumes.

N pictures in the batch, C classes, H height, W width in pixels, F features.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """The same four tensors everywhere, from the loader to the loss.

    Features of the images, (N, F) float, may take their place where a classifier is trained alone.
    """

    images: Tensor  # (N, 3, H, W) RGB; uint8 until the batch is moved to the device, then float in [0, 1]
    targets: Tensor  # (N, C) float in [0, 1], of the labels
    soft: Tensor  # (N, C) float in [0, 1], the teachers' word; the targets if none is heard
    weights: Tensor  # (N,) float, at least 0

    def rows(self, order: Tensor) -> "Batch":
        """The rows with the indices `order` (M,), in that order."""
        if self.images.is_cuda:
            order = order.pin_memory().to(self.images.device, non_blocking=True)
        return Batch(*(part[order] for part in self))

    def to(self, device: torch.device) -> "Batch":
        """The batch on `device`, its images as float in [0, 1]; they are transferred as uint8."""
        images, *others = (part.to(device, non_blocking=True) for part in self)
        return Batch(images if images.is_floating_point() else scale_to_unit(images), *others)


def scale_to_unit(images: Tensor) -> Tensor:
    """uint8 images as float in [0, 1], in the channels-last layout, the fastest one for convolutions."""
    return images.contiguous(memory_format=torch.channels_last).float().div_(255)
