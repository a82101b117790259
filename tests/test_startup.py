"""How a stage starts: what it leaves unimported, and that torch's compiler is there as soon as it is used."""

import subprocess
import sys

import pytest
from conftest import ROOT

COMPILER = "torch._dynamo.eval_frame"  # the stand-in has no such module
STATISTICS = {"sklearn", "scipy.stats", "scipy.optimize", "pandas"}
ABSENT = {  # modules that a stage does not import before its main runs
    "check_images": {"torch", "scipy", "matplotlib", "timm"} | STATISTICS,
    "dump_knowledge": {COMPILER, "sympy", "matplotlib", "onnx", "kornia"} | STATISTICS,
    "train_student": {COMPILER, "sympy", "matplotlib", "onnx", "kornia", "timm.optim"} | STATISTICS,
    "evaluate": {COMPILER, "sympy", "onnx", "kornia"} | STATISTICS,
    "export_jit": {COMPILER, "sympy", "matplotlib", "onnx", "kornia"} | STATISTICS,
}
STEP = """
import torch
from src.ground.params import read_top
from src.machine.runtime import MachineSettings, start_machine

start_machine(read_top(MachineSettings), seed=0)
assert torch.are_deterministic_algorithms_enabled()
assert torch.is_deterministic_algorithms_warn_only_enabled()
layer = torch.nn.Linear(3, 2)
optimizer = torch.optim.Adam(layer.parameters())
layer(torch.ones(1, 3)).sum().backward()
optimizer.step()
optimizer.zero_grad()
"""
COUNTER = """
class Counter:
    @torch.compiler.disable
    def count(self, number):
        return number + torch.compiler.is_compiling()

early = Counter()
assert early.count(1) == 1
"""
COMPILE = """
import sys

try:
    import torch._dynamo.nothing
    raise SystemExit("there is no such module")
except ModuleNotFoundError as error:
    assert str(error) == "No module named 'torch._dynamo.nothing'"
import torch._dynamo.exc  # the same, whoever imports it
from torch import _dynamo
assert sys.modules["torch._dynamo.symbolic_convert"].exc is torch._dynamo.exc is _dynamo.exc

def count(tensor):
    return early.count(tensor) + torch.compiler.is_compiling()

assert torch.compile(count, backend="eager")(torch.zeros(1)) == 1  # not 2: one of them is never compiled
try:
    torch.compile(lambda number: early.count(number), backend="eager", fullgraph=True)(torch.zeros(1))
    raise SystemExit("it is compiled")
except torch._dynamo.exc.Unsupported:
    pass
step = torch.compile(lambda: optimizer.step(), backend="eager")
for _ in range(2):
    layer(torch.ones(1, 3)).sum().backward()
    step()
    optimizer.zero_grad()
"""


def execute(code):
    """What Python prints that runs the code in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("stage", ABSENT)
@pytest.mark.slow
def test_a_stage_imports_only_what_it_uses(stage):
    step = STEP if stage == "train_student" else ""
    code = f"import sys\nimport stages.{stage}\n{step}\nprint(*sys.modules)"
    assert set(execute(code).split()) & ABSENT[stage] == set()


def test_a_stage_collects_garbage_from_run_on():
    """Only as a program: to import a stage changes nothing."""
    code = "import gc, sys\n{}\nimport stages\nfrom src.ground.errors import run\nprint(gc.isenabled())\n"
    code += "run(lambda: print(gc.isenabled(), gc.get_freeze_count() > 1000))"
    assert execute(code.format("sys.argv = ['-m']")).split() == ["False", "True", "True"]
    assert execute(code.format("")).split() == ["True", "True", "True"]


@pytest.mark.slow
def test_the_compiler_is_there_when_it_is_used():
    """As if it had been imported at once: what was decorated and called before is kept out of it."""
    code = f"import stages\n{STEP}{COUNTER}{COMPILE}"
    assert execute(f"{code}print('done')").endswith("done\n")
