"""Augmented pictures as an array. M pictures, H height, W width in pixels."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from src.batches.augment import Augment, AugmentSettings, augment_each, build_augment
from src.pictures.reading import Pictures

NO_MIXING = dict(mixup=0.0, cutmix=0.0, multi_scale=0.0, train_scales=(1.0,), size_divisor=1, views=0)


class View:
    """The pictures `rows` (M,) as an epoch `view` sees them, uint8 (M, H, W, 3), augmented on access."""

    def __init__(
        self,
        pictures: Pictures,
        augment: Augment,
        seed: int,
        view: int,
        rows: np.ndarray,
        size: tuple[int, int],
    ):
        self.pictures, self.augment, self.seed, self.view, self.rows = pictures, augment, seed, view, rows
        self.shape = (len(rows), *size, 3)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, part: slice | np.ndarray | list[int]) -> np.ndarray:
        numbers = self.rows[part].tolist()
        images = augment_each(self.pictures[numbers], self.augment, self.seed, self.view, numbers)
        return images.permute(0, 2, 3, 1).cpu().numpy()


def list_views(
    pictures: Pictures,
    augment: Mapping[str, Any],
    seed: int,
    count: int,
    size: tuple[int, int],
    device: torch.device,
) -> list[View]:
    """The first `count` views of all pictures, by the settings of augment that are of single pictures.

    They are computed on the device, where a training on it sees the same to the last bit.
    """
    settings = AugmentSettings(**{**NO_MIXING, **augment})
    rows, build = np.arange(len(pictures)), build_augment(settings, *size, device)
    return [View(pictures, build, seed, view, rows, size) for view in range(1, count + 1)]
