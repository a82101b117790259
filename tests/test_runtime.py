"""The runtime set-up of a stage: the CPU's instruction set, the device and the memory."""

import json
import os
import platform
import statistics
import subprocess
import sys
from decimal import Decimal, localcontext
from pathlib import Path

import pytest
import torch
from conftest import ROOT, edit_params

from src.ground.errors import UserError
from src.machine.isa import CPU_ISA
from src.machine.rounding import replace_sqrt
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


SET = """
import os, sys, stages
spins, policy = (os.environ.get(name) for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"))
print(spins, policy, os.environ.get("MKL_CBWR"), {"numpy", "torch"} & sys.modules.keys())
"""


@pytest.mark.parametrize(
    "chosen, wanted",
    [({}, "1000 None"), ({"GOMP_SPINCOUNT": "7"}, "7 None"), ({"OMP_WAIT_POLICY": "active"}, "None active")],
)
def test_how_threads_wait_is_set_before_they_exist_unless_the_user_has_set_it(place, chosen, wanted):
    edit_params(place, cpu_isa="same")
    mine = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    environment = {name: value for name, value in os.environ.items() if name not in mine}
    environment |= {"PYTHONPATH": str(ROOT)} | chosen
    found = subprocess.check_output([sys.executable, "-c", SET], cwd=place, env=environment, text=True)
    assert found == f"{wanted} COMPATIBLE set()\n"


def make_machine(device, cpu_isa="auto", tf32=False):
    threads = torch.get_num_threads()
    return MachineSettings(threads=threads, cpu_isa=cpu_isa, device=device, tf32=tf32, processes=1)


@pytest.mark.parametrize("tf32", [True, False])
def test_float32_is_exact_on_a_gpu_unless_tf32_is_asked_for(tf32):
    start_machine(make_machine("cpu", tf32=tf32), seed=0)
    assert torch.backends.cudnn.allow_tf32 == torch.backends.cuda.matmul.allow_tf32 == tf32
    exported = torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),))  # refused some settings
    assert exported.module()(torch.zeros(1, 2)).shape == (1, 2)
    if torch.cuda.is_available():
        one = torch.rand(256, 256, generator=torch.Generator().manual_seed(0))
        difference = (one.cuda() @ one.cuda()).cpu().double() - one.double() @ one.double()
        assert (difference.abs().max() > 1e-3) == tf32


def test_an_instruction_set_other_than_requested_is_a_warning(capsys, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    start_machine(make_machine("cpu", cpu_isa="avx2"), seed=0)
    assert capsys.readouterr().out.startswith("warning: cpu_isa: avx2 requested, torch uses DEFAULT")
    start_machine(make_machine("cpu", cpu_isa="auto"), seed=0)
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_every_operation_gives_the_bytes_that_both_makers_gave():
    if "avx2" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("operations.json is of CPUs with AVX2")
    command = [sys.executable, str(ROOT / "tests/operations.py")]
    environment = os.environ | CPU_ISA["same"] | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found, wanted = json.loads(run.stdout), json.loads((ROOT / "tests/operations.json").read_text())
    assert [name for name in wanted if found[name] != wanted[name]] == []


@pytest.fixture
def exact(monkeypatch):
    """torch's square root replaced for one test."""
    library = replace_sqrt.__wrapped__()
    yield
    library._destroy()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_square_roots_are_correctly_rounded(exact, dtype):
    numbers = torch.rand(10_000, generator=torch.Generator().manual_seed(0)).to(dtype)
    numbers = torch.cat([numbers, torch.tensor([0.0, 4.0, 1e30, 1e-40, float("inf")], dtype=dtype)])
    with localcontext(prec=60):
        roots = [Decimal(number).sqrt() if number < float("inf") else number for number in numbers.tolist()]
    wanted = torch.tensor([float(root) for root in roots], dtype=torch.float64).to(dtype)
    into, strided = torch.empty_like(numbers), torch.stack([numbers, numbers], dim=1)[:, 0]
    assert torch.equal(numbers.sqrt(), wanted)
    assert torch.equal(numbers.clone().sqrt_(), wanted)
    assert torch.equal(torch.sqrt(numbers, out=into), wanted)
    assert torch.equal(strided.sqrt(), wanted)
    assert torch.equal(torch._foreach_sqrt([numbers])[0], wanted)


def test_the_exact_square_root_is_torchs_in_all_else(exact):
    numbers = torch.rand(3, 4, requires_grad=True)
    numbers.sqrt().sum().backward()
    assert torch.allclose(numbers.grad, 0.5 / numbers.detach().sqrt())
    assert torch.tensor(-1.0).sqrt().isnan()
    assert torch.arange(3).sqrt().dtype == torch.float32
    assert torch.allclose(torch.tensor([2j]).sqrt(), torch.tensor([1 + 1j]))
    last = torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last)
    assert last.sqrt().is_contiguous(memory_format=torch.channels_last)


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
