"""Train the student on the labels, the teachers' knowledge and the curriculum, or on any of them.

params  student, loss, seed, augment, weighting, distill, images.dct_scaling, device, threads, cpu_isa,
        processes, workers
reads   data/distill                         distill_NAME.txt: path, a probability per class
        data/curriculum.txt                  path, weight
        data/manifest/classes.json
        data/manifest/{train,val}.csv
        data/packed/{train,val}.npy
writes  data/models/student.safetensors      the weights of the best epoch on val
        metrics/student.json                 of that epoch; the number of parameters
        plots/student.csv                    a row per epoch
run     python -m stages.train_student
"""

from pathlib import Path

from torch import nn

from src.batches.augment import AugmentSettings, build_augment
from src.batches.data import TrainingSet
from src.batches.mixing import build_transforms, sizes_at
from src.ground.errors import run
from src.ground.files import write_json
from src.ground.params import checked_params, read
from src.losses.bases import BASES
from src.losses.weightings import Loss, WeightingSettings, build_loss
from src.machine.distributed import is_main
from src.machine.runtime import choose, start
from src.networks.checkpoint import facts_of, save_weights
from src.networks.initial import initial_model
from src.pictures.manifest import read_manifest
from src.pictures.reading import read_pictures
from src.teaching.curriculum import read_weights
from src.teaching.knowledge import read_folder
from src.teaching.labels import class_weights, smoothed, stratified
from src.teaching.targets import DistillSettings, distilled, sample_weights
from src.training.curves import Curves
from src.training.fit import fit
from src.training.prepare import check_processes
from src.training.resume import resumable
from src.training.sections import StudentSettings
from src.training.validation import Validation

DISTILL = Path("data/distill")
CURRICULUM = Path("data/curriculum.txt")
WEIGHTS = Path("data/models/student.safetensors")
METRICS = Path("metrics/student.json")
CURVES = Path("plots/student.csv")
MADE_BY = ("student", "loss", "seed", "augment", "weighting", "distill")


def main() -> None:
    settings, seed, processes = read(StudentSettings, "student"), read(int, "seed"), read(int, "processes")
    check_processes(settings, processes, choose(read(str, "device")), "student")
    device = start(read(str, "device"), read(int, "threads"), read(str, "cpu_isa"), seed, processes)
    val, val_pictures = read_manifest("val"), read_pictures("val", read(bool, "images.dct_scaling"))
    model, loss, data = assemble(settings, seed)
    validation = Validation(
        pictures=val_pictures,
        targets=val.one_hot(),
        base=BASES[loss.base.name],
        batch_size=settings.batch_size,
        device=device,
    )
    params = {key: checked_params()[key] for key in MADE_BY}
    with resumable("train_student", "", device) as state:
        with Curves(CURVES, "student") as curves:
            best = fit(model, loss, data, validation, settings, curves, state, "student")
        if is_main():
            facts = facts_of(
                model,
                settings.arch,
                settings.pretrained,
                loss.base.name,
                val.classes,
                val_pictures.shape[1:3],
                params,
            )
            save_weights(WEIGHTS, model, facts)
            parameters = sum(parameter.numel() for parameter in model.parameters())
            write_json(METRICS, {"student": best.metrics() | {"parameters": parameters}})


def assemble(settings: StudentSettings, seed: int) -> tuple[nn.Module, Loss, TrainingSet]:
    """The student, its loss and what it learns from, as params.yaml says."""
    train, dct_scaling = read_manifest("train"), read(bool, "images.dct_scaling")
    size = read_pictures("val", dct_scaling).shape[1:3]  # of train's they may be larger
    weighting = read(WeightingSettings, "weighting")
    loss = build_loss(read(str, "loss"), weighting, settings.focal_gamma, train.classes, "weighting")
    augment = read(AugmentSettings, "augment")
    model = initial_model(
        settings, loss.base.name, train.classes, size, sizes_at(*size, augment.multi_scale), "student"
    )
    labels = smoothed(train.one_hot(), settings.label_smoothing)
    knowledge = read_folder(DISTILL, train.paths, train.classes)
    curriculum = sample_weights(read_weights(CURRICULUM, train.paths), settings.curriculum)
    data = TrainingSet(
        pictures=read_pictures("train", dct_scaling),
        targets=distilled(labels, knowledge, loss.base.name, read(DistillSettings, "distill")),
        weights=curriculum * class_weights(settings.class_weights, train.labels, train.classes, "student"),
        rows=stratified(train.labels, settings.fraction, seed),
        augment=build_augment(augment, *size),
        transforms=build_transforms(augment),
        batch_size=settings.batch_size,
        seed=seed,
        workers=read(int, "workers"),
    )
    return model, loss, data


if __name__ == "__main__":
    run(main)
