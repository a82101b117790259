"""What a stage takes before it computes: CPU seconds of its start, and with the first training step.

A start imports all that the stage's script imports, and ends. With another checkout of the project, by which
it is divided, the two take turns, and ratios are of one round. With --repro both also run all stages of the
demo, each in a clone of its last commit.

run     python -m benchmarks.startup [OTHER_CHECKOUT] [--rounds 5] [--repro 0]
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.stages import STAGES
from benchmarks.timing import run_program
from src.ground.errors import Parser, run

HERE, REPRO = "here", ("dvc", "repro", "--force", "--no-run-cache")
# as `python -m stages.NAME`, without its main
START = "import sys; sys.argv = ['-m']; import stages.{stage}; from src.ground.errors import run; run({main})"
STEP = """
def step():
    import torch
    from src.ground.params import read_top
    from src.machine.runtime import MachineSettings, start_machine
    from src.networks.libraries import build_model
    start_machine(read_top(MachineSettings), seed=0)
    network = build_model("{arch}", 10, "student")
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.rand(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
"""
FIRST_STEPS = {"train_teacher": "timm/test_resnet", "train_student": "timm/test_efficientnet"}


def main() -> None:
    parser = Parser(prog="python -m benchmarks.startup")
    parser.add_argument("other", nargs="?", type=Path, help="another checkout, for example of a release")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repro", type=int, default=0, metavar="ROUNDS", help="runs of the whole pipeline")
    given = parser.parse_args()
    checkouts = {HERE: Path.cwd()} | ({str(given.other): given.other} if given.other else {})
    print(f"{'CPU seconds, median (range)':44} " + " ".join(f"{name:>24}" for name in checkouts) + "  ratio")
    for name, code in list_programs().items():
        starts = {key: partial(spend, folder, "-c", code) for key, folder in checkouts.items()}
        print(format_row(name, spend_in_turns(starts, given.rounds)), flush=True)
    if given.repro:
        with tempfile.TemporaryDirectory() as temporary:
            clones = {key: clone(folder, Path(temporary)) for key, folder in checkouts.items()}
            runs = {key: partial(spend_program, folder, *REPRO) for key, folder in clones.items()}
            print(format_row("dvc repro, all stages", spend_in_turns(runs, given.repro)))


def list_programs() -> dict[str, str]:
    """Python code by name: the start of each stage, and those that train with their first step."""
    starts = {f"{stage}: start": START.format(stage=stage, main="int") for stage in STAGES}
    for stage, arch in FIRST_STEPS.items():
        code = START.format(stage=stage, main="step")
        starts[f"{stage}: start, network, a step"] = f"{STEP.format(arch=arch)}\n{code}"
    return starts


def spend(folder: Path, *arguments: str) -> float:
    """CPU seconds of Python in a checkout."""
    return spend_program(folder, sys.executable, *arguments)


def spend_program(folder: Path, *command: str) -> float:
    """CPU seconds of a program and of those that it started."""
    return run_program(folder, *command)[0].cpu


def spend_in_turns(contestants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What the contestants return in each round."""
    spent: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            spent[name].append(contestant())
    return spent


def format_row(name: str, spent: Mapping[str, list[float]]) -> str:
    """A line of medians and ranges, and the ratio of the first contestant to the second, if there is one."""
    cells = [f"{median(one):6.2f} ({min(one):6.2f} to {max(one):6.2f})" for one in spent.values()]
    line = f"{name:44} " + " ".join(f"{cell:>24}" for cell in cells)
    if len(spent) == 1:
        return line
    own, other = spent.values()
    ratios = [mine / its for mine, its in zip(own, other, strict=True)]
    return f"{line}  {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def clone(checkout: Path, folder: Path) -> Path:
    """A clone of a checkout's last commit, in a folder of its own."""
    copy = Path(tempfile.mkdtemp(dir=folder)) / "dojo"
    subprocess.run(["git", "clone", "-q", str(checkout), str(copy)], check=True)
    return copy


if __name__ == "__main__":
    run(main)
