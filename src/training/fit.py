"""All epochs: train, measure, keep the best, save; and go on where a killed one was."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from src.batches.data import TrainingSet
from src.ground.errors import UserError
from src.machine.distributed import is_main, share_buffers
from src.training.averaging import build_average
from src.training.curves import Curves, Row
from src.training.optim import build_schedule
from src.training.prepare import SMALL_GAMMA, batch_norm_gammas, prepare
from src.training.resume import State
from src.training.settings import TrainingSettings
from src.training.step import train_epoch
from src.training.stopping import Stop
from src.training.validation import Best, Validation


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
