"""All epochs: train, evaluate, keep the best, save; or resume where a killed training stopped."""

from functools import partial
from itertools import islice

from torch.optim.lr_scheduler import LambdaLR

from src.machine.collectives import rank, share_buffers
from src.machine.seeding import seed_generators
from src.training.averaging import build_average, read_images
from src.training.curves import NoCurves, Row
from src.training.display import Display, print_resumption
from src.training.features import learn_from_features
from src.training.job import Job
from src.training.prepare import measure_small_gammas, prepare
from src.training.probe import build_probe, take_classifier
from src.training.progress import Progress
from src.training.schedules import build_schedule, hold
from src.training.state import State
from src.training.step import train_epoch
from src.training.stopping import Stop
from src.training.validation import Best

EVERY = {"cpu": 1, "cuda": 50}  # steps between two looks at the losses: on a GPU each waits for it


def fit(job: Job, curves: NoCurves, state: State) -> Best:
    """Train for all epochs and leave the best weights in the network.

    `state` is saved after the last step of each epoch, before the network is measured, unless saving is slow
    compared to an epoch. SIGTERM and Ctrl-C save it after a step or between two batches of the measurement.
    A training that an earlier process did not finish resumes from there, with bit-identical results.

    A loss that is not finite stops the training before the optimizer's step, on a GPU a few steps later, and
    before a state is saved.

    `patience` epochs after the warm-up without a better one do not break the training off, since the learning
    rate is still high then: what is left of the schedule, sizes of pictures included, passes in as many more.
    """
    job = learn_from_features(job)
    run, settings, data = prepare(job), job.settings, job.data
    steps = len(data.rows) // settings.batch_size // settings.accumulate
    wanted = steps * settings.accumulate  # batches of an epoch
    progress = Progress(Best(settings.select), settings.epochs, job.key, run.device)
    factor = build_schedule(settings)
    if settings.swa_lr:
        factor = hold(factor, settings.epochs - settings.swa, settings.swa_lr / settings.lr)
    schedule = LambdaLR(run.optimizer, lambda step: factor(progress.find_place(step / steps)))
    average = build_average(job.trained, settings, settings.epochs)
    state.track(
        model=job.trained, loss=run.loss, optimizer=run.optimizer, scaler=run.scaler, schedule=schedule,
        average=average, progress=progress,
    )  # fmt: skip
    if path := state.restore():
        print_resumption(path, progress.epoch, len(progress.losses))
    elif settings.probe_first:
        train_classifier(job)
    for row in progress.rows:
        curves.add(row)
    best, display = progress.best, Display(progress.last, progress.epoch)
    plain = data.leave_plain(*job.validation.pictures.shape[1:3])
    look = EVERY[run.device.type] * settings.accumulate  # batches
    run.before_step.insert(0, partial(progress.check_every, look))
    with Stop(state.save, lambda: len(progress.losses) % settings.accumulate == 0) as stop:
        run.after_step.extend([schedule.step, average.after_step, stop.raise_if_asked])
        while progress.epoch < progress.last:
            epoch, done = progress.epoch + 1, len(progress.losses)
            place = progress.find_place(epoch - 1)
            transforms = [*data.transforms(int(place) + 1), *data.listen]
            batches = islice(data.epoch(epoch, done), wanted - done)
            shown = display.show_batches(batches, epoch, done, wanted)
            losses = train_epoch(run, shown, (data.seed, epoch), transforms, progress.losses)
            progress.check_finite(look)
            state.save_if_cheap()
            seed_generators(run.device, data.seed, epoch, 0, rank())  # as a resumed run has them here
            images = partial(read_images, plain, epoch, run.device, stop.raise_if_asked)
            measured = average.after_epoch(epoch, images)
            share_buffers(measured)
            accuracy, val_loss = job.validation.measure(measured, stop.raise_if_asked)
            best.offer(epoch, accuracy, val_loss, measured)
            row = Row(epoch, settings.lr * factor(place), losses.mean().item(), val_loss, accuracy)
            curves.add(row)
            progress.finish(row)
            display.print_epoch(row, best)
            if settings.patience and progress.end_early(settings.patience, settings.warmup):
                display.epochs = progress.last
                print(f"no better epoch since {best.epoch}: {progress.last} is the last ({job.key}.patience)")
    job.trained.load_state_dict(best.state)
    if settings.slim:
        best.small_gammas = measure_small_gammas(job.network, job.key)
    return best


def train_classifier(job: Job) -> None:
    """Probe first: give the network a classifier that a training of its own has made."""
    probe = build_probe(job)
    fit(probe, NoCurves(), State())
    take_classifier(job.network, probe.network)
