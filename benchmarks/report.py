"""What evaluate and report cost beside their forward passes, with made predictions; and heat maps.

In a folder of its own: pictures, packs, predictions of a student and a teacher. Peak memory is the process's.

run     python -m benchmarks.report [--pictures 10000 --classes 10 --side 32] [--arch resnet50 --heatmaps 64]
"""

import contextlib
import io
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import stages.report
from src.batches.batch import scale_to_unit
from src.export.deployed import Product
from src.export.settings import PictureRule
from src.export.with_torch import write_torchscript
from src.ground.errors import Parser, run
from src.ground.files import open_atomically, write_json
from src.losses.bases import BASES
from src.networks.checkpoint import Facts, save_weights
from src.networks.last_map import find_cut
from src.networks.libraries import build_model
from src.pictures.grey import write_grey_range
from src.pictures.manifest import CLASSES, Manifest, manifest_path, pack_path, read_manifest, start_manifest
from src.results.calibration import Calibration, measure_calibrated
from src.results.heatmaps import METHODS
from src.results.metrics import summarize
from src.results.predictions import Measured, Predictions
from src.teaching.suspects import Suspect, write_suspects
from stages.evaluate import PIPELINE, write_metrics, write_tables
from tools.ablation.overrides import override_params

ARCH = "timm/test_resnet"
KNOWN = 0.9  # share of the pictures that the made predictions have right


def main() -> None:
    parser = Parser(prog="python -m benchmarks.report")
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--arch", default="resnet50")
    parser.add_argument("--heatmaps", type=int, default=64)
    given = parser.parse_args()
    original = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        for file in ("params.yaml", "params.schema.json", "libraries.yaml"):
            (Path(name) / file).write_bytes((original / file).read_bytes())
        os.chdir(name)
        try:
            root = Path(name) / "pictures"
            measure("made", lambda: make(root, given.pictures, given.classes, given.side))
            measure("evaluate's tables", write_all)
            with override_params([f"data.root={root}", "report.heatmaps.methods=[]"]):
                measure("report", stages.report.main)
            size = stages.report.PAGE.stat().st_size / 1e6
            print(f"page {size:.1f} MB")
        finally:
            os.chdir(original)
    measure(f"{given.heatmaps} heat maps of {given.arch}, 224 px", lambda: draw(given.arch, given.heatmaps))


def measure(name: str, take: Callable[[], object]) -> None:
    """Print the seconds that a step takes, and the peak memory so far."""
    began = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        take()
    seconds = time.perf_counter() - began
    print(f"{name:40} {seconds:7.1f} s {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:7.0f} MB")


def make(root: Path, count: int, classes: int, side: int) -> None:
    """All files that report reads, of random pictures, and the pictures."""
    generator = np.random.default_rng(0)
    names = tuple(f"class_{number:04}" for number in range(classes))
    labels = np.arange(count) % classes
    pixels = generator.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    write_json(CLASSES, names)
    write_grey_range(None)
    for split in ("train", "val", "test"):
        paths = [f"{split}/{names[label]}/{number}.png" for number, label in enumerate(labels)]
        with open_atomically(manifest_path(split)) as file:
            start_manifest(file).writerows(
                [name, names[label], ""] for name, label in zip(paths, labels, strict=True)
            )
        with open_atomically(pack_path(split), "wb") as file:
            np.save(file, pixels)
    for name, picture in zip(paths, pixels, strict=True):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(root / name)
    colours = (0.5, 0.5, 0.5)
    facts = Facts(ARCH, "softmax", names, side, side, colours, colours, "none", "", "", "cpu")
    files, network = stages.report.FILES, build_model(ARCH, classes, "x").eval()
    for path in (files.student, files.teachers / "big.safetensors"):
        save_weights(path, network, facts)
    rule, calibration = PictureRule(("PNG",), 8, 10**6, "file"), Calibration(1.1, 0.6, 0.95)
    write_json(files.calibration, {"temperature": 1.1, "threshold": 0.6, "wanted_accuracy": 0.95})
    product = Product(network, BASES["softmax"], facts, rule, calibration, "", list)  # type: ignore[arg-type]  # nothing is quantised
    write_torchscript(files.export / "student.pt", product)
    write_suspects(files.suspects, [Suspect(name, names[0], names[1], 0.5) for name in paths[:100]])
    files.counts.write_text("class,train,val,test,refused\n" + "".join(f"{name},1,1,1,0\n" for name in names))
    files.refused.write_text("path,reason\n")
    write_json(files.metrics / "student.json", {"student": {"best_epoch": 2, "parameters": 1234}})
    write_json(files.metrics / "data.json", {"data": dict.fromkeys(("train", "val", "test"), count)})
    write_json(files.metrics / "export.json", {"export": {"max_difference": 0}})
    for path in (files.curve, files.teacher_curves / "big.csv"):
        with open_atomically(path) as file:
            file.write("epoch,lr,train_loss,val_loss,val_accuracy\n1,1,2,1.5,0.3\n2,1,1,1.2,0.5\n")


def write_all() -> None:
    """What evaluate does after its forward passes."""
    test = read_manifest("test")
    models = [Measured(name, draw_predictions(test, seed)) for seed, name in enumerate(("student", "big"))]
    figures = [summarize(model.predictions) for model in models]
    calibrated = measure_calibrated(models[0].predictions, Calibration(1.1, 0.6, 0.95))
    write_metrics(models, figures, calibrated, "test", PIPELINE.metrics)
    write_tables(models, test, PIPELINE)


def draw_predictions(test: Manifest, seed: int) -> Predictions:
    """Random probabilities, most of them highest for the label."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(len(test.labels), len(test.classes)))
    right = generator.random(len(test.labels)) < KNOWN
    logits[np.flatnonzero(right), test.labels[right]] += 10
    odds = np.exp(logits)
    return Predictions(test.classes, test.labels, odds / odds.sum(axis=1, keepdims=True))


def draw(arch: str, count: int) -> None:
    """Grad-CAM of random pictures of 224 x 224 pixels."""
    network = build_model(arch, 10, "x").eval()
    cut = find_cut(network, (224, 224), arch)
    images = torch.randint(0, 256, (count, 3, 224, 224), dtype=torch.uint8)
    for part in images.split(16):
        METHODS["grad-cam"](cut, cut(scale_to_unit(part)), torch.zeros(len(part), dtype=torch.long))


if __name__ == "__main__":
    run(main)
