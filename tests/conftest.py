"""Shared by the tests: tiny pictures, a working folder, and a copy of the project with its own DVC."""

import stages  # noqa: F401  # before torch: tests compute with the instructions that stages use

# isort: split
import dataclasses
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from ruamel.yaml import YAML

from src.batches.augment import AugmentSettings, build_augment
from src.batches.data import TrainingSet
from src.ground.files import open_atomically, write_json
from src.ground.names import list_optimizers
from src.ground.params import convert
from src.losses.bases import BASES
from src.losses.loss import Loss
from src.networks.libraries import build_model
from src.networks.network import Input, Network
from src.pictures.manifest import CLASSES, manifest_path, pack_path, start_manifest
from src.teaching.curriculum_file import write_weights
from src.training.job import Job
from src.training.settings import TrainingSettings
from src.training.validation import Validation
from tools.pypi import Package

torch.set_num_threads(1)  # tensors are small here: a second thread only waits for the first

ROOT = Path(__file__).parent.parent
CPU = torch.device("cpu")
UP_TO_DATE = "Data and pipelines are up to date."  # the last line of dvc repro that has nothing to do
COLOURS = {"blue": (40, 60, 200), "green": (40, 190, 60), "red": (200, 50, 40)}


def read_shipped(kind, key=""):
    """Settings with the values of the shipped params.yaml; keys that `kind` lacks are ignored."""
    values = YAML(typ="safe").load(ROOT / "params.yaml")
    for word in key.split(".") if key else ():
        values = values[word]
    return convert(kind, {field.name: values[field.name] for field in dataclasses.fields(kind)}, key)


LIGHT = dataclasses.replace(
    read_shipped(AugmentSettings, "augment"), policy="light", rotate=20, shift=0.1, scale=0.1, flip=0.5,
    erase=0, mixup=0, cutmix=0, multi_scale=0, train_scales=(1.0,), size_divisor=1,
)  # fmt: skip


REPEATED = {name for name in list_optimizers() if name.startswith("lookahead_")} - {"lookahead_adam"}
EACH_OPTIMIZER = [  # under Lookahead, which wraps the same code, in the slow tests only, except for one
    pytest.param(name, marks=pytest.mark.slow if name in REPEATED else ()) for name in list_optimizers()
]


def draw_tiny_images(root, per_class, splits=("train", "val", "test")):
    """3 colours x `per_class` noisy pictures of 40 x 24 pixels in each split, seeded."""
    generator = np.random.default_rng(0)
    for split in splits:
        for name, colour in COLOURS.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(per_class):
                pixels = np.array(colour) + generator.integers(-40, 40, (24, 40, 3))
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    return root


@pytest.fixture
def tiny_images(tmp_path):
    """A data root with 8 pictures per class and split."""
    return draw_tiny_images(tmp_path / "pictures", 8)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty working folder with the shipped params.yaml and schema."""
    folder = tmp_path / "place"
    folder.mkdir()
    for name in ("params.yaml", "params.schema.json"):
        shutil.copy(ROOT / name, folder)
    monkeypatch.chdir(folder)
    return folder


def write_wheel(folder, name, files):
    """A wheel that pip accepts; returns it as a Package."""
    path, facts = folder / f"{name}-0.1.0-py3-none-any.whl", f"{name}-0.1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{facts}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
        wheel.writestr(f"{facts}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{facts}/LICENSE", "do as you like")
        wheel.writestr(f"{facts}/RECORD", "")
        for inside, content in files.items():
            wheel.writestr(inside, content)
    return Package(name, "0.1.0", hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture
def shelf(place, tmp_path, monkeypatch):
    """Stands for PyPI: a folder that pip looks into, and nowhere else."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def ready(place, pack, monkeypatch):
    """All files that train_student reads, with 30 pictures."""
    pictures, targets = pack
    names = ("blue", "green", "red")
    write_json(CLASSES, names)
    for split in ("train", "val"):
        paths = [f"{split}/{number}.png" for number in range(len(pictures))]
        with open_atomically(manifest_path(split)) as file:
            start_manifest(file).writerows(
                [path, names[row.argmax()], ""] for path, row in zip(paths, targets, strict=True)
            )
        with open_atomically(pack_path(split), "wb") as file:
            np.save(file, pictures)
    train = [f"train/{number}.png" for number in range(len(pictures))]
    write_weights(Path("data/curriculum.txt"), train, np.ones(len(pictures)))
    Path("data/distill").mkdir()
    (place / "dvc.yaml").write_text("stages: {train_student: {deps: [], params: [student, seed]}}\n")
    edit_params(place, student__epochs=3, student__warmup=1, student__batch_size=8, student__ema=0.9)
    edit_params(place, threads=1, student__arch="timm/test_resnet", augment__mixup=0.2)
    monkeypatch.setattr("src.training.resume.SCRATCH", place / ".scratch")
    monkeypatch.setattr("src.training.curves.TENSORBOARD", place / "tensorboard")
    return place


def edit_params(folder, **changes):
    """Set keys of a params.yaml, parts joined by two underscores: student__epochs=2."""
    yaml, path = YAML(), folder / "params.yaml"
    params = yaml.load(path)
    for key, value in changes.items():
        *parents, last = key.split("__")
        section = params
        for word in parents:
            section = section[word]
        section[last] = value
    yaml.dump(params, path)


