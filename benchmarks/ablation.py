"""The overhead of an experiment of a table: `dvc exp run` against the two stages on their own.

Both train and measure the default student, in turns, in a clone of the last commit.

run     python -m benchmarks.ablation
"""

import itertools
import subprocess
import tempfile
from pathlib import Path

from benchmarks.timing import format_table, time_in_turns

STAGES = "python -m stages.train_student && python -m stages.evaluate"
CLEAN = "git checkout --quiet HEAD -- params.yaml"
ROUNDS = 5


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "dojo"
        subprocess.run(["git", "clone", "-q", ".", str(folder)], check=True)
        seeds = itertools.count(100)

        def run(command: str) -> None:
            subprocess.run(command, shell=True, cwd=folder, check=True, stdout=subprocess.DEVNULL)

        run("dvc repro --quiet")
        contestants = {
            "train_student, evaluate": lambda: run(STAGES),
            "dvc exp run": lambda: run(f"{CLEAN} && dvc exp run -S seed={next(seeds)} evaluate"),
        }
        print(format_table(time_in_turns(contestants, ROUNDS), "train_student, evaluate"))


if __name__ == "__main__":
    main()
