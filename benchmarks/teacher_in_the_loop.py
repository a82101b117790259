"""The accuracy lost by a knowledge file: the teacher saw the plain pictures, the student augmented ones.

The student is trained without a teacher, with the file, and with the teacher run on the same batch that the
student sees; also with a file of the teacher's mean over augmented views. Each with and without
augmentation. Run `dvc repro` first.

run     python -m benchmarks.teacher_in_the_loop [--seeds 5]
"""

import argparse
import dataclasses
from pathlib import Path

import torch

from benchmarks.students import Change, format_values, measure_accuracy
from src.batches.augment import augment_each
from src.batches.batch import scale_to_unit
from src.batches.data import TrainingSet
from src.ground.errors import UserError, run
from src.losses.bases import BASES
from src.networks.checkpoint import load_model
from src.teaching.knowledge import Knowledge
from src.teaching.targets import build_soft

VIEWS = 16
TEACHER = Path("data/models/teachers/big.safetensors")


def distill_views(data: TrainingSet) -> TrainingSet:
    """The data with the word of the teacher's mean over VIEWS augmented views of each picture."""
    teacher, facts = load_model(TEACHER)
    base, rows = BASES[facts.base], range(len(data.pictures))
    with torch.inference_mode():
        views = [
            base.probs(
                teacher(scale_to_unit(augment_each(data.pictures[:], data.augment, 0, view, rows))).double()
            )
            for view in range(1, VIEWS + 1)
        ]
    knowledge = Knowledge(facts.base, torch.stack(views).mean(dim=0).numpy())
    return dataclasses.replace(data, soft=build_soft([knowledge], facts.base))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.teacher_in_the_loop")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("overrides", nargs="*", help="KEY=VALUE, for all students")
    arguments = parser.parse_args()
    if [path.name for path in Path("data/distill").iterdir()] != [f"distill_{TEACHER.stem}.txt"]:
        raise UserError("data/distill: must hold only the file of teacher big (git stash; dvc repro)")
    knowledge: dict[str, tuple[list[str], Change]] = {
        "no teacher": (["distill.share=0"], lambda data: data),
        "file": ([], lambda data: data),
        f"file of {VIEWS} views": ([], distill_views),
        "in the loop": (["distill.view=live"], lambda data: data),
    }
    print(f"{'':28} accuracy on test, mean, sd, each seed")
    for policy in ("light", "none"):
        for name, (overrides, change) in knowledge.items():
            row = [*arguments.overrides, f"augment.policy={policy}", *overrides]
            seeds = range(1, arguments.seeds + 1)
            accuracies = [measure_accuracy([*row, f"seed={seed}"], change) for seed in seeds]
            print(f"{name + ', ' + policy:28} {format_values(accuracies)}", flush=True)


if __name__ == "__main__":
    run(main)
