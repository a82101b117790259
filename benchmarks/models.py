"""Speed of the networks in models.archs on this CPU: inference as deployed, and training.

Inference: bytes of a picture in, probabilities out; one picture (latency) and batches of 32 (throughput),
eager and as frozen TorchScript, on one thread and on all. Training: a step of 32 pictures on all threads. All
networks take turns in every round.

params  models
writes  benchmarks/models_latency.csv    model, mode, threads, batch; ms per picture: median, lowest, highest
run     python -m benchmarks.models
"""

import os
import platform
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import pandas as pd
import torch
from torch import nn

from benchmarks.timing import time_in_turns
from benchmarks.training import build_ours
from src.export.deployed import Deployed
from src.export.with_torch import trace
from src.ground.files import open_atomically
from src.ground.params import read, read_top
from src.losses.bases import BASES
from src.machine.runtime import MachineSettings, start_machine
from src.networks.libraries import build_model
from tools.models import ModelsSettings

TABLE = Path("benchmarks/models_latency.csv")
ROUNDS, BATCH, CALLS = 5, 32, 10
ALL = os.cpu_count() or 1

Contestants = dict[tuple[str, str, int, int], Callable[[], object]]  # name, mode, threads, pictures per call


def main() -> None:
    settings = read(ModelsSettings, "models")
    start_machine(replace(read_top(MachineSettings), threads=ALL, device="cpu", processes=1), seed=0)
    contestants: Contestants = {}
    for arch in settings.archs:
        step = build_ours(arch, settings.height, settings.width, BATCH, steps=1)
        contestants |= build_inference(arch, settings)
        contestants[arch, "training", ALL, BATCH] = repeat_on_threads(ALL, step, 1)
    contestants = dict(sorted(contestants.items(), key=lambda item: item[0][2]))  # threads change rarely
    seconds = time_in_turns(contestants, ROUNDS)
    rows = []
    for (arch, mode, threads, batch), values in seconds.items():
        each = [1000 * value / (batch if batch > 1 else CALLS) for value in values]
        row = {"model": arch, "mode": mode, "threads": threads, "batch": batch}
        rows.append(row | {"ms": median(each), "ms_low": min(each), "ms_high": max(each)})
    table = pd.DataFrame(rows).assign(machine=describe_machine())
    table["model"] = pd.Categorical(table["model"], settings.archs)
    table = table.sort_values(["model", "mode", "threads", "batch"])
    with open_atomically(TABLE) as file:
        table.to_csv(file, index=False, float_format="%.3f", lineterminator="\n")
    print(table.drop(columns="machine").to_string(index=False, float_format="%.2f"))
    print(f"{TABLE}: {ROUNDS} rounds on {describe_machine()}")


@torch.inference_mode()
def build_inference(arch: str, settings: ModelsSettings) -> Contestants:
    """The network in both modes, on one thread and on all, for one picture and a batch."""
    height, width = settings.height, settings.width
    eager = Deployed(build_model(arch, settings.classes, "models"), BASES["softmax"], temperature=1.0).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        script = trace(eager, torch.zeros(2, 3, height, width, dtype=torch.uint8))
    images = torch.randint(0, 256, (BATCH, height, width, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    contestants: Contestants = {}
    for mode, network in (("eager", eager), ("torchscript", script)):
        for threads in sorted({1, ALL}):
            for batch, calls in ((1, CALLS), (BATCH, 1)):
                call = build_forward(network, images[:batch])
                contestants[arch, mode, threads, batch] = repeat_on_threads(threads, call, calls)
    return contestants


def build_forward(network: nn.Module, images: torch.Tensor) -> Callable[[], object]:
    """A forward pass without gradients."""
    return torch.inference_mode()(lambda: network(images))


def repeat_on_threads(threads: int, run: Callable[[], object], calls: int) -> Callable[[], None]:
    """A function that calls `run` `calls` times on this many threads."""

    def repeat() -> None:
        torch.set_num_threads(threads)
        for _ in range(calls):
            run()

    return repeat


def describe_machine() -> str:
    """The CPU, its cores, and the version and instruction set of torch."""
    about = Path("/proc/cpuinfo")  # Linux only
    found = re.search(r"model name\s*: (.*)", about.read_text()) if about.exists() else None
    name = found.group(1) if found else platform.machine()
    version, capability = torch.__version__.partition("+")[0], torch.backends.cpu.get_cpu_capability()
    return f"{name}, {ALL} cores, torch {version} with {capability}"


if __name__ == "__main__":
    main()
