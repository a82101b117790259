"""Plots of results. C classes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from src.ground.files import open_atomically

MOST_NUMBERS = 20  # classes up to which the counts are large enough to read


def draw_confusion(path: Path, counts: Mapping[str, np.ndarray], classes: Sequence[str]) -> None:
    """A confusion matrix (C, C) per model, side by side: colour = share of the true class, number = count."""
    side = max(4.0, 0.45 * min(len(classes), 40) + 1.5)  # inches
    figure = Figure(figsize=(side * len(counts), side), layout="constrained")
    axes = figure.subplots(1, len(counts), squeeze=False)
    for axis, (name, matrix) in zip(axes[0], counts.items(), strict=True):
        shares = matrix / matrix.sum(axis=1, keepdims=True).clip(1)
        axis.imshow(shares, vmin=0, vmax=1, cmap="Blues")
        axis.set_title(f"{name}: {np.trace(matrix)} of {matrix.sum()} right")
        axis.set_xlabel("predicted class")
        axis.set_ylabel("true class")
        axis.set_xticks(range(len(classes)), classes, rotation=90)
        axis.set_yticks(range(len(classes)), classes)
        if len(classes) <= MOST_NUMBERS:
            for (row, column), count in np.ndenumerate(matrix):
                if count:
                    colour = "white" if shares[row, column] > 0.5 else "black"
                    axis.text(column, row, count, ha="center", va="center", fontsize=8, color=colour)
    save_figure(path, figure, bbox_inches="tight")


def save_figure(path: Path, figure: Figure, **options: Any) -> None:
    """Write a figure as PNG, the same bytes each time."""
    with open_atomically(path, "wb") as file:
        figure.savefig(file, dpi=120, metadata={"Software": None}, **options)
