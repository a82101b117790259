"""Train every teacher once more, without the pictures of one fold, of which it then tells what it believes.

params  teacher, teacher_common, knowledge.teachers, knowledge.folds, device, threads, cpu_isa, tf32,
        processes, images.fit, images.dct_scaling
reads   data/manifest/classes.json
        data/manifest/grey_range.json
        data/manifest/{train,val}.csv
        data/packed/{train,val}.npy
writes  data/models/folds/NAME    here the number of a fold; in it the weights of each teacher, best on val
run     python -m stages.train_fold NUMBER
"""

import sys
from dataclasses import asdict

import numpy as np

from src.ground.errors import run
from src.ground.params import check_pictures, read, read_top
from src.machine.runtime import MachineSettings, start_machine
from src.pictures.reading import read_learning_pictures
from src.teaching.folds import assign_folds, choose_fold, name_weights
from src.teaching.labels import build_lesson
from src.training.assembly import Outputs, assemble, run_training
from src.training.settings import read_teachers


def main() -> None:
    folds = read(tuple[int, ...], "knowledge.folds")
    fold = choose_fold(sys.argv[1:], folds)
    machine = read_top(MachineSettings)
    pictures = read_learning_pictures(read(str, "images.fit"), read(bool, "images.dct_scaling"))
    train = pictures.train
    rows = np.flatnonzero(assign_folds(train.labels, len(folds)) != fold)
    left = np.bincount(train.labels[rows], minlength=len(train.classes)).tolist()
    for name, settings in read_teachers(read(tuple[str, ...], "knowledge.teachers")).items():
        key = f"teacher.{name}"
        check_pictures(dict(zip(train.classes, left, strict=True)), trains=True, only=key)
        device = start_machine(machine, settings.seed)
        lesson = build_lesson(train, settings, key, rows)
        job = assemble(settings, settings, pictures, lesson, device, key)
        print(f"{name} without fold {fold} of {len(folds)}: {len(rows)} of {len(train.paths)} pictures")
        params = asdict(settings) | {"fold": fold, "folds": len(folds)}
        run_training(
            job, Outputs(name_weights(fold, name)), params, more_metrics={}, stage=("train_fold", str(fold))
        )


if __name__ == "__main__":
    run(main)
