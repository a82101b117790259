"""Train one teacher on the labels.

params  teacher.NAME, teacher_common, device, threads, cpu_isa, processes, workers, images.dct_scaling
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

from src.ground.errors import run
from src.ground.params import read, read_top
from src.machine.runtime import MachineSettings, start
from src.pictures.reading import read_learning_pictures
from src.teaching.labels import learn_from_labels
from src.training.assembly import Outputs, assemble, run_training
from src.training.prepare import check_processes
from src.training.settings import TeacherSettings

WEIGHTS = "data/models/teachers/{}.safetensors"
METRICS = "metrics/teacher/{}.json"
CURVES = "plots/teacher/{}.csv"


def main() -> None:
    name = sys.argv[1]
    key = f"teacher.{name}"
    settings = read(TeacherSettings, f"teacher.{name}", over="teacher_common")
    machine = read_top(MachineSettings)
    check_processes(settings, machine, key)
    device = start(machine, settings.seed)
    pictures = read_learning_pictures(read(bool, "images.dct_scaling"))
    lesson = learn_from_labels(pictures.train, settings, key)
    job = assemble(settings, settings, pictures, lesson, device, read(int, "workers"), key)
    outputs = Outputs(*(Path(path.format(name)) for path in (WEIGHTS, METRICS, CURVES)))
    run_training(job, "train_teacher", name, outputs, asdict(settings), more_metrics={})


if __name__ == "__main__":
    run(main)
