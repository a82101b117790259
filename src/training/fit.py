"""All epochs: train, evaluate, keep the best, save; or resume where a killed training stopped."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from src.batches.data import TrainingSet
from src.ground.errors import UserError
from src.machine.collectives import all_rows, rank, share_buffers, world
from src.machine.seeding import seed_generators
from src.training.averaging import build_average
from src.training.curves import NoCurves, Row
from src.training.display import Display, print_resumption
from src.training.features import learn_from_features
from src.training.job import Job
from src.training.prepare import SMALL_GAMMA, find_gammas, prepare
from src.training.probe import build_probe, take_classifier
from src.training.schedules import build_schedule
from src.training.state import State
from src.training.step import train_epoch
from src.training.stopping import Stop
from src.training.validation import Best


@dataclass
class Progress:
    """How far a training has come."""

    epoch: int = 0  # the last finished one, from 1
    losses: list[Tensor] = field(default_factory=list)  # of the finished batches of the next epoch
    rows: list[Row] = field(default_factory=list)
    best: Best = field(default_factory=Best)

    def finish(self, row: Row) -> None:
        """Record that the epoch of `row` is finished."""
        self.epoch, self.losses = row.epoch, []
        self.rows.append(row)

    def state_dict(self) -> dict[str, Any]:
        losses = all_rows(torch.stack(self.losses)[None]) if self.losses else torch.empty(world(), 0)
        return {
            "epoch": self.epoch,
            "losses": losses,  # (processes, batches)
            "rows": [asdict(row) for row in self.rows],
            "best": vars(self.best),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch, self.losses = state["epoch"], list(state["losses"][rank()])
        self.rows, self.best = [Row(**row) for row in state["rows"]], Best(**state["best"])


def fit(job: Job, curves: NoCurves, state: State) -> Best:
    """Train for all epochs and leave the best weights in the network.

    `state` is saved after the last step of each epoch, before the network is measured, unless saving is slow
    compared to an epoch. SIGTERM and Ctrl-C save it after a step or between two batches of the measurement.
    A training that an earlier process did not finish resumes from there, with bit-identical results.
    """
    job = learn_from_features(job)
    run, settings, data = prepare(job), job.settings, job.data
    steps = len(data.rows) // settings.batch_size // settings.accumulate
    factor = build_schedule(settings)
    schedule = LambdaLR(run.optimizer, lambda step: factor(step / steps))
    average = build_average(job.trained, settings, settings.epochs)
    progress = Progress()
    state.track(
        model=job.trained, loss=run.loss, optimizer=run.optimizer, scaler=run.scaler, schedule=schedule,
        average=average, progress=progress,
    )  # fmt: skip
    if path := state.restore(run.device):
        print_resumption(path, progress.epoch, len(progress.losses))
    elif settings.probe_first:
        probe = build_probe(job)
        fit(probe, NoCurves(), State())
        take_classifier(job.network, probe.network)
    for row in progress.rows:
        curves.add(row)
    best, display = progress.best, Display(settings.epochs, progress.epoch)
    with Stop(state.save) as stop:
        run.after_step.extend([schedule.step, average.after_step, stop.raise_if_asked])
        for epoch in range(progress.epoch + 1, settings.epochs + 1):
            if settings.patience and epoch - 1 - best.epoch >= settings.patience:
                print(f"no better epoch since {best.epoch}: training stops ({job.key}.patience)")
                break
            done, wanted = len(progress.losses), steps * settings.accumulate
            batches = islice(data.epoch(epoch, done), wanted - done)
            shown = display.show_batches(batches, epoch, done, wanted)
            losses = train_epoch(run, shown, (data.seed, epoch), progress.losses)
            check_finite(losses, epoch, job.key)
            state.save_if_cheap()
            seed_generators(run.device, data.seed, epoch, 0, rank())  # as a resumed run has them here
            images = partial(read_images, data, epoch, run.device, stop.raise_if_asked)
            measured = average.after_epoch(epoch, images)
            share_buffers(measured)
            accuracy, val_loss = job.validation.measure(measured, stop.raise_if_asked)
            best.offer(epoch, accuracy, val_loss, measured)
            row = Row(epoch, settings.lr * factor(epoch - 1), losses.mean().item(), val_loss, accuracy)
            curves.add(row)
            progress.finish(row)
            display.print_epoch(row, best)
    job.trained.load_state_dict(best.state)
    if settings.slim:
        gammas = torch.cat([gamma.flatten() for gamma in find_gammas(job.network, job.key)])
        best.small_gammas = (gammas.abs() < SMALL_GAMMA).double().mean().item()
    return best


def read_images(
    data: TrainingSet, epoch: int, device: torch.device, before_batch: Callable[[], None]
) -> Iterator[Tensor]:
    """The images (N, 3, H, W) in [0, 1] of an epoch's batches; calls `before_batch` before each."""
    for batch in data.epoch(epoch):
        before_batch()
        yield batch.to(device).images


def check_finite(losses: Tensor, epoch: int, key: str) -> None:
    """Stop at a non-finite loss (steps,), before it reaches the best weights or the curves."""
    broken = (~losses.isfinite()).nonzero()
    if len(broken):
        step = int(broken[0])
        raise UserError(
            f"params.yaml: {key}.lr: the loss became {losses[step].item()} in step {step + 1} of epoch "
            f"{epoch} (try a lower lr or a longer warmup)"
        )
