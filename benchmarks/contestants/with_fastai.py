"""fastai as a contestant, in an environment of its own."""

import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contestants.comparing import SPLITS, Task
from benchmarks.timing import Usage, run_program

PACKAGES = (  # fastai and what else it imports for pictures; torch, timm and the like are the project's
    "fastai==2.8.12", "fastcore==2.2.41", "fastdownload==0.0.8", "fastprogress==1.0.3",
    "fasttransform==0.0.5", "plum-dispatch==2.9.0", "beartype==0.23.1",
)  # fmt: skip
SCRIPT = Path(__file__).with_name("fastai_script.py")


class Fastai:
    """fastai as its documentation begins, see fastai_script."""

    name = "fastai"
    takes_epochs = True

    def __init__(self, python: Path, task: Task):
        self.python, self.task = python.absolute(), task

    def describe(self, epochs: int) -> str:
        task = self.task
        return (
            f"{PACKAGES[0]}: ImageDataLoaders.from_folder(item_tfms=Resize({task.size}), "
            f"batch_tfms=aug_transforms(), bs={task.batch_size}), "
            f"vision_learner({task.arch!r}, metrics=accuracy).fine_tune({epochs}), as in its manual"
        )

    def train(self, epochs: int, seed: int, folder: Path) -> Usage:
        words = (*self.task, epochs, seed, folder / "learner.pkl")
        return self.run_script(folder, "train", *map(str, words))[0]

    def measure(self, folder: Path) -> tuple[float, float]:
        folders = [str(self.task.data / split) for split in SPLITS]
        _, text = self.run_script(folder, "measure", str(folder / "learner.pkl"), *folders)
        val, test = map(float, text.splitlines()[-1].split())
        return val, test

    def run_script(self, folder: Path, *words: str) -> tuple[Usage, str]:
        return run_program(folder, str(self.python), str(SCRIPT), *words)


def make_environment(folder: Path, packages: Sequence[str]) -> Path:
    """The Python of an environment with these packages alone, which finds all else where this process does.

    One that is there already is kept if it has these packages.
    """
    base, here = str(folder.absolute()), Path.cwd()
    python = folder / "bin/python"
    marker, wanted = folder / "installed.txt", "\n".join([*packages, sys.executable])
    if not marker.exists() or marker.read_text() != wanted:
        print(f"{folder}: installing {', '.join(packages)}", flush=True)
        run_program(here, sys.executable, "-m", "venv", "--clear", base)
        (find_site(folder) / "project.pth").write_text(sysconfig.get_path("purelib"))
        run_program(here, f"{base}/bin/python", "-m", "pip", "install", "--quiet", "--no-deps", *packages)
        marker.write_text(wanted)
    return python


def find_site(folder: Path) -> Path:
    """Where the packages of an environment are."""
    base = str(folder.absolute())
    return Path(sysconfig.get_path("purelib", "venv", {"base": base, "platbase": base}))
