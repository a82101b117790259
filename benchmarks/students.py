"""Students trained one after the other in this process, with params that differ from params.yaml."""

import contextlib
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from sklearn.metrics import f1_score
from torch import nn

from src.batches.data import TrainingSet
from src.ground.params import read
from src.losses.bases import BASES
from src.machine.runtime import start
from src.networks.predict import predict_logits
from src.pictures.manifest import read_manifest
from src.pictures.reading import read_pictures
from src.training.curves import Curves
from src.training.fit import fit
from src.training.resume import State
from src.training.sections import StudentSettings
from src.training.validation import Validation
from stages.train_student import assemble
from tools.overrides import params

Change = Callable[[TrainingSet], TrainingSet]


class Score(NamedTuple):
    """What a student reaches on test, each in [0, 1]."""

    accuracy: float
    macro_f1: float


def score(overrides: Sequence[str], change: Change = lambda data: data) -> Score:
    """Train the student as `dvc exp run -S ...` with these overrides would, and measure it on test."""
    model, test = trained(overrides, State(), change), read_manifest("test")
    predicted = (
        predict_logits(
            model, read_pictures("test", read(bool, "images.dct_scaling")), 256, torch.device("cpu")
        )
        .argmax(dim=1)
        .numpy()
    )
    accuracy = float((predicted == test.labels).mean())
    return Score(accuracy, f1_score(test.labels, predicted, average="macro"))


def trained(overrides: Sequence[str], state: State, change: Change = lambda data: data) -> nn.Module:
    """The student after a training with these overrides on `change` of its data."""
    with params(overrides), silence(), tempfile.TemporaryDirectory() as folder:
        settings, seed = read(StudentSettings, "student"), read(int, "seed")
        device = start("cpu", read(int, "threads"), read(str, "cpu_isa"), seed, processes=1)
        model, loss, data = assemble(settings, seed)
        data, val = change(data), read_manifest("val")
        base = BASES[loss.base.name]
        validation = Validation(
            read_pictures("val", read(bool, "images.dct_scaling")),
            val.one_hot(),
            base,
            settings.batch_size,
            device,
        )
        with Curves(Path(folder) / "curves.csv", "benchmark") as curves:
            fit(model, loss, data, validation, settings, curves, state, "student")
    return model


@contextlib.contextmanager
def silence() -> Iterator[None]:
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        yield


def in_a_row(values: Sequence[float]) -> str:
    """Mean, standard deviation and every value."""
    spread = statistics.stdev(values) if len(values) > 1 else float("nan")
    each = " ".join(f"{value:.4f}" for value in values)
    return f"{statistics.mean(values):.4f} sd {spread:.4f}  {each}"
