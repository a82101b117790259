"""The training loop and what surrounds it: it knows batches, a loss and hooks, and no feature by name.

N pictures in a batch, C classes.
"""

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from timm.layers import convert_sync_batchnorm
from timm.optim import Lookahead
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from src.averaging import build_average
from src.batch import Batch
from src.curves import Curves, Row
from src.data import TrainingSet
from src.distributed import all_sum, is_main, rank, share_buffers, world
from src.errors import UserError
from src.freezing import BACKBONE, NOTHING, freeze
from src.losses import Base, Loss
from src.mixing import Transform
from src.optim import build_optimizer, build_schedule
from src.params import require
from src.pictures import Pictures
from src.predict import predict_logits
from src.pretrained import ANY_FILE, LIBRARY_WEIGHTS, NO_WEIGHTS
from src.resume import State
from src.runtime import seed_generators
from src.stopping import Stop

BATCH_NORM = nn.modules.batchnorm._BatchNorm
SMALL_GAMMA = 1e-2  # a channel whose scale is below it can be cut out


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What the training of a teacher and of a student have in common."""

    arch: str  # torchvision's name, or timm/NAME
    pretrained: str  # none, default (the library's weights) or the path of a file
    pretrained_sha256: str  # any, or what the file must have
    freeze: str | int  # none, backbone (all but the classifier), or how many groups of layers
    bn_momentum: str | float  # of a batch in BatchNorm's running averages, or library: the network's own
    epochs: int
    batch_size: int  # pictures
    optimizer: str  # of torch.optim, timm.optim or names.MAPPED
    lr: float  # the peak; a schedule's factors multiply it
    weight_decay: float  # not applied to biases and norms
    layer_decay: float  # of lr from a layer to the one below it; 1 = off
    head_lr_mult: float  # times lr, for the classifier
    clip: float  # largest norm of the gradient; 0 = off
    accumulate: int  # batches whose gradients make one step
    ema: float  # decay of the moving average of the weights, in [0, 1); 0 = off
    swa: int  # last epochs whose weights are averaged; 0 = off
    slim: float  # factor of the sum of |gamma| of all BatchNorms that is added to the loss; 0 = off
    precision: str  # of a GPU's forward pass: float32, bfloat16 or float16; a CPU's is float32
    sync_batchnorm: bool  # BatchNorm over the pictures of all processes; on GPUs only
    patience: int  # epochs without a better one after which training ends; 0 = off
    prior: str | dict[str, float]  # of an untrained network: none, uniform, or class -> probability
    label_smoothing: float  # share of the label that goes to all classes alike
    class_weights: str | dict[str, float]  # none, balanced, or class -> weight, 1 for the rest
    focal_gamma: float  # power of |target - probability| that a loss term is multiplied by; 0 = off
    schedule: str  # step, cosine or onecycle
    warmup: int  # epochs
    warmup_factor: float  # of lr during the warm-up of step, at its start for cosine
    step_factors: tuple[float, ...]  # of lr after the warm-up of step
    step_epochs: tuple[int, ...]  # where the next factor begins; empty = 1.5/4, 2.5/4, 3.5/4 of the rest

    def __post_init__(self) -> None:
        require(self.warmup < self.epochs, "warmup must be below epochs", f"{self.warmup} and {self.epochs}")
        require(
            self.pretrained_sha256 == ANY_FILE or self.pretrained not in (NO_WEIGHTS, LIBRARY_WEIGHTS),
            "pretrained_sha256 must be any where pretrained is no file",
            f"pretrained {self.pretrained}",
        )
        require(self.swa < self.epochs, "swa must be below epochs", f"{self.swa} and {self.epochs}")
        for name, value in (("ema", self.ema), ("patience", self.patience)):
            require(
                not (value and self.swa), f"{name} and swa: one of them must be 0", f"{value} and {self.swa}"
            )
        require(
            not self.swa or self.freeze in (NOTHING, BACKBONE),
            "swa renews every BatchNorm, so freeze must be none or backbone with it",
            self.freeze,
        )
        rising = list(self.step_epochs) == sorted(set(self.step_epochs))
        require(rising, "step_epochs must rise", list(self.step_epochs))
        last = max(self.step_epochs, default=0)
        require(last < self.epochs, "step_epochs must be below epochs", f"{last} and {self.epochs}")
        if self.step_epochs or self.schedule == "step":
            falls = len(self.step_epochs or (1, 2, 3))
            factors = f"{len(self.step_factors)} factors and {falls} epochs"
            require(
                len(self.step_factors) == falls + 1, "step_factors must be one more than step_epochs", factors
            )


@dataclass(frozen=True)
class Training:
    """All that one step needs."""

    model: nn.Module  # images (N, 3, H, W) in [0, 1] -> logits (N, C); averages gradients over processes
    loss: nn.Module  # (logits, targets, weights) -> scalar
    optimizer: torch.optim.Optimizer
    device: torch.device
    transforms: list[Transform]  # on the device, before the model
    penalties: list[Callable[[], Tensor]]  # added to the loss
    before_epoch: list[Callable[[], Any]]  # with the model in training mode
    before_step: list[Callable[[], None]]  # with the gradients there
    after_step: list[Callable[[], None]]
    after_epoch: list[Callable[[], None]]  # before the model is measured
    accumulate: int  # batches whose gradients make one step
    precision: torch.dtype  # of the forward pass; float32 = no autocast

    @cached_property
    def scaler(self) -> torch.amp.GradScaler:
        """Keeps float16 gradients from vanishing; does nothing at another precision."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision is torch.float16)


