"""How many of the demo's wrong labels stand first among the suspects, with and without folds.

A share of the demo's train labels is made wrong; each row runs the stages up to data/suspects.csv in a clone
of the last commit. Counted are the wrong labels among as many first suspects as there are wrong labels.

run     python -m benchmarks.suspects [--noise 0.2 --folds 5] [KEY=VALUE ...]
"""

import sys
import tempfile
from pathlib import Path

from dvc.utils.hydra import apply_overrides
from sklearn.datasets import load_digits

from benchmarks.timing import run_program
from src.ground.errors import Parser, run
from src.teaching.suspects import read_suspects
from stages.make_curriculum import SUSPECTS


def main() -> None:
    parser = Parser(prog="python -m benchmarks.suspects")
    parser.add_argument("--noise", type=float, default=0.2)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("overrides", nargs="*", help="KEY=VALUE, for all")
    given = parser.parse_args()
    common = [*given.overrides, f"demo.label_noise={given.noise}"]
    numbers = list(range(1, given.folds + 1))
    for name, own in {"the teacher": [], f"{given.folds} folds": [f"knowledge.folds={numbers}"]}.items():
        with tempfile.TemporaryDirectory() as folder:
            seconds = find_suspects(Path(folder) / "clone", [*common, *own])
            found, wrong, suspects = count_wrong(Path(folder) / "clone")
            print(f"{name}: {found} of {wrong} among the first {wrong}; {suspects} suspects; {seconds:.0f} s")


def find_suspects(clone: Path, overrides: list[str]) -> float:
    """Run the stages in a clone; the seconds that they took."""
    here = Path.cwd()
    run_program(here, "git", "clone", "-q", str(here), str(clone))
    apply_overrides(clone / "params.yaml", overrides)
    usage, _ = run_program(clone, sys.executable, "-m", "dvc", "repro", "-q", "make_curriculum")
    return usage.seconds


def count_wrong(clone: Path) -> tuple[int, int, int]:
    """Wrong labels among as many first suspects as there are wrong ones; these; and all suspects."""
    truth = load_digits().target
    pictures = [path.relative_to(clone / "data/demo") for path in (clone / "data/demo/train").rglob("*.png")]
    wrong = {str(path) for path in pictures if truth[int(path.stem)] != int(path.parent.name)}
    suspects = [suspect.path for suspect in read_suspects(clone / SUSPECTS)]
    return len(wrong.intersection(suspects[: len(wrong)])), len(wrong), len(suspects)


if __name__ == "__main__":
    run(main)
