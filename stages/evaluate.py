"""Evaluate the student and every teacher on the test pictures.

params  evaluate, knowledge.teachers, device, threads, cpu_isa, tf32, processes, images.fit,
        images.dct_scaling
reads   data/models/student.safetensors
        data/models/teachers              NAME.safetensors
        data/manifest/classes.json
        data/manifest/grey_range.json
        data/manifest/test.csv
        data/packed/test.npy
writes  metrics/test.json
        data/predictions.csv              the student's: path, label, prediction, a probability per class
        data/classes.csv                  name, model, class, pictures, precision, recall, f1
        plots/test/confusion.csv          the student's: label, prediction
        plots/test/per_class.csv          as data/classes.csv
        plots/test/confusion.png
run     python -m stages.evaluate
        python -m stages.evaluate --weights FILE [--split SPLIT]   any weights file, into .scratch/evaluate
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from src.ground.errors import Parser, run
from src.ground.files import write_json
from src.ground.params import read, read_top
from src.machine.collectives import is_main
from src.machine.runtime import MachineSettings, start_machine
from src.pictures.manifest import SPLITS, read_manifest
from src.results.drawing import draw_confusion
from src.results.measuring import EvaluateSettings, measure
from src.results.metrics import count_confusions, pair_labels, pick_charted, summarize, tabulate_classes
from src.results.predictions import Measured, write_predictions, write_table

STUDENT = Path("data/models/student.safetensors")
TEACHERS = Path("data/models/teachers")
SCRATCH = Path(".scratch/evaluate")


class Outputs(NamedTuple):
    """Where the results of one evaluation go."""

    metrics: Path
    predictions: Path
    classes: Path
    confusion: Path
    per_class: Path
    picture: Path


PIPELINE = Outputs(
    metrics=Path("metrics/test.json"),
    predictions=Path("data/predictions.csv"),
    classes=Path("data/classes.csv"),
    confusion=Path("plots/test/confusion.csv"),
    per_class=Path("plots/test/per_class.csv"),
    picture=Path("plots/test/confusion.png"),
)


def main() -> None:
    parser = Parser(prog="python -m stages.evaluate")
    parser.add_argument(
        "--weights",
        type=Path,
        help="a weights file that a stage wrote; default: the student and its teachers",
    )
    parser.add_argument("--split", choices=SPLITS, default="test")
    arguments = parser.parse_args()
    settings = read(EvaluateSettings, "evaluate")
    fit, dct_scaling = read(str, "images.fit"), read(bool, "images.dct_scaling")
    teachers = read(tuple[str, ...], "knowledge.teachers")
    device = start_machine(read_top(MachineSettings), seed=0)
    split, outputs = arguments.split, PIPELINE
    weights = [STUDENT, *(TEACHERS / f"{name}.safetensors" for name in teachers)]
    if arguments.weights or split != "test":
        weights = [arguments.weights or STUDENT]
        folder = SCRATCH / f"{weights[0].stem}-{split}"
        outputs = Outputs(*(folder / path.name for path in PIPELINE))
    models = [
        Measured(path.stem, measure(path, split, settings.batch_size, fit, dct_scaling, device))
        for path in weights
    ]
    if is_main():
        write(models, split, outputs)
        if outputs is not PIPELINE:
            print(f"written to {folder}")


def write(models: Sequence[Measured], split: str, outputs: Outputs) -> None:
    """Write the results of the first model, usually the student, and the metrics of its teachers."""
    first = models[0]
    manifest = read_manifest(split)
    figures = [summarize(model.predictions) for model in models]
    teachers = {model.name: own for model, own in zip(models[1:], figures[1:], strict=True)}
    write_predictions(outputs.predictions, first.predictions, manifest.paths)
    write_json(outputs.metrics, {split: figures[0] | ({"teacher": teachers} if teachers else {})})
    charted = pick_charted(first.predictions)
    write_table(outputs.confusion, ("label", "prediction"), pair_labels(first.predictions, charted))
    columns = ("name", "model", "class", "pictures", "precision", "recall", "f1")
    rows, names = tabulate_classes(models), {manifest.classes[number] for number in charted}
    write_table(outputs.classes, columns, rows)
    write_table(outputs.per_class, columns, [row for row in rows if row[2] in names])
    counts = [(model.name, count_confusions(model.predictions)) for model in models]
    draw_confusion(outputs.picture, counts, manifest.classes)
    for model, row in zip(models, figures, strict=True):
        print(
            f"{model.name}: accuracy {row['accuracy']:.4f} on {split} (95 % interval "
            f"{row['accuracy_low']:.4f} to {row['accuracy_high']:.4f}), macro F1 {row['macro_f1']:.4f}, "
            f"log loss {row['log_loss']:.4f}, calibration error {row['ece']:.4f}"
        )


if __name__ == "__main__":
    run(main)
