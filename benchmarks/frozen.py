"""A classifier on a frozen backbone, from pictures and from features; fine-tuning, plain and after probing.

The rows take turns, seed by seed: accuracy on val and test, and the CPU time of the training's process, which
other work on the machine changes little. Features are computed anew for each row but one.

reads   DATA, a folder of train, val and test; WEIGHTS, pretrained ones of ARCH
run     python -m benchmarks.frozen DATA WEIGHTS [--arch NAME --size 96 --epochs 5 --seeds 3 ...]
"""

import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from benchmarks.students import (
    check_pictures,
    format_values,
    list_overrides,
    make_parser,
    measure_split,
    mute_stdout,
)
from src.batches.data import TrainingSet
from src.ground.errors import run
from src.ground.params import read_top
from src.machine.runtime import MachineSettings
from src.networks.checkpoint import save_weights
from src.training.curves import NoCurves
from src.training.features import FOLDER
from src.training.fit import fit
from src.training.state import State
from stages.train_student import build_job
from tools.ablation.overrides import override_params

Change = Callable[[TrainingSet], TrainingSet]

LIGHT, PLAIN = ["augment.policy=light", "augment.flip=0.5"], ["augment.policy=none"]
FROZEN, ALL = ["student.freeze=backbone", "student.lr=0.003"], ["student.lr=0.001"]
PROBED = ["student.probe_first=true"]


def see_pictures(data: TrainingSet) -> TrainingSet:
    """The data with a transform that changes nothing, but lets no features be computed before."""
    return replace(data, transforms=lambda epoch: [lambda batch, generator: batch])


class Row(NamedTuple):
    """A training that is compared."""

    name: str
    overrides: list[str]
    change: Change = lambda data: data
    fresh: bool = True  # whether features of an earlier training are removed first


ROWS = (
    Row("frozen, augmented", [*FROZEN, *LIGHT]),
    Row("frozen, plain, from pictures", [*FROZEN, *PLAIN], see_pictures),
    Row("frozen, plain, from features", [*FROZEN, *PLAIN]),
    Row("frozen, plain, features found", [*FROZEN, *PLAIN], fresh=False),
    Row("fine-tuned", [*ALL, *LIGHT]),
    Row("fine-tuned after probing", [*ALL, *LIGHT, *PROBED]),
)


class Result(NamedTuple):
    """What one training reached, in [0, 1], and its CPU time in seconds."""

    val: float
    test: float
    seconds: float


def main() -> None:
    parser = make_parser("benchmarks.frozen", epochs=5)
    parser.add_argument("--rows", default="", help="only rows whose names begin with this")
    parser.add_argument("--keep", type=Path, help="a folder for the weights")
    arguments = parser.parse_args()
    common = list_overrides(arguments)
    keep = arguments.keep and arguments.keep.absolute()
    rows = [row for row in ROWS if row.name.startswith(arguments.rows)]
    results: dict[str, list[Result]] = {row.name: [] for row in rows}
    with check_pictures(common):
        for seed in range(1, arguments.seeds + 1):
            for row in rows:
                file = keep and keep / f"{row.name.replace(', ', '-').replace(' ', '-')}-{seed}.safetensors"
                if row.fresh:
                    shutil.rmtree(FOLDER, ignore_errors=True)
                result = train([*common, *row.overrides, f"seed={seed}"], row.change, file)
                results[row.name].append(result)
                figures = f"val {result.val:.4f}, test {result.test:.4f}, {result.seconds:.1f} s"
                print(f"seed {seed}, {row.name:32} {figures}", flush=True)
    for name, found in results.items():
        for column in Result._fields:
            print(f"{name:32} {column:8} {format_values([getattr(one, column) for one in found])}")
    for name, found in results.items():
        ratios = [
            one.seconds / first.seconds for one, first in zip(found, results[rows[0].name], strict=True)
        ]
        print(f"{name:32} CPU time over that of {rows[0].name!r}: {statistics.mean(ratios):.3f}")


def train(overrides: list[str], change: Change, keep: Path | None) -> Result:
    """Train a student with these overrides; `keep` gets its weights."""
    with override_params(overrides), mute_stdout():
        job = build_job(replace(read_top(MachineSettings), device="cpu", processes=1))
        job, began = replace(job, data=change(job.data)), time.process_time()
        best = fit(job, NoCurves(), State())
        seconds = time.process_time() - began
        test = measure_split(job.network, "test")
    if keep:
        save_weights(keep, job.network, job.facts(overrides))
    return Result(best.accuracy, test, seconds)


if __name__ == "__main__":
    run(main)
