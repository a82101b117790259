"""The figures that evaluate wrote to metrics/test.json and data/classes.csv, checked as they are read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from src.ground.errors import UserError
from src.ground.tables import LARGEST, REMEDY, parse_numbers, read_numbers, read_table
from src.results.metrics import TOP

SPLIT = "test"
FIGURES = (
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "balanced_accuracy",
    "macro_f1",
    "log_loss",
    "brier",
    "ece",
)
CALIBRATED = ("coverage", "accuracy")
SHARES = ("precision", "recall", "f1", "specificity", "roc_auc", "average_precision")
COLUMNS = ("name", "model", "class", "pictures", *SHARES)


def read_figures(path: Path, num_classes: int) -> dict[str, Any]:
    """The student's figures on test, with those at its temperature under `calibrated`."""
    read_numbers(path, (SPLIT, "calibrated"), CALIBRATED)
    return read_numbers(path, (SPLIT,), list_keys(num_classes))


def read_classes(path: Path, classes: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of the student's classes (C,), the first in the table, as `measure_classes` gave them."""
    rows: list[dict[str, Any]] = []
    for line, (_, _, name, pictures, *texts) in read_table(path, COLUMNS)[1]:
        (count,) = parse_numbers(path, line, [pictures], 0, LARGEST)
        shares = [float(*parse_numbers(path, line, [text], 0, 1)) if text else "" for text in texts]
        rows.append({"class": name, "pictures": int(count), **dict(zip(SHARES, shares, strict=True))})
    if [row["class"] for row in rows[: len(classes)]] != [*classes]:
        raise UserError(f"{path}: figures of other classes than test's {REMEDY}")
    return rows[: len(classes)]


def check_teachers(path: Path, figures: dict[str, Any], teachers: Sequence[str], num_classes: int) -> None:
    """Refuse figures of other teachers than these, or in another order."""
    found = figures.get("teacher", {})
    if not isinstance(found, dict) or [*found] != [*teachers]:
        raise UserError(f"{path}: {SPLIT}.teacher: other teachers than knowledge.teachers {REMEDY}")
    for name in teachers:
        read_numbers(path, (SPLIT, "teacher", name), list_keys(num_classes))


def list_keys(num_classes: int) -> list[str]:
    """The figures that there are for so many classes."""
    return [*FIGURES, *(["top5"] if num_classes > TOP else [])]
