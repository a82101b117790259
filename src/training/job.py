"""A training as one value: what is trained, on what, how it is evaluated, and with which settings.

N pictures, C classes.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from src.batches.data import TrainingSet
from src.ground.files import sha256_of
from src.losses.loss import Loss
from src.machine.runtime import describe_device
from src.networks.checkpoint import Facts
from src.networks.network import Network
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
    manifests: str  # SHA-256 of those of train and val, as they were read
    fit: str  # how the pictures fill the input
    key: str  # the section of params.yaml, for messages
    head: nn.Module | None = None  # its classifier, if that is trained alone on features as data

    @property
    def trained(self) -> nn.Module:
        """The part of the network that takes the data's images: all of it, or its classifier."""
        return self.network if self.head is None else self.head

    def facts(self, params: Any) -> Facts:
        """The facts of the weights; `params` are all settings that determined them, as a JSON value."""
        _, height, width, _ = self.validation.pictures.shape
        normalize = self.network.normalize
        return Facts(
            arch=self.settings.arch,
            base=self.loss.base.name,
            classes=self.classes,
            height=height,
            width=width,
            mean=tuple(normalize.mean.flatten().tolist()),
            std=tuple(normalize.std.flatten().tolist()),
            pretrained=self.network.pretrained,
            data=self.manifests,
            params=sha256_of(params),
            device=describe_device(self.device),
            fit=self.fit,
        )