def train_epoch(
    run: Training, batches: Iterable[Batch], seed: Sequence[int], losses: list[Tensor] | None = None
) -> Tensor:
    """One pass over `batches`; returns the loss of each, (batches,), its mean over all processes.

    Batch n, from 1, draws from generators seeded by (*seed, n), and inside the network by the process's
    number, and from nothing else. `losses` holds those of the batches that are done and grows by each one.
    """
    run.model.train()
    for hook in run.before_epoch:
        hook()
    losses = [] if losses is None else losses
    for number, batch in enumerate(batches, len(losses) + 1):
        batch, generator = batch.to(run.device), np.random.default_rng([*seed, number])
        seed_generators(run.device, *seed, number, rank())
        for transform in run.transforms:
            batch = transform(batch, generator)
        with torch.autocast(run.device.type, run.precision, enabled=run.precision is not torch.float32):
            logits = run.model(batch.images)
        loss = run.loss(logits.float(), batch.targets, batch.weights)
        penalised = sum((penalty() for penalty in run.penalties), loss)
        if (number - 1) % run.accumulate == 0:
            run.optimizer.zero_grad(set_to_none=True)
        run.scaler.scale(penalised / run.accumulate).backward()
        losses.append(loss.detach())  # .item() here would wait for the GPU at every step
        if number % run.accumulate == 0:
            run.scaler.unscale_(run.optimizer)
            for hook in run.before_step:
                hook()
            run.scaler.step(run.optimizer)
            run.scaler.update()
            for hook in run.after_step:
                hook()
    for hook in run.after_epoch:
        hook()
    return all_sum(torch.stack(losses).cpu()) / world()


@dataclass
class Best:
    """The weights of the epoch with the highest accuracy on val, of equal ones that with the lowest loss."""

    epoch: int = 0  # from 1
    accuracy: float = -1.0  # in [0, 1]
    loss: float = float("inf")
    state: dict[str, Tensor] = field(default_factory=dict)
    small_gammas: float | None = None  # share of BatchNorm's scales below SMALL_GAMMA, where they are slimmed

    def offer(self, epoch: int, accuracy: float, loss: float, model: nn.Module) -> None:
        """Keep a copy of the model's weights if they are better than those kept."""
        if (accuracy, -loss) > (self.accuracy, -self.loss):
            self.epoch, self.accuracy, self.loss = epoch, accuracy, loss
            self.state = copy.deepcopy(model.state_dict())

    def metrics(self) -> dict[str, float | dict[str, float]]:
        """What goes into the metrics file."""
        slimmed = {} if self.small_gammas is None else {"small_gammas": self.small_gammas}
        return {"val": {"accuracy": self.accuracy, "loss": self.loss}, "best_epoch": self.epoch} | slimmed


@dataclass(frozen=True)
class Validation:
    """Measures a model on the validation pictures."""

    pictures: Pictures  # uint8 (N, H, W, 3)
    targets: np.ndarray  # one-hot (N, C)
    base: Base
    batch_size: int
    device: torch.device

    def measure(self, model: nn.Module) -> tuple[float, float]:
        """Accuracy in [0, 1], and the mean loss of the base against the labels."""
        logits = predict_logits(model, self.pictures, self.batch_size, self.device)
        targets = torch.from_numpy(self.targets)
        loss = Loss(self.base, [])(logits, targets, torch.ones(len(targets)))
        return (logits.argmax(dim=1) == targets.argmax(dim=1)).double().mean().item(), loss.item()


