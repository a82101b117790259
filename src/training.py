"""The training loop and what surrounds it: it knows batches, a loss and hooks, and no feature by name.

N pictures in a batch, C classes.
"""

import copy
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from src.batch import Batch
from src.curves import Curves, Row
from src.data import TrainingSet
from src.errors import UserError
from src.losses import Base, Loss
from src.optim import build_optimizer, build_schedule
from src.params import require
from src.predict import predict_logits


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What the training of a teacher and of a student have in common."""

    arch: str  # torchvision's name, or timm/NAME
    pretrained: str  # none, default (the library's weights) or the path of a safetensors file
    epochs: int
    batch_size: int  # pictures
    optimizer: str  # a name in OPTIMIZERS
    lr: float  # the peak; a schedule's factors multiply it
    weight_decay: float  # not applied to biases and norms
    schedule: str  # step or onecycle
    warmup: int  # epochs
    warmup_factor: float  # of lr during the warm-up of step
    step_factors: tuple[float, ...]  # of lr after the warm-up of step
    step_epochs: tuple[int, ...]  # where the next factor begins; empty = 1.5/4, 2.5/4, 3.5/4 of the rest

    def __post_init__(self) -> None:
        require(self.warmup < self.epochs, "warmup must be below epochs", f"{self.warmup} and {self.epochs}")
        rising = list(self.step_epochs) == sorted(set(self.step_epochs))
        require(rising, "step_epochs must rise", list(self.step_epochs))
        if self.step_epochs or self.schedule == "step":
            falls = len(self.step_epochs or (1, 2, 3))
            factors = f"{len(self.step_factors)} factors and {falls} epochs"
            require(
                len(self.step_factors) == falls + 1, "step_factors must be one more than step_epochs", factors
            )


@dataclass(frozen=True)
class Training:
    """All that one step needs."""

    model: nn.Module  # images (N, 3, H, W) in [0, 1] -> logits (N, C)
    loss: nn.Module  # (logits, targets, weights) -> scalar
    optimizer: torch.optim.Optimizer
    transforms: list[Callable[[Batch], Batch]]  # on the device, before the model
    after_step: list[Callable[[], None]]
    device: torch.device


def train_epoch(run: Training, batches: Iterable[Batch]) -> Tensor:
    """One pass over `batches`; returns the loss of each step, (steps,)."""
    run.model.train()
    losses = []
    for batch in batches:
        batch = batch.to(run.device)
        for transform in run.transforms:
            batch = transform(batch)
        loss = run.loss(run.model(batch.images), batch.targets, batch.weights)
        run.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        run.optimizer.step()
        for hook in run.after_step:
            hook()
        losses.append(loss.detach())  # .item() here would wait for the GPU at every step
    return torch.stack(losses).cpu()


@dataclass
class Best:
    """The weights of the epoch with the highest accuracy on val, of equal ones that with the lowest loss."""

    epoch: int = 0  # from 1
    accuracy: float = -1.0  # in [0, 1]
    loss: float = float("inf")
    state: dict[str, Tensor] = field(default_factory=dict)

    def offer(self, epoch: int, accuracy: float, loss: float, model: nn.Module) -> None:
        """Keep a copy of the model's weights if they are better than those kept."""
        if (accuracy, -loss) > (self.accuracy, -self.loss):
            self.epoch, self.accuracy, self.loss = epoch, accuracy, loss
            self.state = copy.deepcopy(model.state_dict())

    def metrics(self) -> dict[str, float | dict[str, float]]:
        """What goes into the metrics file."""
        return {"val": {"accuracy": self.accuracy, "loss": self.loss}, "best_epoch": self.epoch}


@dataclass(frozen=True)
class Validation:
    """Measures a model on the validation pictures."""

    pack: np.ndarray  # uint8 (N, H, W, 3)
    targets: np.ndarray  # one-hot (N, C)
    base: Base
    batch_size: int
    device: torch.device

    def measure(self, model: nn.Module) -> tuple[float, float]:
        """Accuracy in [0, 1], and the mean loss of the base against the labels."""
        logits = predict_logits(model, self.pack, self.batch_size, self.device)
        targets = torch.from_numpy(self.targets)
        loss = Loss(self.base, [])(logits, targets, torch.ones(len(targets)))
        return (logits.argmax(dim=1) == targets.argmax(dim=1)).double().mean().item(), loss.item()


def fit(
    model: nn.Module,
    loss: nn.Module,
    data: TrainingSet,
    validation: Validation,
    settings: TrainingSettings,
    curves: Curves,
    key: str,
) -> Best:
    """Train for all epochs and leave the best weights in the model; `key` is its section of params.yaml."""
    steps = len(data.pack) // settings.batch_size
    if not steps:
        raise UserError(
            f"params.yaml: {key}.batch_size: must be at most the {len(data.pack)} training pictures, "
            f"got {settings.batch_size}"
        )
    model.to(validation.device)
    optimizer = build_optimizer(settings.optimizer, model, settings.lr, settings.weight_decay)
    factor = build_schedule(
        settings.schedule,
        settings.epochs,
        settings.warmup,
        settings.warmup_factor,
        settings.step_factors,
        settings.step_epochs,
    )
    schedule = LambdaLR(optimizer, lambda step: factor(step / steps))
    run = Training(model, loss.to(validation.device), optimizer, [], [schedule.step], validation.device)
    best, began = Best(), time.monotonic()
    for epoch in range(1, settings.epochs + 1):
        title = f"epoch {epoch}/{settings.epochs}"
        losses = train_epoch(run, tqdm(data.epoch(epoch), title, steps, leave=False, disable=None))
        check_finite(losses, epoch, key)
        accuracy, val_loss = validation.measure(model)
        best.offer(epoch, accuracy, val_loss, model)
        row = Row(epoch, settings.lr * factor(epoch - 1), losses.mean().item(), val_loss, accuracy)
        curves.add(row)
        left = (time.monotonic() - began) / epoch * (settings.epochs - epoch)
        print(
            f"{title}: loss {row.train_loss:.4f}, val loss {val_loss:.4f}, val accuracy {accuracy:.4f} "
            f"(best {best.accuracy:.4f} in epoch {best.epoch}), {tqdm.format_interval(left)} left",
            flush=True,
        )
    model.load_state_dict(best.state)
    return best


def check_finite(losses: Tensor, epoch: int, key: str) -> None:
    """Stop at a loss (steps,) that is not finite, before it reaches the best weights or the curves."""
    broken = (~losses.isfinite()).nonzero()
    if len(broken):
        step = int(broken[0])
        raise UserError(
            f"params.yaml: {key}.lr: the loss became {losses[step].item()} in step {step + 1} of epoch "
            f"{epoch} (a lower lr or a longer warmup mostly helps)"
        )
