"""Write which augmented views of the training pictures the teachers are to see.

A change of augment then reruns them only if their word on augmented views is stored.

params  distill.view, knowledge.views, knowledge.seed, augment
writes  data/views.json           number, seed and augmentation of the views; null if none are stored
run     python -m stages.plan_views
"""

from src.ground.errors import run
from src.ground.kinds import Value
from src.ground.params import read
from src.teaching.views import plan_views, write_views


def main() -> None:
    count, seed = read(int, "knowledge.views"), read(int, "knowledge.seed")
    write_views(plan_views(read(str, "distill.view"), count, seed, read(dict[str, Value], "augment")))


if __name__ == "__main__":
    run(main, arguments=[])
