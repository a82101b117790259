"""The accuracy and loss of a network on val, and the best epoch so far by one of them.

N pictures, H height, W width in pixels, C classes.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from src.ground.chunks import list_chunks
from src.losses.bases import Base
from src.networks.predict import predict_logits
from src.pictures.reading import Pictures
from src.teaching.labels import Targets

Select = Literal["loss", "accuracy"]


@dataclass
class Best:
    """The weights of the best epoch on val: that of the lowest loss, or of the highest accuracy.

    Among equals the other one decides, and among equals in both the first epoch.
    """

    select: Select
    epoch: int = 0  # from 1
    accuracy: float = -1.0  # in [0, 1]
    loss: float = float("inf")
    state: dict[str, Tensor] = field(default_factory=dict)
    small_gammas: float | None = None  # share of BatchNorm's scales below SMALL_GAMMA, if slim is on

    def offer(self, epoch: int, accuracy: float, loss: float, model: nn.Module) -> None:
        """Keep a copy of the model's weights if they are better than those kept."""
        if self.rank(accuracy, loss) > self.rank(self.accuracy, self.loss):
            self.epoch, self.accuracy, self.loss = epoch, accuracy, loss
            self.state = copy.deepcopy(model.state_dict())

    def rank(self, accuracy: float, loss: float) -> tuple[float, float]:
        """What is compared, the larger the better; a loss that is no number is the worst."""
        gain = -math.inf if math.isnan(loss) else -loss
        return (gain, accuracy) if self.select == "loss" else (accuracy, gain)

    def metrics(self) -> dict[str, Any]:
        """What goes into the metrics file."""
        slimmed = {} if self.small_gammas is None else {"small_gammas": self.small_gammas}
        return {"val": {"accuracy": self.accuracy, "loss": self.loss}, "best_epoch": self.epoch} | slimmed


@dataclass(frozen=True)
class Validation:
    """Measures a model on the validation pictures."""

    pictures: Pictures  # uint8 (N, H, W, 3)
    targets: Targets  # one-hot (N, C)
    base: Base
    batch_size: int
    device: torch.device

    def measure(
        self, model: nn.Module, before_batch: Callable[[], None] = lambda: None
    ) -> tuple[float, float]:
        """Accuracy in [0, 1], and the base's mean loss against the labels."""
        logits = self.predict(model, before_batch)
        losses, right = [], []
        for rows in list_chunks(*logits.shape):
            targets = torch.from_numpy(self.targets[rows])
            losses.append(self.base.terms(logits[rows], targets).sum(dim=1))
            right.append(logits[rows].argmax(dim=1) == targets.argmax(dim=1))
        return torch.cat(right).double().mean().item(), torch.cat(losses).mean().item()

    def predict(self, model: nn.Module, before_batch: Callable[[], None]) -> Tensor:
        """The logits (N, C) of all pictures, on the CPU; calls `before_batch` before each batch."""
        return predict_logits(model, self.pictures, self.batch_size, self.device, before_batch)
