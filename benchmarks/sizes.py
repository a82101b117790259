"""Smaller pictures while training, on photographs of your own: accuracy and CPU time, next to full size.

A pretrained network is fine-tuned on random crops at full size, by FixRes, by FixRes with a last phase at
full size and by progressive resizing (augment.train_scales). The rows take turns, seed by seed. Accuracy is
that of the best epoch on val, also on larger test pictures than the network was trained for. CPU time is
that of the training with all that it measures; other work on the machine changes it little.

reads   DATA, a folder of train, val and test; WEIGHTS, pretrained ones of ARCH
run     python -m benchmarks.sizes DATA WEIGHTS [--arch NAME] [--size 96] [--epochs 5] [--seeds 3]
"""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import nn

from benchmarks.students import (
    check_pictures,
    find_accuracy,
    format_values,
    list_overrides,
    make_parser,
    train_student,
)
from src.ground.errors import run
from src.ground.params import read
from src.pictures.grey import read_grey_range
from src.pictures.manifest import read_manifest
from src.pictures.reading import FilePictures
from src.training.state import State
from tools.ablation.overrides import override_params

FULL = "full size"
ROWS = {  # -> augment.train_scales
    FULL: "[1.0]",
    "FixRes": "[0.75]",
    "FixRes, then full size": "[0.75,0.75,0.75,0.75,1.0]",
    "progressive": "[0.5,0.75,1.0]",
}
LARGER = 4 / 3  # of the side, to measure at


class Result(NamedTuple):
    """Accuracy in [0, 1], and CPU time in seconds."""

    val: float
    test: float
    larger: float  # on test pictures LARGER times as large
    seconds: float


def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("benchmarks.sizes", epochs=5)
    given = parser.parse_args(arguments)
    overrides = [
        *list_overrides(given),
        "student.lr=0.001", "augment.policy=crop", "augment.min_area=0.25", "augment.flip=0.5",
    ]  # fmt: skip
    found: dict[str, list[Result]] = {name: [] for name in ROWS}
    with check_pictures(overrides), override_params(overrides):
        for seed in range(1, given.seeds + 1):
            for name, scales in ROWS.items():
                result = train([f"augment.train_scales={scales}", f"seed={seed}"], given.size)
                found[name].append(result)
                print(f"seed {seed}, {name:22} {format_result(result)}", flush=True)
    for name, results in found.items():
        ratios = [one.seconds / full.seconds for one, full in zip(results, found[FULL], strict=True)]
        print(f"{name:22} CPU time {statistics.mean(ratios):.3f} of that of {FULL}")
        for column in ("val", "test", "larger"):
            print(f"{'':22} {column:6} {format_values([getattr(result, column) for result in results])}")


def train(overrides: Sequence[str], side: int) -> Result:
    """What a student with these overrides reaches on pictures of `side` pixels."""
    began = time.process_time()
    model = train_student(overrides, State())
    seconds = time.process_time() - began
    sizes = {"val": ("val", side), "test": ("test", side), "larger": ("test", round(LARGER * side))}
    accuracies = {name: measure_accuracy(model, *size) for name, size in sizes.items()}
    return Result(**accuracies, seconds=seconds)


def measure_accuracy(model: nn.Module, split: str, side: int) -> float:
    """Accuracy in [0, 1] on the pictures of a split, fitted to `side` pixels."""
    manifest = read_manifest(split)
    root, grey_range = Path(read(str, "data.root")), read_grey_range()
    fit, dct_scaling = read(str, "images.fit"), read(bool, "images.dct_scaling")
    pictures = FilePictures(root, manifest.paths, side, side, fit, dct_scaling, grey_range)
    return find_accuracy(model, pictures, manifest.labels)


def format_result(result: Result) -> str:
    accuracies = [f"{name} {getattr(result, name):.4f}" for name in ("val", "test", "larger")]
    return f"{', '.join(accuracies)}, {result.seconds:.1f} s of CPU"


if __name__ == "__main__":
    run(main)
