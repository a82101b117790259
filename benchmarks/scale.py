"""Seconds and memory of each stage by the number of pictures, and the bytes by which each picture adds to it.

Made pictures of 16 x 16 pixels, all different, in a tenth as many for test and a thousand for val: checked,
learned from for one epoch, dumped by a teacher, weighed, measured. The memory is the largest sum over a
stage's processes of what is theirs alone, pages shared by several counted in parts, ten times a second. Pages
of a mapped file, which the system may take back at any time, are no part of it.

run     python -m benchmarks.scale [--classes 10] [--arch NAME] [--set KEY=VALUE ...] [NUMBER ...]
"""

import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from dvc.utils.hydra import apply_overrides
from PIL import Image

from src.ground.errors import Parser, UserError, run

SIDE, EACH = 16, 0.1  # pixels; seconds between two looks at the memory
NUMBERS = (10_000, 100_000)
OVERRIDES = (
    f"images.height={SIDE}", f"images.width={SIDE}", "images.pack=true", "knowledge.min_accuracy=0",
    *(
        f"{network}.{setting}"
        for network in ("teacher.big", "student")
        for setting in ("epochs=1", "warmup=0", "batch_size=256")
    ),
    "teacher.big.augment.policy=none", "augment.policy=none",
)  # fmt: skip
STAGES = (
    "check_images", "plan_views", "train_teacher big", "dump_knowledge", "make_curriculum", "train_student",
    "evaluate",
)  # fmt: skip
PARTS = ("Pss_Anon:", "Pss_Shmem:")  # of /proc/PID/smaps_rollup, in kB


class Cost(NamedTuple):
    """What a stage took."""

    seconds: float
    memory: float  # MB


def make_pictures(root: Path, number: int, classes: int) -> None:
    """Write `number` BMP files of noise to root/train, fewer to val and test, evenly over the classes."""
    generator, file = np.random.default_rng(0), io.BytesIO()
    Image.new("RGB", (SIDE, SIDE)).save(file, "BMP")
    header = file.getvalue()[: -3 * SIDE * SIDE]
    for split, count in {"train": number, "val": 1000, "test": number // 10}.items():
        folders = [root / split / f"class{each:05}" for each in range(classes)]
        for folder in folders:
            folder.mkdir(parents=True)
        for each in range(max(count, classes)):
            (folders[each % classes] / f"{each:07}.bmp").write_bytes(
                header + generator.bytes(3 * SIDE * SIDE)
            )


def prepare(clone: Path, root: Path, arch: str, overrides: Sequence[str]) -> None:
    """A clone of the last commit, whose student is one epoch of `arch`."""
    subprocess.run(["git", "clone", "--quiet", ".", str(clone)], check=True)
    own = [f"data.root={root}", f"student.arch={arch}", f"teacher.big.arch={arch}"]
    apply_overrides(clone / "params.yaml", [*OVERRIDES, *own, *overrides])


def watch(clone: Path, stage: str) -> Cost:
    """Run a stage; a UserError if it fails."""
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        began, memory = time.perf_counter(), 0
        command = [sys.executable, "-m", *f"stages.{stage}".split()]
        process = psutil.Popen(command, cwd=clone, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None:
            memory = max(memory, find_memory(process))
            time.sleep(EACH)
        seconds = time.perf_counter() - began
        output.seek(0)
        if process.returncode:
            raise UserError(f"{stage}: {output.read().strip().splitlines()[-1]}")
    return Cost(seconds, memory / 1024)


def find_memory(process: psutil.Popen) -> int:
    """Of a process and those that it started, in kB."""
    total = 0
    try:
        for each in (process, *process.children(recursive=True)):
            lines = Path(f"/proc/{each.pid}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith(PARTS))
    except (psutil.NoSuchProcess, OSError):
        pass  # it has just ended
    return total


def measure(number: int, classes: int, arch: str, overrides: Sequence[str]) -> tuple[dict[str, Cost], float]:
    """The cost of each stage, and the bytes of the training manifest for each picture."""
    with tempfile.TemporaryDirectory() as name:
        folder, costs = Path(name), {}
        clone = folder / "clone"
        make_pictures(folder / "pictures", number, classes)
        prepare(clone, folder / "pictures", arch, overrides)
        for stage in STAGES:
            costs[stage] = watch(clone, stage)
            print(
                f"{number:9,} {stage:17} {costs[stage].seconds:8.1f} s {costs[stage].memory:8.0f} MB",
                flush=True,
            )
        return costs, os.path.getsize(clone / "data/manifest/train.csv") / number


def main() -> None:
    parser = Parser(prog="python -m benchmarks.scale")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--arch", default="timm/test_efficientnet")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="changes of params.yaml")
    parser.add_argument("numbers", type=int, nargs="*", default=NUMBERS, help="of pictures of train")
    given = parser.parse_args()
    found = {
        number: measure(number, given.classes, given.arch, given.set) for number in sorted(given.numbers)
    }
    least, most = min(found), max(found)
    if least == most:
        return
    print(
        f"\nof {found[most][1]:.0f} bytes a picture in the manifest; more for each picture from {least:,} on:"
    )
    for stage in STAGES:
        few, many = found[least][0][stage], found[most][0][stage]
        more = (many.memory - few.memory) * 2**20 / (most - least)
        print(f"{stage:17} {1000 * (many.seconds - few.seconds) / (most - least):8.3f} ms {more:8.0f} bytes")


if __name__ == "__main__":
    run(main)
