"""Build every training of a run before the first one starts, since a teacher may take hours.

What only torch can tell is refused here: a network that cannot be built or take pictures of this size,
weights that do not fit, layers that are not there. So is knowledge from outside of other pictures or classes.
N pictures, C classes.
"""

import io
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from src.ground.errors import UserError
from src.ground.params import read, read_top
from src.ground.rules import ANY_FILE, WEIGHTS, count_fraction
from src.ground.weights import NO_WEIGHTS
from src.machine.launching import is_launched
from src.machine.runtime import MachineSettings
from src.networks.checks import check_trace
from src.pictures.reading import LearningPictures
from src.teaching.knowledge_file import PATTERN, check_knowledge
from src.teaching.labels import Lesson
from src.training.assembly import assemble
from src.training.prepare import check_batch_norm, check_processes, prepare
from src.training.settings import StrategySettings, StudentSettings, TrainingSettings, read_teachers

CPU = torch.device("cpu")
EXTERNAL = Path("data/external")  # knowledge that dump_knowledge will read


def rehearse(first: str, pictures: LearningPictures, machine: MachineSettings) -> None:
    """Refuse, all at once, what would stop the training of teacher `first`, another one's or the student's.

    It changes no result and no random generator, so a stage that calls it need not list all their params.
    """
    if is_launched():
        return  # the process that started this one has done it
    tries: list[Callable[[], object]] = []
    names = dict.fromkeys((first, *read(tuple[str, ...], "knowledge.teachers")))
    for name, teacher in read_teachers([*names]).items():
        tries.append(partial(build, teacher, teacher, pictures, machine, f"teacher.{name}"))
    student, strategy = read(StudentSettings, "student"), read_top(StrategySettings)
    tries.append(partial(build, student, strategy, pictures, machine, "student"))
    paths, classes = pictures.train.paths, pictures.train.classes
    tries += [partial(check_knowledge, path, paths, classes) for path in sorted(EXTERNAL.glob(PATTERN))]
    problems: dict[str, None] = {}  # several trainings may have the same one
    for once in tries:
        try:
            with redirect_stdout(io.StringIO()), torch.random.fork_rng(devices=[]):
                once()
        except UserError as error:
            problems |= dict.fromkeys(str(error).splitlines())
    if problems:
        raise UserError(*problems)


def build(
    settings: TrainingSettings,
    strategy: StrategySettings,
    pictures: LearningPictures,
    machine: MachineSettings,
    key: str,
) -> None:
    """Assemble and prepare a training on the CPU, with labels of no picture, and throw it away."""
    check_processes(settings, machine, key)
    if WEIGHTS in Path(settings.pretrained).parents:
        settings = replace(settings, pretrained=NO_WEIGHTS, pretrained_sha256=ANY_FILE)
    counts = pictures.train.count().values()
    number = sum(count_fraction(count, getattr(settings, "fraction", 1.0)) for count in counts)
    targets = np.broadcast_to(np.float32(0), (len(pictures.train.paths), len(pictures.train.classes)))
    lesson = Lesson(targets, [targets], np.ones(len(targets)), np.arange(number))
    job = assemble(settings, strategy, pictures, lesson, CPU, key)
    check_batch_norm(job.network, settings, machine.processes, key)
    if isinstance(settings, StudentSettings):
        check_trace(job.network, pictures.size, key)
    prepare(job)
