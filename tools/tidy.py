"""Remove what is left of dropped teachers and folders without labels; DVC keeps it in its cache.

DVC does not delete the outputs of a stage that no longer exists. They would stay in the folders that other
stages depend on, and dvc.lock would then be valid in this copy only.

params  knowledge.teachers, knowledge.folds, data.unlabelled
writes  data/models/teachers, data/models/folds, metrics/teacher, plots/teacher, data/unlabelled
run     python -m tools.tidy
"""

from collections.abc import Sequence
from pathlib import Path

from src.ground.errors import run
from src.ground.params import read
from src.pictures.unlabelled import find_dropped_lists
from src.teaching.folds import find_dropped_folds
from src.teaching.teachers import find_dropped, find_dropped_figures

TEACHERS = Path("data/models/teachers")


def main() -> None:
    teachers = read(tuple[str, ...], "knowledge.teachers")
    remove([*find_dropped(TEACHERS, teachers), *find_dropped_figures(teachers)], "knowledge.teachers")
    folds = read(tuple[int, ...], "knowledge.folds")
    remove(find_dropped_folds(folds, teachers), "knowledge.folds")
    remove(find_dropped_lists(read(tuple[str, ...], "data.unlabelled")), "data.unlabelled")


def remove(paths: Sequence[Path], key: str) -> None:
    for path in paths:
        path.unlink()
        print(f"{path}: removed, it is not in {key}")


if __name__ == "__main__":
    run(main)
