"""Measure the student and every teacher on the test pictures.

params  evaluate.batch_size, device, threads, cpu_isa, processes, images.dct_scaling
reads   data/models/student.safetensors
        data/models/teachers              NAME.safetensors
        data/manifest/classes.json
        data/manifest/test.csv
        data/packed/test.npy
writes  metrics/test.json
        data/predictions.csv              the student's: path, label, prediction, a probability per class
        plots/test/confusion.csv          the student's: label, prediction
        plots/test/per_class.csv          name, model, class, pictures, precision, recall, f1
        plots/test/confusion.png
run     python -m stages.evaluate
        python -m stages.evaluate --weights FILE [--split SPLIT]   any weights, into .scratch/evaluate
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import torch

from src.ground.errors import UserError, run
from src.ground.files import write_json
from src.ground.params import read
from src.losses.bases import BASES
from src.machine.distributed import is_main
from src.machine.runtime import start
from src.networks.checkpoint import load_model
from src.networks.predict import predict_probs
from src.pictures.manifest import SPLITS, read_manifest
from src.pictures.reading import at_size, read_pictures
from src.results.drawing import draw_confusion
from src.results.metrics import confusion, per_class, summary
from src.results.predictions import Predictions, rounded, write_predictions, write_table

STUDENT = Path("data/models/student.safetensors")
TEACHERS = Path("data/models/teachers")
SCRATCH = Path(".scratch/evaluate")


class Outputs(NamedTuple):
    """Where the results of one evaluation go."""

    metrics: Path
    predictions: Path
    confusion: Path
    per_class: Path
    picture: Path


PIPELINE = Outputs(
    metrics=Path("metrics/test.json"),
    predictions=Path("data/predictions.csv"),
    confusion=Path("plots/test/confusion.csv"),
    per_class=Path("plots/test/per_class.csv"),
    picture=Path("plots/test/confusion.png"),
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.evaluate")
    parser.add_argument(
        "--weights", type=Path, help="a file that a stage wrote; default: the student and its teachers"
    )
    parser.add_argument("--split", choices=SPLITS, default="test")
    arguments = parser.parse_args()
    batch_size, processes = read(int, "evaluate.batch_size"), read(int, "processes")
    device = start(read(str, "device"), read(int, "threads"), read(str, "cpu_isa"), 0, processes)
    if arguments.weights is None and arguments.split == "test":
        evaluate(STUDENT, sorted(TEACHERS.glob("*.safetensors")), "test", PIPELINE, batch_size, device)
    else:
        weights = arguments.weights or STUDENT
        folder = SCRATCH / f"{weights.stem}-{arguments.split}"
        outputs = Outputs(*(folder / path.name for path in PIPELINE))
        evaluate(weights, [], arguments.split, outputs, batch_size, device)
        print(f"written to {folder}")


def evaluate(
    weights: Path, teachers: list[Path], split: str, outputs: Outputs, batch_size: int, device: torch.device
) -> None:
    """Measure the models of the weights files on a split and write all outputs."""
    manifest = read_manifest(split)
    models = {path.stem: predict(path, split, batch_size, device) for path in (weights, *teachers)}
    if not is_main():
        return
    write_predictions(outputs.predictions, models[weights.stem], manifest.paths)
    figures = {name: summary(predictions) for name, predictions in models.items()}
    rest = {"teacher": {path.stem: figures[path.stem] for path in teachers}} if teachers else {}
    write_json(outputs.metrics, {split: figures[weights.stem] | rest})
    own = models[weights.stem]
    names = [
        (own.classes[label], own.classes[predicted])
        for label, predicted in zip(own.labels, own.predicted, strict=True)
    ]
    write_table(outputs.confusion, ("label", "prediction"), names)
    rows = [
        (f"{name}: {row['class']}", name, *row.values())
        for name, predictions in models.items()
        for row in per_class(predictions)
    ]
    write_table(outputs.per_class, ("name", "model", "class", "pictures", "precision", "recall", "f1"), rows)
    draw_confusion(outputs.picture, {name: confusion(p) for name, p in models.items()}, manifest.classes)
    for name, row in figures.items():
        print(
            f"{name}: accuracy {row['accuracy']:.4f} on {split} (95 % interval {row['accuracy_low']:.4f} to "
            f"{row['accuracy_high']:.4f}), macro F1 {row['macro_f1']:.4f}, log loss {row['log_loss']:.4f}"
        )


def predict(weights: Path, split: str, batch_size: int, device: torch.device) -> Predictions:
    """What the model of a weights file says of the pictures of a split."""
    model, facts = load_model(weights)
    manifest, pictures = read_manifest(split), read_pictures(split, read(bool, "images.dct_scaling"))
    if facts.classes != manifest.classes:
        own, packed = ", ".join(facts.classes), ", ".join(manifest.classes)
        raise UserError(
            f"{weights}: made for the classes {own}; the data has {packed} (use the data it was made for)"
        )
    if split == "train":
        pictures = at_size(pictures, facts.height, facts.width)  # they may be packed larger
    if (facts.height, facts.width) != pictures.shape[1:3]:
        own, packed = (
            " x ".join(map(str, size)) for size in ((facts.height, facts.width), pictures.shape[1:3])
        )
        raise UserError(
            f"{weights}: made for {own} pixels; the pictures are packed at {packed} (set images to {own})"
        )
    probs = predict_probs(model.to(device), pictures, BASES[facts.base], batch_size, device)
    return Predictions(manifest.classes, manifest.labels, rounded(probs))


if __name__ == "__main__":
    run(main)
