"""The sections of the page as values of the template: figures, charts, tables, galleries."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from src.ground.errors import UserError
from src.ground.tables import LARGEST, REMEDY, parse_numbers, read_table
from src.report.charts import Axis, Points, draw_lines
from src.report.findings import Naive, compare_models
from src.report.picks import find_share, pick_disagreements, pick_mistakes, pick_of_class, pick_unsure
from src.report.thumbnails import Thumbnails
from src.results.calibration import Calibration, trace_coverage
from src.results.metrics import bin_by_confidence, find_truth
from src.results.predictions import Measured, Predictions

MOST_CLASSES = 40  # of a matrix, and of galleries per class
IN_CELL = 12  # pictures that a cell of the matrix shows
CURVES = {  # the columns of a file of learning curves, and the least and largest value of each
    "epoch": (1, LARGEST),
    "lr": (0, LARGEST),
    "train_loss": (-np.inf, np.inf),
    "val_loss": (0, np.inf),
    "val_accuracy": (0, 1),
}
FIGURES = {  # of metrics/test.json: how the page calls them, what they mean, whether they are shares
    "accuracy": ("Accuracy", "share of the pictures whose most probable class is right", True),
    "top5": ("Top 5", "share whose class is among the five most probable ones", True),
    "balanced_accuracy": ("Balanced accuracy", "mean of the classes' recalls: each class counts alike", True),
    "macro_f1": ("Macro F1", "mean of the classes' F1, which weighs precision and recall", True),
    "log_loss": ("Log loss", "mean of -log of the true class's probability, in nats; 0 is best", False),
    "brier": ("Brier score", "squared distance of the probabilities to the truth, 0 to 2; 0 is best", False),
    "ece": ("Calibration error", "how far confidence is from accuracy on average, 0 is best", True),
}


class Item(NamedTuple):
    """A picture of a gallery."""

    number: int | None  # of the thumbnail, None if it cannot be shown
    path: str
    text: Markup  # what is said of it


class Gallery(NamedTuple):
    """Pictures that have something in common."""

    title: str
    caption: str
    items: list[Item]


def isolate(name: str) -> Markup:
    """The name of a class inside a sentence, whose direction it does not change."""
    return Markup("<bdi>{}</bdi>").format(name)


def count_pictures(number: int) -> str:
    """The number of pictures in words."""
    return "1 picture" if number == 1 else f"{number:,} pictures"


def tabulate_figures(metrics: Mapping[str, Any]) -> list[tuple[str, str, list[str]]]:
    """Per figure its name, its meaning and its values for the student and each teacher."""
    models = [metrics, *metrics.get("teacher", {}).values()]
    rows = []
    for key, (name, meaning, share) in FIGURES.items():
        if key in metrics:
            values = [f"{one[key]:.1%}" if share else f"{one[key]:.3f}" for one in models]
            if key == "accuracy":
                values = [
                    f"{text} ({one['accuracy_low']:.1%} to {one['accuracy_high']:.1%})"
                    for text, one in zip(values, models, strict=True)
                ]
            rows.append((name, meaning, values))
    return rows


def describe_naive(naive: Naive) -> list[tuple[str, float]]:
    """The naive answers in words, and their accuracies."""
    return [
        (
            Markup("always {}, the commonest class of train").format(isolate(naive.class_name)),
            naive.commonest,
        ),
        ("the class whose mean colour is the nearest", naive.colour),
    ]


def draw_curves(curves: Mapping[str, Path]) -> list[tuple[str, Markup]]:
    """Charts of the learning curves of every network, by title."""
    tables = {name: read_curves(path) for name, path in curves.items()}
    longest = max(float(rows[-1]["epoch"]) for rows in tables.values())
    charts = []
    for key, title in (("val_accuracy", "accuracy on val"), ("val_loss", "loss on val, nats")):
        every = {name: [(float(r["epoch"]), float(r[key])) for r in rows] for name, rows in tables.items()}
        lines = {name: [(x, y) for x, y in points if np.isfinite(y)] for name, points in every.items()}
        values = [y for points in lines.values() for _, y in points] or [1.0]
        axis = Axis(title, 0, 1 if key == "val_accuracy" else float(np.quantile(values, 0.98)) * 1.05)
        clipped = {name: [(x, min(y, axis.high)) for x, y in points] for name, points in lines.items()}
        charts.append((title, draw_lines(Axis("epoch", 1, max(2, longest)), axis, clipped)))
    return charts


def read_curves(path: Path) -> list[dict[str, str]]:
    """The rows of a file of learning curves, one or more; a loss may be infinite or NaN."""
    header, lines = read_table(path, [*CURVES])
    rows = []
    for line, texts in lines:
        row = dict(zip(header, texts, strict=True))
        for name, text in row.items():
            if not (name.endswith("loss") and text == "nan"):
                parse_numbers(path, line, [text], *CURVES[name])
        rows.append(row)
    if not rows:
        raise UserError(f"{path}: no epochs {REMEDY}")
    return rows


def draw_reliability(before: Predictions, after: Predictions) -> Markup:
    """The accuracy of those who are so sure, in bins, before and after the temperature."""
    lines: dict[str, Points] = {}
    for name, one in (("as trained", before), ("at the temperature", after)):
        bins = bin_by_confidence(find_truth(one).of_predicted, one.predicted == one.labels)
        lines[name] = [(sure, right) for sure, right, _ in bins]
    low = min(x for points in lines.values() for point in points for x in point)
    low = np.floor(low * 10) / 10
    sure, right = Axis("confidence", low, 1), Axis("accuracy", low, 1)
    return draw_lines(sure, right, lines, diagonal=True)


def draw_coverage(calibrated: Predictions, calibration: Calibration) -> Markup:
    """Accuracy against the share that is answered, and where the threshold is."""
    sure, right = find_truth(calibrated).of_predicted, calibrated.predicted == calibrated.labels
    points = trace_coverage(sure, right)
    answered = sure >= calibration.threshold
    marks = [(float(answered.mean()), float(right[answered].mean()))] if answered.any() else []
    low = np.floor(min(y for _, y in points[len(points) // 20 :]) * 20 - 1e-9) / 20
    shown = [(x, max(y, low)) for x, y in points]
    share, accuracy = Axis("share of pictures answered", 0, 1), Axis("accuracy of the answers", low, 1)
    return draw_lines(share, accuracy, {"answers": shown}, marks=marks)


def describe_sureness(calibrated: Mapping[str, float]) -> tuple[str, str]:
    """The share that is answered surely, and how many of these rightly, for the headline."""
    if not calibrated["coverage"]:
        return "0%", "can be answered surely: it is never sure enough"
    return (
        f"{calibrated['coverage']:.0%}",
        f"can be answered surely, {calibrated['accuracy']:.1%} of these rightly",
    )


class Matrix(NamedTuple):
    """The confusion matrix of few classes, and the pictures in its cells."""

    counts: list[list[int]]  # row: true class, column: predicted class
    shares: list[list[float]]  # of the row
    cells: dict[str, list[tuple[int | None, str, str]]]  # "row-column" -> thumbnail, path, text


def fill_matrix(predictions: Predictions, paths: Sequence[str], thumbnails: Thumbnails) -> Matrix:
    """The matrix with up to IN_CELL pictures per cell, the surest ones."""
    size = len(predictions.classes)
    counts = np.zeros((size, size), int)
    np.add.at(counts, (predictions.labels, predictions.predicted), 1)
    order = np.argsort(-find_truth(predictions).of_predicted, kind="stable")
    cells: dict[str, list[tuple[int | None, str, str]]] = {}
    wrong_first = sorted(order, key=lambda row: predictions.labels[row] == predictions.predicted[row])
    for row in wrong_first:
        own = cells.setdefault(f"{predictions.labels[row]}-{predictions.predicted[row]}", [])
        if len(own) < IN_CELL:
            item = show(predictions, row, paths, thumbnails)
            own.append((item.number, item.path, item.text))
    shares = counts / counts.sum(axis=1, keepdims=True).clip(1)
    return Matrix(counts.tolist(), shares.tolist(), cells)


def show(predictions: Predictions, row: int, paths: Sequence[str], thumbnails: Thumbnails) -> Item:
    """A picture with what it is and what is predicted."""
    names, label, told = predictions.classes, predictions.labels[row], predictions.predicted[row]
    taken = Markup(", taken for {}").format(isolate(names[told])) if label != told else ""
    text = Markup("{}{}: {:.0%}").format(isolate(names[label]), taken, find_share(predictions, row, told))
    return Item(thumbnails.find(paths[row]), paths[row], text)


def list_galleries(
    student: Predictions,
    teachers: Sequence[Measured],
    paths: Sequence[str],
    thumbnails: Thumbnails,
    most: int,
) -> list[Gallery]:
    """The galleries of pictures of test."""

    def collect(rows: Iterable[int]) -> list[Item]:
        return [show(student, int(row), paths, thumbnails) for row in rows]

    mistakes = pick_mistakes(student)
    galleries = [
        Gallery(
            "Surest mistakes",
            f"{len(mistakes)} of {count_pictures(len(paths))} taken for another class; those of which the "
            "student is surest, with its confidence. A label may be wrong, or two classes look alike.",
            collect(mistakes[:most]),
        ),
        Gallery(
            "Least sure",
            "The pictures whose most probable class is the least probable, right or wrong.",
            collect(pick_unsure(student)[:most]),
        ),
    ]
    for teacher in teachers:
        rows = pick_disagreements(student, teacher.predictions)
        items = []
        for row in rows[:most].tolist():
            other = teacher.predictions
            told = other.predicted[row]
            item = show(student, row, paths, thumbnails)
            share = find_share(other, row, told)
            said = Markup("; {}: {} {:.0%}").format(teacher.name, isolate(other.classes[told]), share)
            items.append(item._replace(text=item.text + said))
        galleries.append(
            Gallery(
                f"Student and {teacher.name} differ",
                f"{count_pictures(len(rows))} on which they predict different classes, those of which "
                "both are sure first.",
                items,
            )
        )
    return galleries


def list_best_and_worst(
    student: Predictions, paths: Sequence[str], thumbnails: Thumbnails, classes: Sequence[int], most: int
) -> list[tuple[str, list[Item], list[Item]]]:
    """Of each class the pictures whose true class is most and least probable."""
    found = []
    for number in classes:
        rows = pick_of_class(student, number).tolist()
        if rows:
            best = [show(student, row, paths, thumbnails) for row in rows[:most]]
            worst = [show(student, row, paths, thumbnails) for row in rows[::-1][:most]]
            found.append((student.classes[number], best, worst))
    return found


def describe_agreement(student: Predictions, teachers: Sequence[Measured]) -> list[dict[str, Any]]:
    """How far the student agrees with each teacher."""
    return [
        {"name": teacher.name, **compare_models(student, teacher.predictions)._asdict()}
        for teacher in teachers
    ]
