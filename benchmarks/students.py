"""Train students in this process, one after another, with overrides of params.yaml."""

import argparse
import contextlib
import os
import shutil
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from src.ground.errors import Parser
from src.ground.params import read, read_top
from src.ground.weights import FOLDER as PRETRAINED
from src.machine.runtime import MachineSettings
from src.networks.predict import choose_batch_size, predict_logits
from src.pictures.manifest import read_manifest
from src.pictures.reading import Pictures, read_pictures
from src.teaching.curriculum_file import write_weights
from src.training.curves import Curves
from src.training.fit import fit
from src.training.state import State
from stages import check_images
from stages.train_student import CURRICULUM, DISTILL, build_job
from tools.ablation.overrides import override_params


def measure_accuracy(overrides: Sequence[str]) -> float:
    """Accuracy on test, in [0, 1], of a student trained with these overrides, as by `dvc exp run -S`."""
    return measure_split(train_student(overrides, State()), "test")


def measure_split(model: nn.Module, split: str) -> float:
    """Accuracy in [0, 1] on the checked pictures of val or test."""
    pictures = read_pictures(split, read(str, "images.fit"), read(bool, "images.dct_scaling"))
    return find_accuracy(model, pictures, read_manifest(split).labels)


def find_accuracy(model: nn.Module, pictures: Pictures, labels: np.ndarray) -> float:
    """The share, in [0, 1], of pictures uint8 (N, H, W, 3) that are given their labels (N,)."""
    batch_size = choose_batch_size("auto", *pictures.shape[1:3])
    logits = predict_logits(model, pictures, batch_size, torch.device("cpu"))
    return float((logits.argmax(dim=1).numpy() == labels).mean())


def train_student(overrides: Sequence[str], state: State) -> nn.Module:
    """The student, trained with these overrides."""
    with override_params(overrides), mute_stdout(), tempfile.TemporaryDirectory() as folder:
        job = build_job(replace(read_top(MachineSettings), device="cpu", processes=1))
        with Curves(Path(folder) / "curves.csv", "benchmark") as curves:
            fit(job, curves, state)
    return job.network


def make_parser(prog: str, epochs: int) -> Parser:
    """What a fine-tuning on pictures of one's own is given on the command line; `epochs` unless it says."""
    parser = Parser(prog=f"python -m {prog}")
    parser.add_argument("data", type=Path, help="a folder of train, val and test")
    parser.add_argument("weights", help="a file, or as student.pretrained")
    parser.add_argument("--arch", default="timm/tf_efficientnet_lite0")
    parser.add_argument("--size", type=int, default=96, help="pixels")
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=3)
    return parser


def list_overrides(given: argparse.Namespace) -> list[str]:
    """The overrides with which a student learns from labels, as the parser above was given."""
    pretrained = Path(given.weights).absolute() if Path(given.weights).is_file() else given.weights
    return [
        f"data.root={given.data.absolute()}", f"images.height={given.size}", f"images.width={given.size}",
        f"student.arch={given.arch}", f"student.pretrained={pretrained}", f"student.epochs={given.epochs}",
        f"student.warmup={min(1, given.epochs - 1)}", f"student.batch_size={given.batch_size}", "threads=1",
        "knowledge.teachers=[]", "distill.share=0",
    ]  # fmt: skip


@contextlib.contextmanager
def check_pictures(overrides: list[str]) -> Iterator[None]:
    """A temporary working folder in which these pictures are packed and the student has no teacher."""
    with tempfile.TemporaryDirectory() as name:
        for file in ("params.yaml", "params.schema.json"):
            shutil.copy(file, name)
        fetched = Path(name) / PRETRAINED
        fetched.parent.mkdir()
        fetched.symlink_to(PRETRAINED.absolute())
        with contextlib.chdir(name):
            with override_params(overrides), mute_stdout():
                check_images.main()
            DISTILL.mkdir()
            paths = read_manifest("train").paths
            write_weights(CURRICULUM, paths, np.ones(len(paths)))
            yield


@contextlib.contextmanager
def mute_stdout() -> Iterator[None]:
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        yield


def format_values(values: Sequence[float]) -> str:
    """Mean, standard deviation and every value."""
    sd = statistics.stdev(values) if len(values) > 1 else float("nan")
    each = " ".join(f"{value:.4f}" for value in values)
    return f"{statistics.mean(values):.4f} sd {sd:.4f}  {each}"