def check_batches(pictures: int, settings: TrainingSettings, key: str) -> None:
    """Refuse a training set that does not fill one step."""
    if settings.batch_size * settings.accumulate > pictures:
        name, product = "batch_size", f"{settings.batch_size}"
        if settings.accumulate > 1:
            name, product = f"{name} times accumulate", f"{product} x {settings.accumulate}"
        raise UserError(
            f"params.yaml: {key}.{name}: must be at most the {pictures} training pictures, got {product}"
        )


def check_processes(settings: TrainingSettings, processes: int, device: torch.device, key: str) -> None:
    """Refuse, before anything is started, what several processes cannot share or a CPU cannot do."""
    if settings.batch_size % processes:
        raise UserError(
            f"params.yaml: {key}.batch_size: must be a multiple of processes, {processes}, got "
            f"{settings.batch_size} (it counts the pictures of all processes)"
        )
    if settings.sync_batchnorm and device.type == "cpu":
        raise UserError(
            f"params.yaml: {key}.sync_batchnorm: true, but it runs on GPUs only and this is a CPU (set false)"
        )


def check_batch_norm(model: nn.Module, settings: TrainingSettings, key: str) -> None:
    """Refuse BatchNorm over one picture: torch fails on small ones and learns nothing from large ones."""
    alone = settings.batch_size == (1 if settings.sync_batchnorm else world())
    if alone and any(isinstance(module, BATCH_NORM) for module in model.modules()):
        raise UserError(
            f"params.yaml: {key}.batch_size: {settings.batch_size} for {world()} processes, but the network "
            "has BatchNorm, which needs at least 2 pictures in each (a larger batch, or another network)"
        )


def prepare(
    model: nn.Module,
    loss: nn.Module,
    data: TrainingSet,
    device: torch.device,
    settings: TrainingSettings,
    key: str,
) -> Training:
    """A training on `device` at the constant learning rate lr; `key` is its section of params.yaml."""
    check_batches(len(data.rows), settings, key)
    check_batch_norm(model, settings, key)
    model.to(device)
    if settings.sync_batchnorm and world() > 1:
        model.net = convert_sync_batchnorm(model.net)
    resting = freeze(model, settings.freeze, key)
    optimizer = build_optimizer(
        settings.optimizer,
        model,
        settings.lr,
        settings.weight_decay,
        settings.layer_decay,
        settings.head_lr_mult,
    )
    clip = partial(nn.utils.clip_grad_norm_, list(model.parameters()), settings.clip)
    return Training(
        model=model if world() == 1 else DistributedDataParallel(model, forward_sync_buffers=False),
        loss=loss.to(device),
        optimizer=optimizer,
        device=device,
        transforms=data.transforms,
        penalties=[partial(slimming, batch_norm_gammas(model, key), settings.slim)] if settings.slim else [],
        before_epoch=[module.eval for module in resting],
        before_step=[clip] if settings.clip else [],
        after_step=[],
        after_epoch=[optimizer.sync_lookahead] if isinstance(optimizer, Lookahead) else [],
        accumulate=settings.accumulate,
        precision=torch.float32 if device.type == "cpu" else getattr(torch, settings.precision),
    )


def batch_norm_gammas(model: nn.Module, key: str) -> list[nn.Parameter]:
    """The scales (channels,) of all BatchNorms that learn."""
    norms = [module for module in model.modules() if isinstance(module, BATCH_NORM)]
    gammas = [norm.weight for norm in norms if norm.weight is not None and norm.weight.requires_grad]
    if not gammas:
        raise UserError(f"params.yaml: {key}.slim: the network has no BatchNorm that learns (set 0)")
    return gammas


def slimming(gammas: Sequence[Tensor], factor: float) -> Tensor:
    """`factor` times the sum of all |gamma|.

    Z. Liu et al., Learning Efficient Convolutional Networks through Network Slimming, 2017, arXiv:1708.06519.
    """
    return factor * torch.cat([gamma.flatten() for gamma in gammas]).abs().sum()


