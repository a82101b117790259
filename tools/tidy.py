"""Remove what is left of teachers that were dropped from knowledge.teachers; DVC keeps weights in its cache.

DVC does not delete the outputs of a stage that no longer exists. They would stay in the folder that
dump_knowledge and evaluate depend on, and dvc.lock would then be valid in this copy only.

params  knowledge.teachers
writes  data/models/teachers, metrics/teacher, plots/teacher
run     python -m tools.tidy
"""

from pathlib import Path

from src.ground.errors import run
from src.ground.params import read
from src.teaching.teachers import find_dropped, find_dropped_figures

TEACHERS = Path("data/models/teachers")


def main() -> None:
    teachers = read(tuple[str, ...], "knowledge.teachers")
    for path in (*find_dropped(TEACHERS, teachers), *find_dropped_figures(teachers)):
        path.unlink()
        print(f"{path}: removed, it is not in knowledge.teachers")


if __name__ == "__main__":
    run(main)
