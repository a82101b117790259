"""What the same bytes on every CPU cost: training steps under each `cpu_isa`, and with threads that sleep.

Each contestant has a process of its own, since torch and its libraries read these settings when they are
loaded; the processes take turns.

run     python -m benchmarks.instructions
"""

import os
import subprocess
import sys

from benchmarks.timing import format_table
from benchmarks.training import ask, build_ours, serve_epochs
from src.machine.isa import CPU_ISA
from tools.ablation.overrides import override_params

ROUNDS = 9
SIDES = {  # name -> cpu_isa, how idle threads wait
    "avx2": ("avx2", "passive"),
    "same": ("same", "passive"),
    "auto": ("auto", "passive"),
    "same, threads spin": ("same", "active"),
}
NETS = {  # arch, pixels -> batch size, steps per round
    ("timm/test_mambaout", 32): (50, 20),
    ("resnet18", 32): (50, 4),
    ("mobilenet_v3_large", 128): (16, 4),
    ("timm/vit_tiny_patch16_224", 224): (16, 1),
}


def begin(side: str, arch: str, pixels: int) -> subprocess.Popen:
    """The process of one side, which trains an epoch for every line of its stdin."""
    cpu_isa, policy = SIDES[side]
    command = [sys.executable, "-m", "benchmarks.instructions", cpu_isa, arch, str(pixels)]
    environment = os.environ | CPU_ISA[cpu_isa] | {"OMP_WAIT_POLICY": policy}
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )


def main() -> None:
    for arch, pixels in NETS:
        processes = {side: begin(side, arch, pixels) for side in SIDES}
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
        cpu_isa, arch, pixels = sys.argv[1], sys.argv[2], int(sys.argv[3])
        with override_params([f"cpu_isa={cpu_isa}"]):
            run_epoch = build_ours(arch, pixels, pixels, *NETS[arch, pixels])
        serve_epochs(run_epoch)
    else:
        main()
