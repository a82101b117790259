"""The network as it ships: uint8 images in, probabilities out, and the facts that go into every file.

N pictures, C classes, H height, W width in pixels.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from src.batches.batch import scale_to_unit
from src.export.settings import PictureRule
from src.losses.bases import Base
from src.networks.checkpoint import Facts
from src.networks.network import Network
from src.pictures.fitting import FITS
from src.results.calibration import Calibration


class Deployed(nn.Module):
    """uint8 RGB images (N, 3, H, W) -> probabilities (N, C), with normalisation and temperature."""

    def __init__(self, model: Network, base: Base, temperature: float):
        super().__init__()
        self.model = nn.Sequential(model.normalize, model.net)  # the file would name our own class
        self.base = base
        self.temperature = temperature

    def forward(self, images: Tensor) -> Tensor:
        logits = self.model(scale_to_unit(images))
        return self.base.probs(logits if self.temperature == 1 else logits / self.temperature)


Deployed.__module__ = "src.export"  # is written into the file: moving the class must not change its bytes


class Seen(NamedTuple):
    """Pictures by which weights and maps are quantised, n of train and m of val."""

    train: np.ndarray  # uint8 (n, H, W, 3); their maps have the ranges that are kept
    val: np.ndarray  # uint8 (m, H, W, 3)
    labels: np.ndarray  # (m,) of val
    max_drop: float  # of the accuracy on val, in [0, 1]


@dataclass(frozen=True, eq=False)
class Product:
    """The student, and all that a file says of it."""

    model: Network
    base: Base
    facts: Facts
    rule: PictureRule
    calibration: Calibration
    student: str  # SHA-256 of its weights file
    seen: Callable[[], Seen]  # for whoever quantises

    @cached_property
    def deployed(self) -> Deployed:
        """The student in evaluation mode, on the CPU."""
        return Deployed(self.model.cpu(), self.base, self.calibration.temperature).eval()

    @property
    def example(self) -> Tensor:
        """Black images (2, 3, H, W): a batch of one would be taken for a constant."""
        return torch.zeros(2, 3, self.facts.height, self.facts.width, dtype=torch.uint8)

    @property
    def about(self) -> str:
        """The text that every file holds as facts.json.

        Classes in the order of the probabilities, height and width of the input in pixels, how a picture
        fills it (by the name of the fit, the rule in words), the picture rule, how logits become
        probabilities (softmax or bce), the temperature that they are at, the confidence (the largest
        probability over the sum of all) below which the network is unsure, the architecture, and the SHA-256
        of the weights.
        """
        facts = self.facts
        about = {
            "classes": facts.classes,
            "height": facts.height,
            "width": facts.width,
            facts.fit: FITS[facts.fit].rule,
            "pictures": asdict(self.rule),
            "base": facts.base,
            "calibration": asdict(self.calibration),
            "arch": facts.arch,
            "student": self.student,
        }
        return json.dumps(about, ensure_ascii=False)
