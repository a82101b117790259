"""From settings and pictures to a Job, and from a Job to a stage's files, for teachers and students alike."""

from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from src.batches.augment import build_augment, count_views
from src.batches.data import TrainingSet
from src.batches.mixing import build_transforms, list_sizes
from src.ground.files import sha256_of, write_json
from src.ground.params import read
from src.losses.bases import BASES
from src.losses.loss import LABELS_ONLY, DistillSettings, build_loss
from src.machine.collectives import is_main
from src.networks.checkpoint import save_weights
from src.networks.initial import build_initial
from src.pictures.reading import LearningPictures
from src.teaching.labels import LabelTargets, Lesson
from src.teaching.views import Views
from src.training.curves import Curves, NoCurves
from src.training.fit import fit
from src.training.job import Job
from src.training.resume import open_state
from src.training.settings import StrategySettings, TrainingSettings
from src.training.validation import Validation


class Outputs(NamedTuple):
    """The files that a training writes."""

    weights: Path
    metrics: Path | None = None
    curves: Path | None = None


def assemble(
    settings: TrainingSettings,
    strategy: StrategySettings,
    pictures: LearningPictures,
    lesson: Lesson,
    device: torch.device,
    key: str,
    distill: DistillSettings = LABELS_ONLY,
    views: Views | None = None,
) -> Job:
    """The training on `pictures` with `lesson`; `key` is the section of params.yaml that holds `settings`.

    With `views` the epochs use these in turn, instead of those that the strategy's augmentation says.
    The network's initial weights are drawn here, from torch's global generator in its current state.
    """
    classes, size = pictures.train.classes, pictures.size
    augment = strategy.augment
    weighting_key = f"{key}.weighting" if isinstance(settings, StrategySettings) else "weighting"
    weighting, gamma = strategy.weighting, settings.focal_gamma
    loss = build_loss(strategy.loss, weighting, gamma, classes, weighting_key, distill)
    base = BASES[loss.base.name]
    sizes = list_sizes(*size, augment.multi_scale, augment.train_scales, augment.size_divisor)
    network = build_initial(settings, base, classes, size, sizes, key)
    data = TrainingSet(
        pictures=pictures.train_pictures,
        targets=lesson.targets,
        soft=lesson.soft,
        weights=lesson.weights,
        rows=lesson.rows,
        augment=build_augment(augment, *size, device),
        transforms=partial(build_transforms, augment, settings.epochs),
        batch_size=settings.batch_size,
        seed=strategy.seed,
        workers=read(int, "workers"),  # no param of a stage: it changes no result
        view_seed=views.seed if views else strategy.seed,
        views=views.count if views else count_views(augment),
    )
    truth = LabelTargets(pictures.val.labels, len(classes))
    validation = Validation(pictures.val_pictures, truth, base, settings.batch_size, device)
    return Job(
        network=network,
        loss=loss,
        data=data,
        validation=validation,
        classes=classes,
        settings=settings,
        device=device,
        manifests=sha256_of([pictures.train.sha256, pictures.val.sha256]),
        fit=pictures.fit,
        key=key,
    )


def run_training(
    job: Job,
    outputs: Outputs,
    params: Any,
    more_metrics: Mapping[str, Any],
    stage: tuple[str, str] | None = None,
) -> None:
    """Train to the end, resuming an interrupted run, and write the files of the stage.

    `params` are all settings that determine the weights, as a JSON value; `more_metrics` go into the metrics
    file beside those of the best epoch. `stage` is DVC's name of it and its item, if job.key does not tell.
    """
    kind, _, name = job.key.partition(".")  # student, or teacher and its name: as the stages are called
    with open_state(*(stage or (f"train_{kind}", name)), job.device) as state:
        with Curves(outputs.curves, job.key) if outputs.curves else nullcontext(NoCurves()) as curves:
            best = fit(job, curves, state)
        if is_main():
            save_weights(outputs.weights, job.network, job.facts(params))
            metrics = best.metrics() | dict(more_metrics)
            if outputs.metrics:
                write_json(outputs.metrics, {kind: {name: metrics} if name else metrics})
