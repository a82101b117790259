"""What the same bytes on every CPU cost: training steps under each `cpu_isa`, and with threads that sleep.

Each contestant has a process and a params.yaml of its own, since torch and its libraries read these settings
when they are loaded; the processes take turns.

run     python -m benchmarks.instructions
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.timing import format_table
from benchmarks.training import ask, build_ours, serve_epochs
from src.ground.params import PARAMS, SCHEMA, read
from src.machine.isa import CPU_ISA, SAME, SPINS

ROUNDS = 7
SIDES = {  # name -> cpu_isa, how often idle threads look for work before they sleep
    "avx2": ("avx2", SPINS),
    "same": (SAME, SPINS),
    "auto": ("auto", SPINS),
    "same, threads sleep at once": (SAME, "0"),  # as by OMP_WAIT_POLICY=passive
    "same, threads spin": (SAME, "300000"),  # libgomp's default
}
NETS = {  # arch, pixels -> batch size, steps per round
    ("timm/test_mambaout", 32): (50, 20),
    ("resnet18", 32): (50, 4),
    ("mobilenet_v3_large", 128): (16, 4),
    ("timm/vit_tiny_patch16_224", 224): (16, 1),
}


def begin(side: str, arch: str, pixels: int, folder: Path) -> subprocess.Popen:
    """Start a contestant, in a folder that has its settings."""
    cpu_isa, spins = SIDES[side]
    folder.mkdir()
    shutil.copy(SCHEMA, folder)
    text, own = PARAMS.read_text(encoding="utf-8"), f"cpu_isa: {read(str, 'cpu_isa')} "
    (folder / PARAMS).write_text(text.replace(own, f"cpu_isa: {cpu_isa} "), encoding="utf-8")
    clean = {name: value for name, value in os.environ.items() if name not in CPU_ISA[SAME]}
    environment = clean | {"PYTHONPATH": os.getcwd(), "GOMP_SPINCOUNT": spins}
    command = [
        sys.executable,
        "-m",
        "benchmarks.instructions",
        arch,
        *map(str, (pixels, *NETS[arch, pixels])),
    ]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        bufsize=1,
    )  # fmt: skip


def main() -> None:
    for arch, pixels in NETS:
        with tempfile.TemporaryDirectory() as place:
            processes = {
                side: begin(side, arch, pixels, Path(place) / str(number))
                for number, side in enumerate(SIDES)
            }
            seconds: dict[str, list[float]] = {side: [] for side in SIDES}
            for _ in range(ROUNDS):
                for side, process in processes.items():
                    seconds[side].append(ask(process))
            for process in processes.values():
                process.communicate()
        print(f"\n{arch} at {pixels} pixels, batches of {NETS[arch, pixels][0]}")
        print(format_table(seconds, "avx2"), flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        arch, (pixels, batch_size, steps) = sys.argv[1], map(int, sys.argv[2:])
        serve_epochs(build_ours(arch, pixels, pixels, batch_size, steps))
    else:
        main()
