"""Remove the states of all unfinished trainings, except those that are running.

reads   .scratch
writes  .scratch
run     python -m tools.clean_runs
"""

from src.ground.errors import run
from src.training.resume import SCRATCH, remove_runs


def main() -> None:
    for runs in sorted(SCRATCH.glob("train_*")):
        for path in remove_runs(runs, kept=0):
            print(f"{path}: removed")


if __name__ == "__main__":
    run(main)
