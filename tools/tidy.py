"""Remove the weights of teachers that were dropped from knowledge.teachers; DVC keeps them in its cache.

DVC leaves the output of a stage that is gone where it is. There it would be part of the folder that
dump_knowledge and evaluate depend on, and so of dvc.lock, which then is true in this copy only.

params  knowledge.teachers
writes  data/models/teachers
run     python -m tools.tidy
"""

from pathlib import Path

from src.ground.errors import run
from src.ground.params import read
from src.teaching.knowledge import find_dropped

TEACHERS = Path("data/models/teachers")


def main() -> None:
    for path in find_dropped(TEACHERS, read(tuple[str, ...], "knowledge.teachers")):
        path.unlink()
        print(f"{path}: removed, it is not in knowledge.teachers")


if __name__ == "__main__":
    run(main)
