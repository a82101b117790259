"""Train one teacher on the labels.

params  teacher.NAME, teacher_common, device, threads, cpu_isa, tf32, processes, images.fit,
        images.dct_scaling
reads   data/manifest/classes.json
        data/manifest/grey_range.json
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

from src.ground.errors import run
from src.ground.params import check_pictures, read, read_top
from src.machine.runtime import MachineSettings, start_machine
from src.pictures.reading import read_learning_pictures
from src.teaching.labels import build_lesson
from src.teaching.teachers import choose_teacher
from src.training.assembly import Outputs, assemble, run_training
from src.training.rehearsal import rehearse
from src.training.settings import TeacherSettings


def main() -> None:
    name = choose_teacher(sys.argv[1:])
    key = f"teacher.{name}"
    settings = read(TeacherSettings, f"teacher.{name}", over="teacher_common")
    machine = read_top(MachineSettings)
    pictures = read_learning_pictures(read(str, "images.fit"), read(bool, "images.dct_scaling"))
    check_pictures(pictures.train.count(), trains=True)
    rehearse(name, pictures, machine)
    device = start_machine(machine, settings.seed)
    lesson = build_lesson(pictures.train, settings, key)
    job = assemble(settings, settings, pictures, lesson, device, key)
    outputs = Outputs(
        weights=Path(f"data/models/teachers/{name}.safetensors"),
        metrics=Path(f"metrics/teacher/{name}.json"),
        curves=Path(f"plots/teacher/{name}.csv"),
    )
    run_training(job, outputs, asdict(settings), more_metrics={})


if __name__ == "__main__":
    run(main)
