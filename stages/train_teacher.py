"""Train one teacher on the labels.

params  teacher.NAME, device, threads, cpu_isa, processes, workers, images.dct_scaling
reads   data/manifest/classes.json
        data/manifest/{train,val}.csv
        data/packed/{train,val}.npy
writes  data/models/teachers/NAME.safetensors    the weights of the best epoch on val
        metrics/teacher/NAME.json
        plots/teacher/NAME.csv                   a row per epoch
run     python -m stages.train_teacher NAME
"""

import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

from src.batches.augment import build_augment
from src.batches.data import TrainingSet
from src.batches.mixing import build_transforms, sizes_at
from src.ground.errors import run
from src.ground.files import write_json
from src.ground.params import read
from src.losses.bases import BASES
from src.losses.weightings import build_loss
from src.machine.distributed import is_main
from src.machine.runtime import choose, start
from src.networks.checkpoint import facts_of, save_weights
from src.networks.initial import initial_model
from src.pictures.manifest import read_manifest
from src.pictures.reading import read_pictures
from src.teaching.labels import class_weights, smoothed
from src.training.curves import Curves
from src.training.fit import fit
from src.training.prepare import check_processes
from src.training.resume import resumable
from src.training.sections import TeacherSettings
from src.training.validation import Validation

WEIGHTS = "data/models/teachers/{}.safetensors"
METRICS = "metrics/teacher/{}.json"
CURVES = "plots/teacher/{}.csv"


def main() -> None:
    name = sys.argv[1]
    key = f"teacher.{name}"
    settings, processes = read(TeacherSettings, f"teacher.{name}"), read(int, "processes")
    check_processes(settings, processes, choose(read(str, "device")), key)
    device = start(read(str, "device"), read(int, "threads"), read(str, "cpu_isa"), settings.seed, processes)
    train, val, dct_scaling = read_manifest("train"), read_manifest("val"), read(bool, "images.dct_scaling")
    train_pictures, val_pictures = read_pictures("train", dct_scaling), read_pictures("val", dct_scaling)
    size = val_pictures.shape[1:3]

    loss = build_loss(
        settings.loss, settings.weighting, settings.focal_gamma, train.classes, f"{key}.weighting"
    )
    model = initial_model(
        settings, loss.base.name, train.classes, size, sizes_at(*size, settings.augment.multi_scale), key
    )
    data = TrainingSet(
        pictures=train_pictures,
        targets=smoothed(train.one_hot(), settings.label_smoothing),
        weights=class_weights(settings.class_weights, train.labels, train.classes, key),
        rows=np.arange(len(train.labels)),
        augment=build_augment(settings.augment, *size),
        transforms=build_transforms(settings.augment),
        batch_size=settings.batch_size,
        seed=settings.seed,
        workers=read(int, "workers"),
    )
    validation = Validation(
        pictures=val_pictures,
        targets=val.one_hot(),
        base=BASES[loss.base.name],
        batch_size=settings.batch_size,
        device=device,
    )
    params = asdict(settings)
    with resumable("train_teacher", name, device) as state:
        with Curves(Path(CURVES.format(name)), key) as curves:
            best = fit(model, loss, data, validation, settings, curves, state, key)
        if is_main():
            facts = facts_of(
                model, settings.arch, settings.pretrained, loss.base.name, train.classes, size, params
            )
            save_weights(Path(WEIGHTS.format(name)), model, facts)
            write_json(Path(METRICS.format(name)), {"teacher": {name: best.metrics()}})


if __name__ == "__main__":
    run(main)
