"""Remove the weights of teachers that were dropped from knowledge.teachers; DVC keeps them in its cache.

DVC does not delete the outputs of a stage that no longer exists. They would stay in the folder that
dump_knowledge and evaluate depend on, and dvc.lock would then be valid in this copy only.

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
