"""README's picture of the demo: accuracy on val per epoch, and the student's confusion matrix on test.

reads   plots/student.csv, plots/teacher/*.csv, plots/test/confusion.csv
        metrics/test.json, metrics/student.json, metrics/teacher/*.json
writes  docs/demo.png

C classes.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from src.ground.files import read_json
from src.results.drawing import save_figure
from src.results.lettering import letter_names

METRICS, PLOTS = Path("metrics"), Path("plots")
PICTURE = Path("docs/demo.png")
MOST_NUMBERS = 20  # classes up to which the counts are legible


def draw() -> None:
    test = read_json(METRICS / "test.json")["test"]
    figures = {"student": test} | {f"teacher {name}": own for name, own in test.get("teacher", {}).items()}
    student = read_json(METRICS / "student.json")["student"]
    figure = Figure(figsize=(11, 5), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))  # inches
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    for name in test.get("teacher", {}):
        best = read_json(METRICS / f"teacher/{name}.json")["teacher"][name]["best_epoch"]
        draw_curve(left, f"teacher {name}", pd.read_csv(PLOTS / f"teacher/{name}.csv"), best)
    draw_curve(left, "student", pd.read_csv(PLOTS / "student.csv"), student["best_epoch"])
    left.set(title="Accuracy on val; the dot marks the epoch that is kept", xlabel="epoch", ylim=(0, 1.02))
    left.grid(alpha=0.3)
    left.spines[["top", "right"]].set_visible(False)
    left.legend(loc="lower right", frameon=False, fontsize=11)
    pairs = pd.read_csv(PLOTS / "test/confusion.csv", dtype=str, keep_default_na=False)
    draw_counts(right, count_pairs(pairs))
    right.set_title("The student on test, number of pictures")
    figure.suptitle(format_title(figures), fontsize=12)
    save_figure(PICTURE, figure)


def format_title(figures: Mapping[str, Mapping[str, float]]) -> str:
    """The accuracy on test with its interval, for each network."""
    parts = [
        f"{name} {own['accuracy']:.3f} ({own['accuracy_low']:.3f} to {own['accuracy_high']:.3f})"
        for name, own in figures.items()
    ]
    return f"Accuracy on test with its 95 % interval: {', '.join(parts)}"


def draw_curve(axis: Axes, name: str, curves: pd.DataFrame, best: int) -> None:
    """Plot the accuracy on val over the epochs, with a dot at epoch `best` (counted from 1)."""
    (line,) = axis.plot(curves["epoch"], curves["val_accuracy"], label=name, linewidth=2)
    kept = curves[curves["epoch"] == best]
    axis.plot(kept["epoch"], kept["val_accuracy"], "o", color=line.get_color())


def count_pairs(pairs: pd.DataFrame) -> pd.DataFrame:
    """Counts (C, C) by true and predicted class, from one row (label, prediction) per picture."""
    classes = sorted(set(pairs["label"]) | set(pairs["prediction"]))
    return pd.crosstab(pairs["label"], pairs["prediction"]).reindex(classes, columns=classes, fill_value=0)


def draw_counts(axis: Axes, matrix: pd.DataFrame) -> None:
    """Draw the counts (C, C); the colour is the square root of the share of the true class."""
    values, classes = matrix.to_numpy(), letter_names(list(map(str, matrix)))
    shares = values / values.sum(axis=1, keepdims=True).clip(1)
    axis.imshow(shares, norm=PowerNorm(0.5, 0, 1), cmap="Blues")  # the root keeps single mistakes visible
    rotation = 90 if max(map(len, classes)) > 2 else 0
    axis.set_xticks(range(len(classes)), classes, rotation=rotation)
    axis.set_yticks(range(len(classes)), classes)
    axis.set(xlabel="predicted class", ylabel="true class")
    if len(classes) <= MOST_NUMBERS:
        for (row, column), count in np.ndenumerate(values):
            if count:
                colour = "white" if shares[row, column] > 0.25 else "black"
                axis.text(column, row, count, ha="center", va="center", fontsize=9, color=colour)
