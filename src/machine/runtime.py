"""The device and the threads of this process, and what makes its results repeatable."""

import os

import numpy as np
import torch

from src.ground.errors import UserError
from src.ground.memory import keep_memory
from src.machine.distributed import join, launch, launched


def start(device: str, threads: int, cpu_isa: str, seed: int, processes: int) -> torch.device:
    """Choose the device, set threads and seed; `auto` says what it took, `cuda` is never silently the CPU.

    With several processes the first call starts them all and never returns: each comes here again.
    """
    chosen = choose(device)
    if processes > 1 and not launched():
        launch(processes, threads, chosen)
    if launched():
        chosen = join(processes, chosen)
    if device == "auto":
        print(f"device: {chosen}")
    capability = torch.backends.cpu.get_cpu_capability()
    if cpu_isa not in ("auto", capability.lower()):
        print(f"warning: cpu_isa: {cpu_isa} asked for, torch uses {capability}: last digits may differ")
    os.environ.setdefault(
        "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
    )  # without it cuBLAS has no repeatable products
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # it cost 14 % of a step
    keep_memory()
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    return chosen


def choose(device: str) -> torch.device:
    """What auto, cpu or cuda means here."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("params.yaml: device: cuda, but torch sees no GPU here (set device: cpu or auto)")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def seed_generators(device: torch.device, *key: int) -> None:
    """Seed torch's generators, the CPU's and that of `device`, from several numbers.

    torch.manual_seed would take 0.4 ms: it formats a traceback for CUDA at every call, and keeps it.
    """
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
