"""The device and the threads of this process, and what makes its results repeatable."""

import os
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch.utils import deterministic

from src.ground.errors import UserError
from src.ground.kinds import Count, Rule, within
from src.ground.memory import keep_memory
from src.ground.params import Settings
from src.machine.isa import CPU_ISA
from src.machine.launching import is_launched, join, launch


@dataclass(frozen=True, kw_only=True)
class MachineSettings(Settings):
    """Where and how a stage computes; top-level keys of params.yaml."""

    threads: Count  # CPU threads of torch in each process; another number changes the last digits
    cpu_isa: Annotated[str, Rule(enum=list(CPU_ISA))]  # instructions of torch; decides the last digits
    device: Literal["auto", "cpu", "cuda"]  # where networks run; auto: a GPU if torch sees one
    processes: Annotated[int, within("[1, 4096]")]  # of a training, over all machines


def start(machine: MachineSettings, seed: int) -> torch.device:
    """Choose the device, set threads and seed; `auto` says what it took, `cuda` is never silently the CPU.

    With several processes the first call starts them all and never returns: each comes here again.
    """
    chosen = choose_device(machine.device)
    if machine.processes > 1 and not is_launched():
        launch(machine.processes, machine.threads, chosen)
    if is_launched():
        chosen = join(machine.processes, chosen)
    if machine.device == "auto":
        print(f"device: {chosen}")
    capability = torch.backends.cpu.get_cpu_capability()
    wanted = machine.cpu_isa
    if wanted not in ("auto", capability.lower()):
        print(f"warning: cpu_isa: {wanted} asked for, torch uses {capability}: last digits may differ")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS has no repeatable products
    torch.use_deterministic_algorithms(True, warn_only=True)
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # it cost 14 % of a step
    keep_memory()
    torch.set_num_threads(machine.threads)
    torch.manual_seed(seed)
    return chosen


def choose_device(device: str) -> torch.device:
    """What auto, cpu or cuda means here."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("params.yaml: device: cuda, but torch sees no GPU here (set device: cpu or auto)")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
