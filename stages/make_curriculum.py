"""Weight every training picture by the teachers' confidence in its true class.

params  curriculum
reads   data/distill              distill_NAME: a probability per picture and class, see docs/architecture.md
        data/manifest/classes.json
        data/manifest/train.csv
writes  data/curriculum.txt       path, weight; all 1 without teachers
run     python -m stages.make_curriculum
"""

from pathlib import Path

import numpy as np

from src.ground.errors import run
from src.ground.params import read
from src.pictures.manifest import read_manifest
from src.teaching.curriculum import CurriculumSettings, assign_weights, find_truth_probs
from src.teaching.curriculum_file import write_weights
from src.teaching.knowledge_folder import read_folder

DISTILL = Path("data/distill")
CURRICULUM = Path("data/curriculum.txt")


def main() -> None:
    settings = read(CurriculumSettings, "curriculum")
    train = read_manifest("train")
    knowledge = read_folder(DISTILL, train.paths, train.classes)
    weights = assign_weights(find_truth_probs(knowledge, train.labels), settings)
    write_weights(CURRICULUM, train.paths, weights)
    values, counts = np.unique(weights, return_counts=True)
    print(
        f"{CURRICULUM}: "
        + ", ".join(f"{n} pictures of weight {w:g}" for w, n in zip(values, counts, strict=True))
    )


if __name__ == "__main__":
    run(main, arguments=[])
