"""The accuracy that augmentation loses by cropping from pictures packed at the network's size.

A small student is trained from scratch on a dataset of your own, its training pictures packed larger by a
margin. Accuracy on test over seeds.

run     python -m benchmarks.pack_margin DATA_ROOT [--side 64] [--epochs 15] [--seeds 3] [--policy crop]
"""

import argparse
import os
import shutil
import tempfile
from pathlib import Path

from benchmarks.students import format_values, measure_accuracy, mute_stdout
from src.ground.errors import run
from stages import check_images, dump_knowledge, make_curriculum
from tools.ablation.overrides import override_params

MARGINS = (0.0, 0.25, 1.0)
FILES = ("params.yaml", "params.schema.json")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pack_margin")
    parser.add_argument("root", type=Path)
    parser.add_argument("--side", type=int, default=64, help="pixels")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--policy", default="crop")
    arguments = parser.parse_args()
    root, project = arguments.root.resolve(), Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        for name in FILES:
            shutil.copy(project / name, folder)
        os.chdir(folder)
        for margin in MARGINS:
            overrides = [
                f"data.root={root}", f"images.height={arguments.side}", f"images.width={arguments.side}",
                f"images.pack_margin={margin}", "images.pack=true", "knowledge.teachers=[]", "threads=1",
                "student.arch=timm/test_resnet", f"student.epochs={arguments.epochs}", "student.warmup=4",
                f"augment.policy={arguments.policy}", "augment.min_area=0.25", "augment.flip=0.5",
            ]  # fmt: skip
            with override_params(overrides), mute_stdout():
                for stage in (check_images, dump_knowledge, make_curriculum):
                    stage.main()
            seeds = range(1, arguments.seeds + 1)
            accuracies = [measure_accuracy([*overrides, f"seed={seed}"]) for seed in seeds]
            print(f"margin {margin:4g}  {format_values(accuracies)}", flush=True)


if __name__ == "__main__":
    run(main)
