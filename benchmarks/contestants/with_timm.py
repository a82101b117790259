"""timm's train.py as a contestant: its command line, its records, its best weights.

train.py is no part of timm's package, but a file of its repository. Optimizer, weight decay and batch size
are those of the fine-tuning command in its manual (hfdocs/source/training_script.mdx). Its learning rate of
1e-4 is for many more steps, so the rate is an argument. It follows its schedule at every step, as in the
commands that timm's author gives for fine-tuned weights, and the warm-up is a fifth of the epochs if that is
less than 5. All else is train.py's default: cosine schedule, random resized crops, flips, jittered colours,
smoothed labels, the best epoch on val.
"""

import csv
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

import timm
import torch
from timm.data import create_dataset, create_loader, resolve_data_config
from timm.models import create_model

from benchmarks.contestants.comparing import Task
from benchmarks.timing import Usage, run_program
from src.machine.cores import count_cores

RUN = "run"  # the experiment's name: a folder inside that of the outputs


class Record(NamedTuple):
    """What train.py recorded."""

    epochs: int
    val: float  # accuracy in [0, 1] of the best epoch, whose weights it keeps


class Timm:
    takes_epochs = True

    def __init__(self, script: Path, task: Task, lr: float):
        self.script, self.task, self.lr = script.absolute(), task, lr
        self.name = f"timm's train.py, lr {lr:g}"

    def describe(self, epochs: int) -> str:
        words = ["train.py", *list_arguments(self.task, self.lr, epochs, 1, Path("FOLDER"))]
        return f"timm {timm.__version__}: {shlex.join(words)}, as in its manual but for the rate and warm-up"

    def train(self, epochs: int, seed: int, folder: Path) -> Usage:
        arguments = list_arguments(self.task, self.lr, epochs, seed, folder)
        return run_program(folder, sys.executable, str(self.script), *arguments)[0]

    def measure(self, folder: Path) -> tuple[float, float]:
        return read_summary(folder / RUN / "summary.csv").val, measure_best(self.task, folder, "test")


def list_arguments(task: Task, lr: float, epochs: int, seed: int, output: Path) -> list[str]:
    values = {
        "data-dir": task.data, "val-split": "val", "num-classes": len(find_classes(task)),
        "model": task.arch, "pretrained-path": task.weights, "img-size": task.size,
        "batch-size": task.batch_size, "opt": "adamw", "lr": lr, "weight-decay": 0.01,
        "epochs": epochs, "warmup-epochs": min(5, epochs // 5), "seed": seed,
        "workers": count_cores(), "device": "cpu", "output": output, "experiment": RUN,
    }  # fmt: skip
    pairs = (word for name, value in values.items() for word in (f"--{name}", str(value)))
    return ["--pretrained", "--sched-on-updates", *pairs]


def find_classes(task: Task) -> dict[str, int]:
    """The number of each class, in timm's order of names."""
    return create_dataset("", root=str(task.data / "train"), search_split=False).reader.class_to_idx


def read_summary(file: Path) -> Record:
    """The record of a training from its summary.csv, which has a row per epoch and accuracies in per cent."""
    with open(file, newline="") as rows:
        accuracies = [float(row["eval_top1"]) / 100 for row in csv.DictReader(rows)]
    return Record(len(accuracies), max(accuracies))


def measure_best(task: Task, output: Path, split: str) -> float:
    """The accuracy, in [0, 1], of the best weights on a split, its pictures fitted as train.py fits val's."""
    classes, weights = find_classes(task), output / RUN / "model_best.pth.tar"
    model = create_model(task.arch, num_classes=len(classes), checkpoint_path=str(weights)).eval()
    config = resolve_data_config({"img_size": task.size}, model=model)
    dataset = create_dataset("", root=str(task.data / split), search_split=False, class_map=classes)
    loader = create_loader(
        dataset,
        **{name: config[name] for name in ("input_size", "interpolation", "mean", "std", "crop_pct")},
        batch_size=task.batch_size,
        num_workers=0,
        use_prefetcher=False,
        persistent_workers=False,
    )
    with torch.inference_mode():
        right = sum(int((model(images).argmax(dim=1) == labels).sum()) for images, labels in loader)
    return right / len(dataset)
