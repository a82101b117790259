"""The device and the threads of this process, and what makes its results repeatable."""

import os

import torch

from src.errors import UserError


def start(device: str, threads: int, cpu_isa: str, seed: int) -> torch.device:
    """Choose the device, set threads and seed; `auto` says what it took, `cuda` is never silently the CPU."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("params.yaml: device: cuda, but torch sees no GPU here (set device: cpu or auto)")
    chosen = torch.device(
        "cuda" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu"
    )
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
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    return chosen
