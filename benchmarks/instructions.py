"""What the same bytes on every CPU cost: training steps under each `cpu_isa`, and with threads that sleep.

Each contestant has a process and a params.yaml of its own, since torch and its libraries read these settings
when they are loaded; the processes take turns. Instructions are compared by the CPU time of one thread, which
other programs on the machine hardly change, ways of waiting by the clock and with all threads.

run     python -m benchmarks.instructions          both
        python -m benchmarks.instructions cpu      by CPU time: cpu_isa, and bfloat16 where the CPU has it
        python -m benchmarks.instructions waiting  by the clock: how idle threads wait
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.timing import format_table
from benchmarks.training import ask, build_ours, serve_epochs
from src.ground.params import PARAMS, SCHEMA, read
from src.machine.isa import CPU_ISA, SAME, SPINS

ROUNDS = 7


@dataclass(frozen=True)
class Side:
    """A contestant."""

    cpu_isa: str
    precision: str = "float32"
    threads: int = 1
    spins: str = SPINS  # how often idle threads look for work before they sleep


ALL = os.cpu_count() or 1
GROUPS: dict[str, tuple[str, dict[str, Side]]] = {  # group -> the side that is 1, sides
    "cpu": (
        "auto",
        {
            "same": Side(SAME),
            "avx2": Side("avx2"),
            "auto": Side("auto"),
            "auto, bfloat16": Side("auto", "bfloat16"),
        },
    ),
    "waiting": (
        "same",
        {
            "same": Side(SAME, threads=ALL),
            "same, threads sleep at once": Side(SAME, threads=ALL, spins="0"),  # by OMP_WAIT_POLICY=passive
            "same, threads spin": Side(SAME, threads=ALL, spins="300000"),  # libgomp's default
        },
    ),
}
NETS = {  # arch, pixels -> batch size, steps per round
    ("timm/test_mambaout", 32): (50, 4),
    ("resnet18", 32): (50, 2),
    ("timm/test_resnet", 128): (16, 2),
    ("resnet18", 128): (16, 1),
    ("mobilenet_v3_large", 128): (16, 1),
    ("timm/vit_tiny_patch16_224", 224): (8, 1),
}


def begin(side: Side, arch: str, pixels: int, folder: Path) -> subprocess.Popen:
    """Start a contestant, in a folder that has its settings."""
    folder.mkdir()
    shutil.copy(SCHEMA, folder)
    text = PARAMS.read_text(encoding="utf-8")
    for key, value in (("cpu_isa", side.cpu_isa), ("threads", side.threads)):
        own = f"{key}: {read(type(value), key)} "
        text = text.replace(f"\n{own}", f"\n{key}: {value} ")
    (folder / PARAMS).write_text(text, encoding="utf-8")
    clean = {name: value for name, value in os.environ.items() if name not in CPU_ISA[SAME]}
    environment = clean | {"PYTHONPATH": os.getcwd(), "GOMP_SPINCOUNT": side.spins}
    task = json.dumps([asdict(side), arch, pixels, *NETS[arch, pixels]])
    command = [sys.executable, "-m", "benchmarks.instructions", task]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        bufsize=1,
    )  # fmt: skip


def serve(side: Side, arch: str, pixels: int, batch_size: int, steps: int) -> None:
    """Time one side's steps: of CPU on one thread, on the clock with several."""
    run = build_ours(arch, pixels, pixels, batch_size, steps, getattr(torch, side.precision))
    serve_epochs(run, time.process_time if side.threads == 1 else time.perf_counter)


def compare(group: str, arch: str, pixels: int) -> None:
    (reference, sides), (batch_size, steps) = GROUPS[group], NETS[arch, pixels]
    with tempfile.TemporaryDirectory() as place:
        processes = {
            name: begin(side, arch, pixels, Path(place) / str(number))
            for number, (name, side) in enumerate(sides.items())
        }
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(ROUNDS):
            for name, process in processes.items():
                seconds[name].append(ask(process) / steps)
        for process in processes.values():
            process.communicate()
    print(f"\n{group}: a step of {arch} at {pixels} pixels, batches of {batch_size}")
    print(format_table(seconds, reference), flush=True)


def main(groups: Sequence[str] = ()) -> None:
    for group in groups or GROUPS:
        for arch, pixels in NETS:
            compare(group, arch, pixels)


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1].startswith("["):
        side, *step = json.loads(sys.argv[1])
        serve(Side(**side), *step)
    else:
        main(sys.argv[1:])
