"""Train the student on the labels, the teachers' knowledge and the curriculum, or any of these.

params  student, loss, seed, augment, weighting, distill, knowledge.teachers, data.unlabelled, images.fit,
        images.dct_scaling, device, threads, cpu_isa, tf32, processes
reads   data/distill                         distill_NAME: a probability per picture and class
        data/models/teachers                 NAME.safetensors, if they look at the student's batches
        data/curriculum.txt                  path, weight
        data/manifest/classes.json
        data/manifest/grey_range.json
        data/manifest/{train,val}.csv
        data/packed/{train,val}.npy
        data/unlabelled                      NAME.csv, NAME.npy for each of data.unlabelled
        data/views.json
writes  data/models/student.safetensors      the weights of the best epoch on val
        metrics/student.json                 of that epoch, and the number of parameters
        plots/student.csv                    a row per epoch
run     python -m stages.train_student
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from src.ground.errors import run
from src.ground.kinds import Value
from src.ground.params import check_pictures, read, read_params, read_top
from src.losses.bases import BASES
from src.losses.loss import LABELS_ONLY, DistillSettings
from src.machine.runtime import MachineSettings, start_machine
from src.networks.checks import check_trace
from src.pictures.reading import LearningPictures, read_learning_pictures
from src.pictures.unlabelled import join_pictures, read_unlabelled
from src.teaching.curriculum_file import check_weights, choose_weights, read_weights
from src.teaching.knowledge_array import describe_making
from src.teaching.knowledge_folder import read_folder
from src.teaching.labels import add_unlabelled, build_lesson, draw_fraction
from src.teaching.targets import AnyKnowledge, build_soft
from src.teaching.views import Views, check_views, read_views
from src.training.assembly import Outputs, assemble, run_training
from src.training.job import Job
from src.training.listening import Listening, load_teachers
from src.training.prepare import check_processes
from src.training.settings import StrategySettings, StudentSettings

DISTILL = Path("data/distill")
TEACHERS = Path("data/models/teachers")
CURRICULUM = Path("data/curriculum.txt")
OUTPUTS = Outputs(
    weights=Path("data/models/student.safetensors"),
    metrics=Path("metrics/student.json"),
    curves=Path("plots/student.csv"),
)
DECISIVE = ("student", "loss", "seed", "augment", "weighting", "distill")


def main() -> None:
    job = build_job(read_top(MachineSettings))
    params = {key: read_params()[key] for key in DECISIVE}
    parameters = sum(parameter.numel() for parameter in job.network.parameters())
    run_training(job, OUTPUTS, params, more_metrics={"parameters": parameters})


def build_job(machine: MachineSettings) -> Job:
    """The student's training as configured in params.yaml; also sets up device, threads and processes."""
    settings, strategy = read(StudentSettings, "student"), read_top(StrategySettings)
    check_processes(settings, machine, "student")
    fit, dct_scaling = read(str, "images.fit"), read(bool, "images.dct_scaling")
    pictures = read_learning_pictures(fit, dct_scaling)
    check_pictures(pictures.train.count(), trains=True, only="student")
    device = start_machine(machine, strategy.seed)
    train, distill = pictures.train, read(DistillSettings, "distill")
    rows = draw_fraction(train.labels, settings.fraction, strategy.seed)
    lesson = build_lesson(train, settings, "student", rows)
    others = read_unlabelled(read(tuple[str, ...], "data.unlabelled"), fit, dct_scaling)
    paths = [*train.paths, *others.paths]
    knowledge, live, views = hear_teachers(distill, pictures, paths)
    curriculum = choose_weights(read_weights(CURRICULUM, paths), settings.curriculum)
    if distill.share and not (knowledge or live):
        print("no teacher: the student learns from the labels only, distill.share has no effect")
        distill = LABELS_ONLY
    if others.paths and distill.share and distill.unlabelled:
        lesson = add_unlabelled(lesson, settings.label_smoothing, len(others.paths), distill.unlabelled)
        pictures = replace(pictures, train_pictures=join_pictures(pictures.train_pictures, others))
    else:
        distill = replace(distill, unlabelled=0.0)  # there are none
    if distill.share and knowledge:
        lesson = replace(lesson, soft=build_soft(knowledge, strategy.base))
    lesson = replace(lesson, weights=curriculum[: len(lesson.weights)] * lesson.weights)
    check_weights(lesson.weights[lesson.rows])
    job = assemble(settings, strategy, pictures, lesson, device, "student", distill, views)
    if live:
        teachers = load_teachers(TEACHERS, live, pictures, device)
        listening = Listening(teachers, BASES[strategy.base], read=len(knowledge))
        job = replace(job, data=replace(job.data, listen=[listening]))
    check_trace(job.network, pictures.size, "student")
    return job


def hear_teachers(
    distill: DistillSettings, pictures: LearningPictures, paths: list[str]
) -> tuple[list[AnyKnowledge], Sequence[str], Views | None]:
    """What files say of the pictures in `paths` (N,), the teachers that look at batches, the stored views."""
    names = read(tuple[str, ...], "knowledge.teachers")
    live = names if distill.share and distill.view == "live" else ()
    views, size = read_views(), pictures.size
    check_views(views, distill.view, read(dict[str, Value], "augment"))
    made = partial(describe_making, TEACHERS, size=size, views=views)
    return read_folder(DISTILL, paths, pictures.train.classes, made, without=live), live, views


if __name__ == "__main__":
    run(main, arguments=[])