def load_demo():
    """Load the demo's module, which is in no package."""
    spec = importlib.util.spec_from_file_location("classifier", ROOT / "demos/classifier.py")
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    return demo


@pytest.fixture
def pack():
    """30 pictures of three colours, (30, 32, 32, 3), and their one-hot targets."""
    generator, labels = np.random.default_rng(0), np.arange(30) % 3
    pixels = np.eye(3)[labels][:, None, None] * 120 + generator.integers(0, 100, (30, 32, 32, 3))
    return pixels.astype(np.uint8), np.eye(3, dtype=np.float32)[labels]


def make_training_set(pack, augment=LIGHT, workers=0, seed=1, transforms=(), **changes):
    """The three colours; `transforms` are those of every epoch, or a function of the epoch."""
    images, targets = pack
    values = dict(
        pictures=images, targets=targets, soft=[targets], weights=np.ones(30), rows=np.arange(30),
        batch_size=8,
        transforms=transforms if callable(transforms) else lambda epoch: transforms,
        augment=build_augment(augment, 32, 32), seed=seed, view_seed=seed, workers=workers,
    )  # fmt: skip
    return TrainingSet(**values | changes)


def make_settings(**changes):
    """The shipped settings of the student's training, made fast, with `changes`."""
    quick = dict(
        arch="timm/test_resnet", epochs=4, batch_size=8, optimizer="adam", lr=0.01, schedule="onecycle",
        warmup=1, prior="none",
    )  # fmt: skip
    return dataclasses.replace(read_shipped(TrainingSettings, "student"), **quick | changes)


def wrap_network(net, classifier_names=()):
    """Wrap a module as a Network that does not normalise its images."""
    return Network(net, Input((0.0,) * 3, (1.0,) * 3, 32, 32, "bilinear"), classifier_names)


def make_job(pack, network=None, loss=None, data=None, device=CPU, **changes):
    """A training of the three colours, its settings with `changes`."""
    chosen = make_settings(**changes)
    return Job(
        network=network or build_model(chosen.arch, 3, "student"),
        loss=loss or Loss(BASES["softmax"], []),
        data=data or make_training_set(pack, batch_size=chosen.batch_size),
        validation=Validation(pack[0], pack[1], BASES["softmax"], 8, device),
        classes=tuple(COLOURS),
        settings=chosen,
        device=device,
        manifests="",
        fit="letterbox",
        key="student",
    )


class NoCurves:
    def __init__(self):
        self.rows = []

    def add(self, row):
        self.rows.append(row)


class Project:
    """A copy of the project in its own git repository, with fast settings and tiny pictures."""

    def __init__(self, folder, pictures):
        self.folder, self.pictures = folder, pictures
        names = ("stages", "src", "tools", "demos", "data/external", "dvc.yaml", ".dvcignore", ".gitignore")
        for name in (
            *names,
            "params.yaml",
            "params.schema.json",
            "libraries.yaml",
            ".dvc/config",
            ".dvc/plots.html",
            ".dvc/.gitignore",
            "Makefile",
        ):
            source, target = ROOT / name, folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, target, ignore=ignore) if source.is_dir() else shutil.copy(source, target)
        training = {"epochs": 3, "warmup": 1, "batch_size": 8}
        quick = {f"teacher__big__{key}": value for key, value in training.items()}
        quick |= {f"student__{key}": value for key, value in training.items()}
        quick |= {"teacher__big__arch": "timm/test_resnet", "teacher__big__lr": 0.01, "student__lr": 0.01}
        quick |= {
            "data__root": str(pictures),
            "knowledge__min_accuracy": 0.9,
            "export__formats": ["torchscript"],
        }
        edit_params(folder, **quick)
        self.run("git", "init", "-q")
        self.commit("start")

    @classmethod
    def at(cls, folder, pictures=None, origin=None):
        """An existing copy or clone of the project in the folder `origin`."""
        project = object.__new__(cls)
        project.folder, project.pictures, project.origin = folder, pictures, origin
        return project

    def environment(self):
        """Environment variables of commands in the project."""
        path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        git = {
            f"GIT_{who}_{what}": "test@example.org"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        }
        return os.environ | path | git

    def run(self, *command, code=0, **options):
        """Run a command in the project; returns its stdout and stderr, combined."""
        result = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **options,
        )
        assert result.returncode == code, f"{command} exited with {result.returncode}:\n{result.stdout}"
        return result.stdout

    def commit(self, message):
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", message)

    def results(self):
        """The bytes of dvc.lock, metrics and plots."""
        files = [
            self.folder / "dvc.lock",
            *self.folder.glob("metrics/**/*.json"),
            *(path for path in self.folder.glob("plots/**/*.*") if path.name != "latency.js"),
        ]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}


def list_stages(output):
    """The stages that ran, by DVC's output; those from its cache are not among them."""
    return re.findall(r"Running stage '(.+?)'", output)


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """A project after one `dvc repro` on tiny pictures, committed; tests must not change it."""
    folder = tmp_path_factory.mktemp("project")
    project = Project(folder / "dojo", draw_tiny_images(folder / "pictures", 8))
    project.output = project.run("dvc", "repro")
    project.commit("results")
    return project


@pytest.fixture
def copy(project, tmp_path):
    """A copy of the finished project with its DVC cache, which the test may change."""
    shutil.copytree(project.folder, tmp_path / "dojo")
    return Project.at(tmp_path / "dojo", project.pictures, project.folder)