@dataclass
class Progress:
    """How far a training has come."""

    epoch: int = 0  # the last one that is finished, from 1
    losses: list[Tensor] = field(default_factory=list)  # of the batches of the next one that are done
    rows: list[Row] = field(default_factory=list)
    best: Best = field(default_factory=Best)

    def finish(self, row: Row) -> None:
        """The epoch of `row` is over."""
        self.epoch, self.losses = row.epoch, []
        self.rows.append(row)

    def state_dict(self) -> dict[str, Any]:
        return vars(self) | {"rows": [asdict(row) for row in self.rows], "best": vars(self.best)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch, self.losses = state["epoch"], state["losses"]
        self.rows, self.best = [Row(**row) for row in state["rows"]], Best(**state["best"])


def fit(
    model: nn.Module,
    loss: nn.Module,
    data: TrainingSet,
    validation: Validation,
    settings: TrainingSettings,
    curves: Curves,
    state: State,
    key: str,
) -> Best:
    """Train for all epochs and leave the best weights in the model; `key` is its section of params.yaml.

    `state` is saved after an epoch, unless it is so short that this would cost, and after the step in which
    SIGTERM or Ctrl-C comes; a training that an earlier process did not finish goes on from there, to the same
    bits.
    """
    run = prepare(model, loss, data, validation.device, settings, key)
    steps = len(data.rows) // settings.batch_size // settings.accumulate
    factor = build_schedule(
        settings.schedule,
        settings.epochs,
        settings.warmup,
        settings.warmup_factor,
        settings.step_factors,
        settings.step_epochs,
    )
    schedule = LambdaLR(run.optimizer, lambda step: factor(step / steps))
    average = build_average(model, settings.ema, settings.swa, settings.epochs)
    progress = Progress()
    state.hold(
        model=model, loss=run.loss, optimizer=run.optimizer, scaler=run.scaler, schedule=schedule,
        average=average, progress=progress,
    )  # fmt: skip
    if path := state.restore(run.device):
        begun = f", batch {len(progress.losses)} of the next," if progress.losses else ""
        print(f"resuming from epoch {progress.epoch}{begun} of {path}")
    for row in progress.rows:
        curves.add(row)
    best, began, first = progress.best, time.monotonic(), progress.epoch
    with Stop(state.save) as stop:
        run.after_step.extend([schedule.step, average.after_step, stop.here])
        for epoch in range(first + 1, settings.epochs + 1):
            if settings.patience and epoch - 1 - best.epoch >= settings.patience:
                print(f"no better epoch since {best.epoch}: training ends ({key}.patience)")
                break
            title, used = f"epoch {epoch}/{settings.epochs}", steps * settings.accumulate
            done = len(progress.losses)
            batches = islice(data.epoch(epoch, done), used - done)
            hide = None if is_main() else True  # None: unless on a terminal
            bar = tqdm(batches, title, used, initial=done, leave=False, disable=hide)
            losses = train_epoch(run, bar, (data.seed, epoch), progress.losses)
            check_finite(losses, epoch, key)
            measured = average.after_epoch(epoch, partial(images_of, data, epoch, run.device))
            share_buffers(measured)
            accuracy, val_loss = validation.measure(measured)
            best.offer(epoch, accuracy, val_loss, measured)
            row = Row(epoch, settings.lr * factor(epoch - 1), losses.mean().item(), val_loss, accuracy)
            curves.add(row)
            progress.finish(row)
            state.save_if_cheap()
            left = (time.monotonic() - began) / (epoch - first) * (settings.epochs - epoch)
            print(
                f"{title}: loss {row.train_loss:.4f}, val loss {val_loss:.4f}, val accuracy {accuracy:.4f} "
                f"(best {best.accuracy:.4f} in epoch {best.epoch}), {tqdm.format_interval(left)} left",
                flush=True,
            )
    model.load_state_dict(best.state)
    if settings.slim:
        gammas = torch.cat([gamma.flatten() for gamma in batch_norm_gammas(model, key)])
        best.small_gammas = (gammas.abs() < SMALL_GAMMA).double().mean().item()
    return best


def images_of(data: TrainingSet, epoch: int, device: torch.device) -> Iterator[Tensor]:
    """The images (N, 3, H, W) in [0, 1] of an epoch's batches."""
    for batch in data.epoch(epoch):
        yield batch.to(device).images


def check_finite(losses: Tensor, epoch: int, key: str) -> None:
    """Stop at a loss (steps,) that is not finite, before it reaches the best weights or the curves."""
    broken = (~losses.isfinite()).nonzero()
    if len(broken):
        step = int(broken[0])
        raise UserError(
            f"params.yaml: {key}.lr: the loss became {losses[step].item()} in step {step + 1} of epoch "
            f"{epoch} (a lower lr or a longer warmup mostly helps)"
        )
