"""The overhead of a run: the start-up of each stage, the rest of `dvc repro`, a run without changes.

All in a temporary clone of the last commit.

run     python -m benchmarks.stages
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from runpy import run_module
from statistics import median
from typing import Any

from benchmarks.timing import run_program

STAGES = ("make_demo", "check_images", "train_teacher", "plan_views", "dump_knowledge", "make_curriculum",
          "train_student", "evaluate", "export_jit", "report")  # fmt: skip
INSIDE = {
    "train_teacher": ["big"],
    "dump_knowledge": [],
    "train_student": [],
    "evaluate": [],
    "export_jit": [],
    "report": [],
}
ROUNDS = 5


def time_starts(folder: Path) -> None:
    """Print the CPU time and memory that each stage needs before its main begins."""
    seconds: dict[str, list[float]] = {stage: [] for stage in STAGES}
    memory: dict[str, int] = {}
    for _ in range(ROUNDS):
        for stage in STAGES:
            usage, _ = run_program(folder, sys.executable, "-c", f"import stages.{stage}")
            seconds[stage].append(usage.cpu)
            memory[stage] = usage.memory
    for stage, values in seconds.items():
        spread = f"({min(values):.2f} to {max(values):.2f})"
        print(f"{stage:16} starts in {median(values):.2f} s of CPU {spread}, {memory[stage] / 1024:.0f} MB")


def time_core(stage: str, arguments: list[str]) -> None:
    """Run a stage and print the seconds it spends in training steps and forward passes."""
    import src.networks.predict
    import src.training.fit
    import src.training.validation

    spent = 0.0

    def add_timer(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*values: Any, **names: Any) -> Any:
            nonlocal spent
            began = time.perf_counter()
            result = function(*values, **names)
            spent += time.perf_counter() - began
            return result

        return call

    src.training.fit.train_epoch = add_timer(src.training.fit.train_epoch)
    forward = add_timer(src.networks.predict.predict_logits)
    src.training.validation.predict_logits = src.networks.predict.predict_logits = forward
    sys.argv = [stage, *arguments]
    run_module(f"stages.{stage}", run_name="__main__")
    print(spent)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "dojo"
        subprocess.run(["git", "clone", "-q", ".", str(folder)], check=True)
        time_starts(folder)
        whole = run_program(folder, "dvc", "repro", "--force", "--no-run-cache")[0].seconds
        idle = median(run_program(folder, "dvc", "repro")[0].seconds for _ in range(ROUNDS))
        core = 0.0
        for stage, arguments in INSIDE.items():
            command = [sys.executable, "-m", "benchmarks.stages", stage, *arguments]
            output = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
            core += float(output.splitlines()[-1])
    print(f"dvc repro: {whole:.0f} s, of which {core:.0f} s are training steps and forward passes: ", end="")
    print(f"the other {100 * (1 - core / whole):.0f} % are start-up, pictures, files and DVC itself")
    print(f"dvc repro without a change: {idle:.1f} s")


if __name__ == "__main__":
    time_core(sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else main()
