"""What a step costs here: measured once for each network and size, then remembered.

Two measurements never agree to the last digit, and a choice by them would differ. So .scratch/init.json keeps
them, by CPU, cores, threads, instructions, device and versions of torch and timm: a second make init makes of
the same pictures the same file. Remove it to measure again. N pictures, H height, W width in pixels.
"""

import stages  # noqa: F401  sets the CPU's instructions before torch is imported

# isort: split

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from src.batches.augment import AugmentSettings, augment_each, build_augment
from src.batches.batch import Batch
from src.ground.params import read
from src.losses.bases import BASES
from src.losses.loss import Loss
from src.machine.cores import count_cores
from src.machine.runtime import MachineSettings, describe_device, start_machine
from src.networks.libraries import build_model
from src.networks.predict import predict_logits
from src.training.optim import build_optimizer
from src.training.settings import StudentSettings
from src.training.step import Training, train_epoch
from tools.init.facts import BySide, Costs
from tools.init.memory import FILE, recall_seconds, remember
from tools.init.recipes import Augmentation

CLASSES, BATCH = 10, 32
FEWEST, MOST, ENOUGH = 3, 20, 0.5  # rounds, at most, and seconds that are enough
SIDES = (32, 64, 128, 224)  # pixels; between them costs are interpolated
START = "import stages.train_student"
CPUS = Path("/proc/cpuinfo")


def measure_costs(
    archs: Sequence[str],
    augmentations: Sequence[Augmentation],
    inputs: Sequence[int],
    check: float,
    machine: MachineSettings,
) -> Costs:
    """The costs of these networks for `inputs` of so many pixels a side; prints what it has to measure.

    `check` is what the check of a picture costs, in seconds of one core.
    """
    place = start_machine(machine, seed=0)
    here = describe_machine(machine, place)
    sides = choose_sides(min(inputs), max(inputs))
    known = recall_seconds(here)
    wanted: dict[str, Callable[[], float]] = {"start": time_start}
    for side in sides:
        for one in augmentations:
            wanted[f"augment {one.kind} {side}"] = partial(time_augmentation, one, side)
        for arch in archs:
            wanted[f"step {arch} {side}"] = partial(time_step, arch, side, place)
            wanted[f"forward {arch} {side}"] = partial(time_forward, arch, side, place)
    missing = [name for name in wanted if name not in known]
    if missing:
        warn_of_load(os.getloadavg()[0], count_cores())
        print(f"timing {len(missing)} operations on this machine, once (half a minute or so) ...", flush=True)
    else:
        print(f"a step costs what was timed here before ({FILE}; remove it to time anew)")
    for name in missing:
        known[name] = float(f"{wanted[name]():.3g}")
    remember(here, known)

    def collect(what: str) -> BySide:
        return {side: known[f"{what} {side}"] for side in sides}

    return Costs(
        start=known["start"],
        check=check,
        cores=count_cores(),
        step={arch: collect(f"step {arch}") for arch in archs},
        forward={arch: collect(f"forward {arch}") for arch in archs},
        augment={one.kind: collect(f"augment {one.kind}") for one in augmentations},
    )


def warn_of_load(load: float, cores: int) -> None:
    """Print that the machine has other work, of `load` processes, if that may disturb."""
    if load > cores:
        print(
            f"warning: {load:.0f} other processes compete for {cores} cores: what is timed now may be too "
            f"slow for a run later (remove {FILE} to time anew)"
        )


def choose_sides(smallest: int, largest: int) -> list[int]:
    """The sides to measure at for inputs from `smallest` to `largest` pixels: those between, and around."""
    above = [*SIDES[1:], SIDES[-1]]
    return [
        side
        for below, side, next_one in zip((0, *SIDES), SIDES, above, strict=False)
        if below < largest and (next_one > smallest or side == SIDES[-1])
    ]


def describe_machine(machine: MachineSettings, device: torch.device) -> str:
    """All that costs depend on besides the network and the size."""
    name = "unknown CPU"
    if CPUS.exists():
        lines = CPUS.read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    where = "" if device.type == "cpu" else f"{describe_device(device)}, "
    return (
        f"{where}{name}, {count_cores()} cores, threads {machine.threads}, cpu_isa {machine.cpu_isa}, torch "
        f"{version('torch')}, timm {version('timm')}"
    )


def time_start() -> float:
    """Seconds that a training's process takes until it begins its own work."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", START], check=True, capture_output=True)
    return time.perf_counter() - began


def time_step(arch: str, side: int, device: torch.device) -> float:
    """Seconds a picture of a training step; the first one, which prepares everything, does not count."""
    network = build_model(arch, CLASSES, "student").to(device)
    settings = replace(read(StudentSettings, "student"), optimizer="adam", lr=1e-6, layer_decay=1.0)
    optimizer = build_optimizer(network, settings)
    training = Training(model=network, loss=Loss(BASES["softmax"], []), optimizer=optimizer, device=device)
    images = torch.from_numpy(draw_pictures(side)).permute(0, 3, 1, 2)
    targets = torch.eye(CLASSES)[torch.arange(BATCH) % CLASSES]
    batch = Batch(images, targets, targets, torch.ones(BATCH))
    return time_rounds(lambda: train_epoch(training, [batch], (0, 1)))


def time_forward(arch: str, side: int, device: torch.device) -> float:
    """Seconds a picture of a measurement."""
    network, pictures = build_model(arch, CLASSES, "student").to(device), draw_pictures(side)
    return time_rounds(lambda: predict_logits(network, pictures, BATCH, device))


def time_augmentation(one: Augmentation, side: int) -> float:
    """Seconds of one core a picture."""
    settings = replace(read(AugmentSettings, "augment"), policy=one.policy, basis=one.basis)
    augment = build_augment(settings, side, side)
    pictures = draw_pictures(side)
    return time_rounds(lambda: augment_each(pictures, augment, 0, 1, range(BATCH)))


def draw_pictures(side: int) -> np.ndarray:
    """Random pictures uint8 (N, H, W, 3)."""
    return np.random.default_rng(0).integers(0, 256, (BATCH, side, side, 3), dtype=np.uint8)


def time_rounds(work: Callable[[], Any]) -> float:
    """Seconds a picture of the fastest of some rounds, after one that warms up.

    What else runs here only adds to a round, and may have ended when the figure is used again.
    """
    work()
    seconds: list[float] = []
    while len(seconds) < FEWEST or (len(seconds) < MOST and sum(seconds) < ENOUGH):
        began = time.perf_counter()
        work()  # ends on the CPU, so a GPU has finished too
        seconds.append(time.perf_counter() - began)
    return min(seconds) / BATCH
