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
        losses, right = self.predict(model, before_batch).T.contiguous()
        return right.double().mean().item(), losses.mean().item()

    def predict(self, model: nn.Module, before_batch: Callable[[], None]) -> Tensor:
        """The loss of each picture, and 1 if it is taken for its class, else 0: (N, 2), on the CPU.

        The logits of a batch are used and forgotten. Calls `before_batch` before each batch.
        """
        pictures, size = self.pictures, self.batch_size
        return predict_logits(model, pictures, size, self.device, before_batch, self.compare)

    def compare(self, start: int, logits: Tensor) -> Tensor:
        """The same of the pictures from `start` on, by their logits (n, C)."""
        targets = torch.from_numpy(self.targets[start : start + len(logits)])
        losses = self.base.terms(logits, targets).sum(dim=1)
        return torch.stack([losses, logits.argmax(dim=1) == targets.argmax(dim=1)], dim=1)
