"""Weight every training picture by the teachers' confidence in its true class.

params  curriculum, data.unlabelled
reads   data/distill              distill_NAME: a probability per picture and class, see docs/architecture.md
        data/manifest/classes.json
        data/manifest/train.csv
        data/unlabelled           NAME.csv
writes  data/suspects.csv         path, label, believed, confidence: labels that the teachers deny
        data/curriculum.txt       path, weight; all 1 without teachers
run     python -m stages.make_curriculum
"""

from pathlib import Path

import numpy as np

from src.ground.errors import run
from src.ground.params import read
from src.pictures.manifest import read_manifest
from src.pictures.unlabelled import read_list
from src.teaching.curriculum import CurriculumSettings, assign_weights, find_truth_probs
from src.teaching.curriculum_file import write_weights
from src.teaching.knowledge_folder import read_folder
from src.teaching.suspects import find_suspects, write_suspects

DISTILL = Path("data/distill")
CURRICULUM = Path("data/curriculum.txt")
SUSPECTS = Path("data/suspects.csv")


def main() -> None:
    settings = read(CurriculumSettings, "curriculum")
    train = read_manifest("train")
    others = [path for name in read(tuple[str, ...], "data.unlabelled") for path in read_list(name)]
    paths, labels = [*train.paths, *others], np.concatenate([train.labels, np.full(len(others), -1)])
    knowledge = read_folder(DISTILL, paths, train.classes)
    weights = assign_weights(find_truth_probs(knowledge, labels), settings)
    write_weights(CURRICULUM, paths, weights)
    write_suspects(SUSPECTS, find_suspects(knowledge, train.paths, train.labels, train.classes))
    values, counts = np.unique(weights, return_counts=True)
    print(
        f"{CURRICULUM}: "
        + ", ".join(f"{n} pictures of weight {w:g}" for w, n in zip(values, counts, strict=True))
    )


if __name__ == "__main__":
    run(main, arguments=[])
