"""All epochs: train, evaluate, keep the best, save; or resume where a killed training stopped."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from src.batches.data import TrainingSet
from src.machine.collectives import rank, share_buffers
from src.machine.seeding import seed_generators
from src.training.averaging import build_average
from src.training.curves import NoCurves, Row
from src.training.display import Display, print_resumption
from src.training.features import learn_from_features
from src.training.job import Job
from src.training.prepare import SMALL_GAMMA, find_gammas, prepare
from src.training.probe import build_probe, take_classifier
from src.training.progress import Progress
from src.training.schedules import build_schedule, hold, hurry
from src.training.state import State
from src.training.step import train_epoch
from src.training.stopping import Stop
from src.training.validation import Best

EVERY = {"cpu": 1, "cuda": 50}  # steps between two looks at the losses: on a GPU each waits for it
MOST = 10_000  # pictures that BatchNorm's statistics are recomputed from


def fit(job: Job, curves: NoCurves, state: State) -> Best:
    """Train for all epochs and leave the best weights in the network.

    `state` is saved after the last step of each epoch, before the network is measured, unless saving is slow
    compared to an epoch. SIGTERM and Ctrl-C save it after a step or between two batches of the measurement.
    A training that an earlier process did not finish resumes from there, with bit-identical results.

    A loss that is not finite stops the training before the optimizer's step, on a GPU a few steps later, and
    before a state is saved.

    `patience` epochs after the warm-up without a better one do not break the training off, since the learning
    rate is still high then: what is left of the schedule passes in as many more epochs.
    """
    job = learn_from_features(job)
    run, settings, data = prepare(job), job.settings, job.data
    steps = len(data.rows) // settings.batch_size // settings.accumulate
    progress = Progress(Best(settings.select), settings.epochs, settings.epochs)
    planned = build_schedule(settings)
    if settings.swa_lr:
        planned = hold(planned, settings.epochs - settings.swa, settings.swa_lr / settings.lr)

    def factor(time: float) -> float:
        return planned(hurry(time, progress.turn, progress.last, settings.epochs))

    schedule = LambdaLR(run.optimizer, lambda step: factor(step / steps))
    average = build_average(job.trained, settings, settings.epochs)
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
    plain = data.leave_plain(*job.validation.pictures.shape[1:3])
    best, display = progress.best, Display(progress.last, progress.epoch)
    look = EVERY[run.device.type] * settings.accumulate  # batches

    def check_losses() -> None:
        if len(progress.losses) % look == 0:
            progress.check_finite(look, job.key)

    def save() -> None:
        progress.check_finite(len(progress.losses), job.key)
        state.save()

    run.before_step.insert(0, check_losses)
    with Stop(save, lambda: len(progress.losses) % settings.accumulate == 0) as stop:
        run.after_step.extend([schedule.step, average.after_step, stop.raise_if_asked])
        while progress.epoch < progress.last:
            epoch = progress.epoch + 1
            done, wanted = len(progress.losses), steps * settings.accumulate
            batches = islice(data.epoch(epoch, done), wanted - done)
            shown = display.show_batches(batches, epoch, done, wanted)
            losses = train_epoch(run, shown, (data.seed, epoch), data.transforms(epoch), progress.losses)
            progress.check_finite(look, job.key)
            state.save_if_cheap()
            seed_generators(run.device, data.seed, epoch, 0, rank())  # as a resumed run has them here
            images = partial(read_images, plain, epoch, run.device, stop.raise_if_asked)
            measured = average.after_epoch(epoch, images)
            share_buffers(measured)
            accuracy, val_loss = job.validation.measure(measured, stop.raise_if_asked)
            best.offer(epoch, accuracy, val_loss, measured)
            row = Row(epoch, settings.lr * factor(epoch - 1), losses.mean().item(), val_loss, accuracy)
            curves.add(row)
            progress.finish(row)
            display.print_epoch(row, best)
            if settings.patience and progress.end_early(settings.patience, settings.warmup):
                display.epochs = progress.last
                print(f"no better epoch since {best.epoch}: {progress.last} is the last ({job.key}.patience)")
    job.trained.load_state_dict(best.state)
    if settings.slim:
        gammas = torch.cat([gamma.flatten() for gamma in find_gammas(job.network, job.key)])
        best.small_gammas = (gammas.abs() < SMALL_GAMMA).double().mean().item()
    return best


def read_images(
    data: TrainingSet, epoch: int, device: torch.device, before_batch: Callable[[], None]
) -> Iterator[Tensor]:
    """The images (N, 3, H, W) in [0, 1] of an epoch's first MOST pictures; calls `before_batch` before each.

    N pictures of a batch, H height, W width in pixels.
    """
    for batch in islice(data.epoch(epoch), math.ceil(MOST / data.batch_size)):
        before_batch()
        yield batch.to(device).images
