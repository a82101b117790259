"""The runtime set-up of a stage: the CPU's instruction set, the device and the memory."""

import os
import platform
import statistics
import subprocess
import sys

import pytest
import torch
from conftest import ROOT, edit_params

from src.ground.errors import UserError
from src.machine.runtime import MachineSettings, start_machine

SHOW = "import stages, torch; print(torch.backends.cpu.get_cpu_capability())"


def read_capability(folder, **environment):
    command = [sys.executable, "-c", SHOW]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.slow
def test_cpu_isa_is_set_before_torch_is_imported(place):
    edit_params(place, cpu_isa="auto")
    best = read_capability(place, ATEN_CPU_CAPABILITY="")
    if not best.startswith("AVX"):
        pytest.skip(f"this CPU has no AVX2: {best}")
    edit_params(place, cpu_isa="avx2")
    assert read_capability(place, ATEN_CPU_CAPABILITY="default") == "AVX2\n"


def make_machine(device, cpu_isa="auto"):
    return MachineSettings(threads=torch.get_num_threads(), cpu_isa=cpu_isa, device=device, processes=1)


def test_an_instruction_set_other_than_requested_is_a_warning(capsys, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    start_machine(make_machine("cpu", cpu_isa="avx2"), seed=0)
    assert capsys.readouterr().out.startswith("warning: cpu_isa: avx2 requested, torch uses DEFAULT")
    start_machine(make_machine("cpu", cpu_isa="auto"), seed=0)
    assert capsys.readouterr().out == ""


FAULTS = """
import resource, torch
from src.machine.memory import keep_memory
keep_memory()
for _ in range(30):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensor = torch.zeros(10_000_000)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    del tensor
"""


@pytest.mark.slow
def test_the_memory_of_a_freed_tensor_is_reused(place):
    """40 MB are 9,766 pages. The first tensors cause page faults; later ones reuse a block of that size."""
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("no glibc")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", FAULTS]
    output = subprocess.check_output(command, cwd=place, env=environment, text=True)
    faults = [int(line) for line in output.split()]
    assert faults[0] > 9000 and statistics.median(faults[10:]) < 1000


def test_cuda_without_a_gpu_is_refused():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UserError, match="device: cuda, but torch sees no GPU here"):
        start_machine(make_machine("cuda"), seed=0)
