"""A training as one value: what is trained, on what, how it is evaluated, and with which settings.

N pictures, C classes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from src.batches.data import TrainingSet
from src.ground.files import sha256, sha256_of
from src.losses.loss import Loss
from src.networks.checkpoint import Facts
from src.networks.network import Network
from src.pictures.manifest import manifest_path
from src.training.settings import TrainingSettings
from src.training.validation import Validation


@dataclass(frozen=True, kw_only=True)
class Job:
    """Everything that `fit` needs."""

    network: Network
    loss: Loss
    data: TrainingSet
    validation: Validation
    classes: tuple[str, ...]  # (C,)
    settings: TrainingSettings
    device: torch.device
    key: str  # the section of params.yaml, for messages

    def facts(self, params: Any) -> Facts:
        """The facts of the weights; `params` are all settings that determined them, as a JSON value."""
        _, height, width, _ = self.validation.pictures.shape
        pretrained, normalize = self.settings.pretrained, self.network.normalize
        return Facts(
            arch=self.settings.arch,
            base=self.loss.base.name,
            classes=self.classes,
            height=height,
            width=width,
            mean=tuple(normalize.mean.flatten().tolist()),
            std=tuple(normalize.std.flatten().tolist()),
            pretrained=sha256(Path(pretrained)) if Path(pretrained).is_file() else pretrained,
            data=sha256_of([sha256(manifest_path(split)) for split in ("train", "val")]),
            params=sha256_of(params),
        )
