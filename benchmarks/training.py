"""A training step: ours against a plain loop as in torchvision's references/classification.

The reference gets normalised float batches in torch's default memory format and steps with a plain
torch.optim.SGD; it reads the loss of every step, as its MetricLogger does. Ours gets bytes and converts them
to floats in `train_epoch`. The sides take turns, each in its own process, since ours keeps the memory of
freed tensors, which is a setting of the process.

run     python -m benchmarks.training
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import torch
import torchvision
from torch import nn

from benchmarks.timing import format_table
from src.batches.batch import Batch
from src.ground.params import read, read_top
from src.losses.bases import BASES
from src.losses.loss import Loss
from src.machine.runtime import MachineSettings, start_machine
from src.networks.libraries import build_model
from src.training.optim import build_optimizer
from src.training.settings import StudentSettings
from src.training.step import Training, train_epoch

ROUNDS, CLASSES, LR = 7, 10, 0.01
NETS = {  # name, pixels -> batch size, steps
    ("resnet18", 32): (128, 6),
    ("resnet18", 224): (16, 3),
    ("mobilenet_v3_large", 224): (16, 4),
    ("efficientnet_b0", 224): (16, 3),
}


def build_reference(arch: str, height: int, width: int, batch_size: int, steps: int) -> Callable[[], None]:
    model = torchvision.models.get_model(arch, num_classes=CLASSES)
    criterion, optimizer = nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9)
    images, targets = torch.randn(batch_size, 3, height, width), torch.arange(batch_size) % CLASSES

    def run_epoch() -> None:
        model.train()
        for _ in range(steps):
            loss = criterion(model(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()

    return run_epoch


def build_ours(
    arch: str,
    height: int,
    width: int,
    batch_size: int,
    steps: int,
    precision: torch.dtype = torch.float32,
) -> Callable[[], object]:
    device = start_machine(replace(read_top(MachineSettings), device="cpu", processes=1), seed=0)
    network = build_model(arch, CLASSES, "student")
    optimizer = build_optimizer(network, replace(read(StudentSettings, "student"), optimizer="sgd", lr=LR))
    loss = Loss(BASES["softmax"], [])
    training = Training(model=network, loss=loss, device=device, optimizer=optimizer, precision=precision)
    images = torch.randint(0, 256, (batch_size, height, width, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    targets = torch.eye(CLASSES)[torch.arange(batch_size) % CLASSES]
    batches = [Batch(images, targets, targets, torch.ones(batch_size))] * steps
    return lambda: train_epoch(training, batches, (0, 1))


SIDES: dict[str, Callable[..., Callable[[], object]]] = {"reference": build_reference, "ours": build_ours}


def serve(name: str, arch: str, side: int, batch_size: int, steps: int) -> None:
    """Time one side's epochs."""
    torch.manual_seed(0)
    torch.set_num_threads(read(int, "threads"))
    serve_epochs(SIDES[name](arch, side, side, batch_size, steps))


def serve_epochs(run_epoch: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> None:
    """Time an epoch for every line of stdin, after one that warms up."""
    run_epoch()
    for _ in sys.stdin:
        began = clock()
        run_epoch()
        print(clock() - began, flush=True)


def begin(name: str, arch: str, side: int) -> subprocess.Popen:
    sizes = map(str, (side, *NETS[arch, side]))
    command = [sys.executable, "-m", "benchmarks.training", name, arch, *sizes]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)


def ask(process: subprocess.Popen) -> float:
    assert process.stdin and process.stdout
    process.stdin.write("\n")
    return float(process.stdout.readline())


def main() -> None:
    for arch, side in NETS:
        processes = {name: begin(name, arch, side) for name in SIDES}
        seconds: dict[str, list[float]] = {name: [] for name in SIDES}
        for _ in range(ROUNDS):
            for name, process in processes.items():
                seconds[name].append(ask(process))
        for process in processes.values():
            process.communicate()
        batch_size, steps = NETS[arch, side]
        rate = batch_size * steps / statistics.median(seconds["ours"])
        print(f"\n{arch} at {side} pixels, batches of {batch_size}: ours {rate:.0f} pictures per second")
        print(format_table(seconds, "reference"), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])) if len(sys.argv) > 1 else main()
