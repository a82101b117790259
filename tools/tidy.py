"""Remove what is left of teachers that were dropped from knowledge.teachers; DVC keeps weights in its cache.

DVC does not delete the outputs of a stage that no longer exists. They would stay in the folder that
dump_knowledge and evaluate depend on, and dvc.lock would then be valid in this copy only.

params  knowledge.teachers
writes  data/models/teachers, metrics/teacher, plots/teacher
run     python -m tools.tidy
"""

from collections.abc import Sequence
from pathlib import Path

from src.ground.errors import run
from src.ground.params import read
from src.teaching.teachers import find_dropped, find_dropped_figures

TEACHERS = Path("data/models/teachers")


def main() -> None:
    teachers = read(tuple[str, ...], "knowledge.teachers")
    figures = find_dropped_figures(teachers)
    for path in figures:
        path.unlink()
    for path in (*remove_dropped(TEACHERS, teachers), *figures):
        print(f"{path}: removed, it is not in knowledge.teachers")


def remove_dropped(folder: Path, teachers: Sequence[str]) -> list[Path]:
    """Remove the weights of all teachers but those listed; returns what is gone."""
    dropped = find_dropped(folder, teachers)
    for path in dropped:
        path.unlink()
    return dropped


if __name__ == "__main__":
    run(main)
