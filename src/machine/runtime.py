"""The device and threads of this process, and what makes its results reproducible."""

import os
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch.utils import deterministic

from src.ground.errors import UserError
from src.ground.kinds import Rule, Threads, within
from src.ground.params import Settings
from src.machine.isa import CPU_ISA, SAME
from src.machine.launching import is_launched, join, launch
from src.machine.memory import keep_memory
from src.machine.rounding import replace_sqrt


@dataclass(frozen=True, kw_only=True)
class MachineSettings(Settings):
    """Where and how a stage computes; top-level keys of params.yaml."""

    threads: Threads  # CPU threads of torch in each process; their number affects the last digits
    cpu_isa: Annotated[str, Rule(enum=list(CPU_ISA))]  # same bytes on all makers' CPUs, or faster
    device: Literal["auto", "cpu", "cuda"]  # where networks run; auto: a GPU if torch sees one
    tf32: bool  # whether a GPU may round the factors of float32 products to 10 bits: faster
    processes: Annotated[int, within("[1, 4096]")]  # number per stage, over all machines


def start_machine(machine: MachineSettings, seed: int) -> torch.device:
    """Choose the device, set threads and seed; `auto` prints its choice, `cuda` never falls back to the CPU.

    With several processes, the first call starts them all and never returns: each of them calls this again.
    """
    chosen = choose_device(machine.device)
    if machine.processes > 1 and not is_launched():
        launch(machine.processes, machine.threads, chosen)
    if is_launched():
        chosen = join(machine.processes, chosen)
    if machine.device == "auto":
        print(f"device: {chosen}")
    used = torch.backends.cpu.get_cpu_capability()
    wanted = CPU_ISA[machine.cpu_isa].get("ATEN_CPU_CAPABILITY")
    if wanted not in (None, used.lower()):
        print(f"warning: cpu_isa: {machine.cpu_isa} requested, torch uses {used}: the last digits may differ")
    if machine.cpu_isa == SAME:
        replace_sqrt()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS is not deterministic
    torch.set_deterministic_debug_mode("warn")  # use_deterministic_algorithms would load the compiler
    allow_tf32(machine.tf32)
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # filling takes 14 % of a step
    keep_memory()
    torch.set_num_threads(machine.threads)
    torch.manual_seed(seed)
    return chosen


def allow_tf32(allowed: bool) -> None:
    """Set whether a GPU may round float32 factors; torch's default is yes in convolutions, no in matmul.

    torch's newer names for it, `fp32_precision`, make torch.export and torch.compile fail.
    """
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed


def has_bfloat16() -> bool:
    """Whether the CPU has instructions for products of bfloat16 numbers, and `cpu_isa` allows them."""
    has, used = torch.cpu.get_capabilities(), torch.backends.cpu.get_cpu_capability()
    return used not in ("DEFAULT", "AVX2") and bool(has.get("avx512_bf16") or has.get("amx_bf16"))


def describe_device(device: torch.device) -> str:
    """cpu, or the name of the GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def choose_device(device: str) -> torch.device:
    """The device that auto, cpu or cuda stands for on this machine."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("params.yaml: device: cuda, but torch sees no GPU here (set device: cpu or auto)")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
