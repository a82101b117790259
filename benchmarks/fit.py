"""What letterbox, crop and stretch cost after fine-tuning, on photographs of your own.

A pretrained network is fine-tuned with equal settings on the same pictures, fitted in each of the three ways.
Accuracy is that of the best epoch on val, on val and on test fitted alike; a difference is to the first fit,
seed by seed, with its 95 % interval. CPU time is that of the training with all that it measures; other work
on the machine changes it little.

reads   DATA, a folder of train, val and test; WEIGHTS, pretrained ones of ARCH
run     python -m benchmarks.fit DATA WEIGHTS [--arch NAME] [--size 96] [--epochs 4] [--batch-size 32]
        [--lr 0.001] [--policy crop] [--seeds 3] [--fits letterbox crop stretch]
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.students import (
    check_pictures,
    format_values,
    list_overrides,
    make_parser,
    measure_split,
    train_student,
)
from src.ground.errors import run
from src.pictures.fitting import FITS
from src.pictures.manifest import read_manifest
from src.training.state import State
from tools.ablation.overrides import override_params
from tools.ablation.paired import estimate_mean

SPLITS = ("val", "test")


class Result(NamedTuple):
    """Accuracy in [0, 1], and CPU time in seconds."""

    val: float
    test: float
    seconds: float


def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser("benchmarks.fit", epochs=4)
    parser.add_argument("--lr", type=float, default=0.001)
    parser.add_argument("--policy", default="crop", help="augment.policy")
    parser.add_argument("--fits", nargs="+", choices=FITS, default=list(FITS))
    given = parser.parse_args(arguments)
    common = [
        *list_overrides(given),
        f"student.lr={given.lr}",
        f"augment.policy={given.policy}",
        "augment.min_area=0.25",
        "augment.flip=0.5",
    ]
    found: dict[str, list[Result]] = {}
    for fit in given.fits:
        overrides = [*common, f"images.fit={fit}"]
        with check_pictures(overrides), override_params(overrides):
            counts = {split: len(read_manifest(split).paths) for split in SPLITS}
            found[fit] = []
            for seed in range(1, given.seeds + 1):
                result = train([f"seed={seed}"])
                found[fit].append(result)
                figures = f"val {result.val:.4f}, test {result.test:.4f}, {result.seconds:.1f} s of CPU"
                print(f"seed {seed}, {fit:9} {figures}", flush=True)
    first, *others = given.fits
    for fit, results in found.items():
        print(f"{fit:9} CPU time {sum(result.seconds for result in results):.1f} s")
        for split in SPLITS:
            print(f"{'':9} {split:4} {format_values([getattr(result, split) for result in results])}")
    for fit in others:
        for split, count in counts.items():
            pairs = zip(found[fit], found[first], strict=True)
            differences = [getattr(own, split) - getattr(other, split) for own, other in pairs]
            print(f"{fit} - {first}, {split}: {format_difference(np.array(differences), 1 / count)}")


def train(overrides: Sequence[str]) -> Result:
    """What a student with these overrides reaches."""
    began = time.process_time()
    model = train_student(overrides, State())
    seconds = time.process_time() - began
    return Result(measure_split(model, "val"), measure_split(model, "test"), seconds)


def format_difference(differences: np.ndarray, resolution: float) -> str:
    """The mean of paired differences (n,) of accuracies that move in steps of `resolution`."""
    mean = estimate_mean(differences, resolution)
    each = " ".join(f"{value:+.4f}" for value in differences)
    return f"{mean.difference:+.4f} ({mean.low:+.4f} to {mean.high:+.4f})  {each}"


if __name__ == "__main__":
    run(main)
