"""This project as a contestant: the stages up to the student, in a clone of the last commit."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dvc.exceptions import InvalidArgumentError
from dvc.utils.hydra import apply_overrides
from ruamel.yaml import YAML

from benchmarks.timing import Usage, add_usages, run_program
from src.ground.errors import UserError, shorten

ALONE = ("knowledge.teachers=[]", "distill.share=0")  # a student that learns from the labels alone
PRETRAINED = Path("data/pretrained")  # not in git


class Dojo:
    """Epochs are those of params.yaml; seeds too in the first training, in the next each plus 1."""

    takes_epochs = False

    def __init__(self, name: str, clone: Path, params: Path, overrides: Sequence[str]):
        self.name, self.clone, self.params, self.overrides = name, clone, params.absolute(), overrides
        self.checked: Usage | None = None  # of check_images, which runs once and is part of each training
        subprocess.run(["git", "clone", "--quiet", ".", str(clone)], check=True)
        if PRETRAINED.is_dir():
            (clone / PRETRAINED).symlink_to(PRETRAINED.absolute())

    def describe(self, epochs: int) -> str:
        return f"{self.params} with {' '.join(self.overrides)}"

    def write_params(self, seed: int) -> dict[str, Any]:
        """Write the clone's params.yaml; its content with the seeds of seed 1."""
        file = self.clone / "params.yaml"
        shutil.copy(self.params, file)
        try:
            apply_overrides(file, list(self.overrides))
        except InvalidArgumentError as error:
            raise UserError(f"{self.params}: {shorten(error.__cause__ or error, 200)}") from None
        params = YAML(typ="safe").load(file)
        teachers = {name: params["teacher"][name]["seed"] for name in params["knowledge"]["teachers"]}
        seeds = {"seed": params["seed"], **{f"teacher.{name}.seed": own for name, own in teachers.items()}}
        apply_overrides(file, [f"{key}={own + seed - 1}" for key, own in seeds.items()])
        return params

    def train(self, epochs: int, seed: int, folder: Path) -> Usage:
        teachers = self.write_params(seed)["knowledge"]["teachers"]
        self.checked = self.checked or self.run_stage("check_images")
        return add_usages(
            [
                self.checked,
                *(self.run_stage("train_teacher", name) for name in teachers),
                *map(self.run_stage, ("plan_views", "dump_knowledge", "make_curriculum", "train_student")),
            ]
        )

    def measure(self, folder: Path) -> tuple[float, float]:
        self.run_stage("evaluate")
        val = json.loads((self.clone / "metrics/student.json").read_text())["student"]["val"]
        test = json.loads((self.clone / "metrics/test.json").read_text())["test"]
        return val["accuracy"], test["accuracy"]

    def run_stage(self, stage: str, *arguments: str) -> Usage:
        return run_program(self.clone, sys.executable, "-m", f"stages.{stage}", *arguments)[0]
