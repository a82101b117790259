"""Evaluate the student and every teacher on the test pictures.

params  evaluate, export.calibrate, knowledge.teachers, device, threads, cpu_isa, tf32, processes, images.fit,
        images.dct_scaling
reads   data/models/student.safetensors
        data/models/teachers              NAME.safetensors
        data/manifest/classes.json
        data/manifest/grey_range.json
        data/manifest/test.csv
        data/manifest/val.csv
        data/packed/test.npy
        data/packed/val.npy
writes  metrics/test.json
        data/predictions.csv              the student's: path, label, prediction, a probability per class
        data/teacher_predictions          NAME.csv: the same of every teacher
        data/calibration.json             the student's temperature; below which confidence it is unsure
        data/classes.csv                  a row per model and class: pictures, precision, recall, f1 and more
        plots/test/confusion.csv          the student's: label, prediction
        plots/test/per_class.csv          as data/classes.csv
        plots/test/confusion.png
run     python -m stages.evaluate
        python -m stages.evaluate --weights FILE [--split SPLIT]   any weights file, into .scratch/evaluate
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from src.ground.errors import Parser, run
from src.ground.files import write_json
from src.ground.params import read, read_top
from src.machine.collectives import is_main
from src.machine.runtime import MachineSettings, start_machine
from src.pictures.manifest import SPLITS, Manifest, read_manifest
from src.results.calibration import calibrate, measure_calibrated
from src.results.drawing import count_confusions, draw_confusion
from src.results.measuring import EvaluateSettings, score
from src.results.metrics import pair_labels, pick_charted, summarize, tabulate_classes
from src.results.predictions import Measured, write_predictions, write_table

STUDENT = Path("data/models/student.safetensors")
TEACHERS = Path("data/models/teachers")
SCRATCH = Path(".scratch/evaluate")


class Outputs(NamedTuple):
    """Where the results of one evaluation go."""

    metrics: Path
    predictions: Path
    teachers: Path
    calibration: Path
    classes: Path
    confusion: Path
    per_class: Path
    picture: Path


PIPELINE = Outputs(
    metrics=Path("metrics/test.json"),
    predictions=Path("data/predictions.csv"),
    teachers=Path("data/teacher_predictions"),
    calibration=Path("data/calibration.json"),
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
    scores = [score(path, split, settings.batch_size, fit, dct_scaling, device) for path in weights]
    first = scores[0]
    on_val = (
        first if split == "val" else score(weights[0], "val", settings.batch_size, fit, dct_scaling, device)
    )
    if is_main():
        calibration = calibrate(on_val, read(bool, "export.calibrate"), settings.wanted_accuracy)
        models = [Measured(path.stem, one.predict()) for path, one in zip(weights, scores, strict=True)]
        figures = [summarize(model.predictions) for model in models]
        calibrated = measure_calibrated(first.predict(calibration.temperature), calibration)
        write_metrics(models, figures, calibrated, split, outputs.metrics)
        write_json(outputs.calibration, asdict(calibration))
        write_tables(models, read_manifest(split), outputs)
        if outputs is not PIPELINE:
            print(f"written to {folder}")


def write_metrics(
    models: Sequence[Measured],
    figures: Sequence[dict[str, float]],
    calibrated: dict[str, float],
    split: str,
    path: Path,
) -> None:
    """Write and print the figures of the first model, usually the student, and those of its teachers."""
    teachers = {model.name: own for model, own in zip(models[1:], figures[1:], strict=True)}
    own = figures[0] | {"calibrated": calibrated} | ({"teacher": teachers} if teachers else {})
    write_json(path, {split: own})
    for model, row in zip(models, figures, strict=True):
        print(
            f"{model.name}: accuracy {row['accuracy']:.4f} on {split} (95 % interval "
            f"{row['accuracy_low']:.4f} to {row['accuracy_high']:.4f}), macro F1 {row['macro_f1']:.4f}, "
            f"log loss {row['log_loss']:.4f}, calibration error {row['ece']:.4f}"
        )
    print(
        f"{models[0].name} at temperature {calibrated['temperature']:g}: log loss "
        f"{calibrated['log_loss']:.4f}, calibration error {calibrated['ece']:.4f}; from confidence "
        f"{calibrated['threshold']:.3f} on up {calibrated['coverage']:.1%} of {split} answered, accuracy "
        f"{calibrated['accuracy']:.4f}"
    )


def write_tables(models: Sequence[Measured], manifest: Manifest, outputs: Outputs) -> None:
    """Write the predictions of all models, and what is counted from them."""
    first, *teachers = models
    write_predictions(outputs.predictions, first.predictions, manifest.paths)
    outputs.teachers.mkdir(parents=True, exist_ok=True)
    if not teachers:  # DVC warns of an empty folder at each stage
        (outputs.teachers / "no_teacher.txt").write_text("knowledge.teachers is empty\n", encoding="utf-8")
    for teacher in teachers:
        write_predictions(outputs.teachers / f"{teacher.name}.csv", teacher.predictions, manifest.paths)
    charted = pick_charted(first.predictions)
    write_table(outputs.confusion, ("label", "prediction"), pair_labels(first.predictions, charted))
    columns, rows = tabulate_classes(models)
    names = {manifest.classes[number] for number in charted}
    write_table(outputs.classes, columns, rows)
    write_table(outputs.per_class, columns, [row for row in rows if row[2] in names])
    counts = [(model.name, count_confusions(model.predictions)) for model in models]
    draw_confusion(outputs.picture, counts, manifest.classes)


if __name__ == "__main__":
    run(main)
