"""Plots of results. N pictures, C classes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from scipy.sparse import coo_array

from src.ground.files import open_atomically
from src.results.lettering import explain_numbers, letter_names, use_fonts
from src.results.predictions import Predictions

MOST_NUMBERS = 20  # classes up to which the counts are large enough to read
MOST_NAMES = 40  # classes up to which the names are
MOST_BLOCKS = 250  # rows of a larger matrix: more would be finer than the picture
MOST_PAIRS = 30  # bars beside a larger matrix
LEFT_TO_RIGHT = "\u200e"  # invisible: else two Hebrew or Arabic names would change places about the arrow
ARROW = f"{LEFT_TO_RIGHT}\N{RIGHTWARDS ARROW}{LEFT_TO_RIGHT}"


def count_confusions(predictions: Predictions) -> coo_array:
    """Counts (C, C) int64 of the pairs that occur: row = true class, column = predicted class."""
    num_classes = len(predictions.classes)
    codes, counts = np.unique(predictions.labels * num_classes + predictions.predicted, return_counts=True)
    return coo_array((counts, np.divmod(codes, num_classes)), shape=(num_classes, num_classes))


def draw_confusion(path: Path, counts: Sequence[tuple[str, coo_array]], classes: Sequence[str]) -> None:
    """The confusion matrix (C, C) of each named model; rows are true classes, columns predicted ones.

    Up to MOST_NAMES classes, side by side: colour = share of the true class, number = count. For more, a row
    per model: the matrix in blocks of classes, and the pairs of classes that are most often confused.
    """
    texts = letter_names(classes)
    if len(classes) <= MOST_NAMES:
        side = max(4.0, 0.45 * len(classes) + 1.5)  # inches
        figure = Figure(figsize=(side * len(counts), side), layout="constrained")
        axes = figure.subplots(1, len(counts), squeeze=False)
        for axis, (name, matrix) in zip(axes[0], counts, strict=True):
            draw_matrix(axis, name, matrix.toarray(), texts)
    else:
        figure = Figure(figsize=(14.0, 6.5 * len(counts)), layout="constrained")
        axes = figure.subplots(len(counts), 2, squeeze=False)
        for (left, right), (name, matrix) in zip(axes, counts, strict=True):
            draw_blocks(left, name, matrix)
            draw_pairs(right, matrix, texts)
    legend = explain_numbers(classes, texts)
    if legend:
        figure.supxlabel(legend, fontsize="small")
    save_figure(path, figure, bbox_inches="tight")


def draw_matrix(axis: Axes, name: str, matrix: np.ndarray, texts: Sequence[str]) -> None:
    """Every count (C, C), with the names of the classes."""
    shares = matrix / matrix.sum(axis=1, keepdims=True).clip(1)
    axis.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    axis.set_title(title_matrix(name, matrix))
    axis.set_xlabel("predicted class")
    axis.set_ylabel("true class")
    axis.set_xticks(range(len(texts)), texts, rotation=90)
    axis.set_yticks(range(len(texts)), texts)
    if len(texts) <= MOST_NUMBERS:
        for (row, column), count in np.ndenumerate(matrix):
            if count:
                colour = "white" if shares[row, column] > 0.5 else "black"
                axis.text(column, row, count, ha="center", va="center", fontsize=8, color=colour)


def title_matrix(name: str, matrix: np.ndarray | coo_array) -> str:
    return f"{letter_names([name])[0]}: {matrix.trace()} of {matrix.sum()} right"


def draw_blocks(axis: Axes, name: str, matrix: coo_array) -> None:
    """The counts (C, C) summed over blocks of neighbouring classes, as the share of a row of blocks."""
    size = -(-matrix.shape[0] // MOST_BLOCKS)  # classes per block
    num_blocks = -(-matrix.shape[0] // size)
    rows, columns = matrix.coords
    blocks = coo_array(
        (matrix.data, (rows // size, columns // size)), shape=(num_blocks, num_blocks)
    ).toarray()
    shares = blocks / blocks.sum(axis=1, keepdims=True).clip(1)
    edges = (-0.5, num_blocks * size - 0.5, num_blocks * size - 0.5, -0.5)
    image = axis.imshow(shares, norm=PowerNorm(0.5, 0, 1), cmap="Blues", extent=edges)
    axis.figure.colorbar(image, ax=axis, label="share of the true classes", shrink=0.8)
    axis.set_title(title_matrix(name, matrix))
    per_block = "" if size == 1 else f", {size} per row"
    axis.set(xlabel="predicted class, by number", ylabel=f"true class, by number{per_block}")


def draw_pairs(axis: Axes, matrix: coo_array, texts: Sequence[str]) -> None:
    """A bar for each of the pairs (true class, predicted class) that are most often confused."""
    rows, columns = matrix.coords
    wrong = np.flatnonzero(rows != columns)
    order = np.lexsort((columns[wrong], rows[wrong], -matrix.data[wrong]))
    most = wrong[order][:MOST_PAIRS]
    labels = [f"{LEFT_TO_RIGHT}{texts[rows[one]]} {ARROW} {texts[columns[one]]}" for one in most]
    axis.barh(range(len(most)), matrix.data[most], color="C0")
    axis.set_yticks(range(len(most)), labels, fontsize=8)
    axis.invert_yaxis()
    axis.set(title=f"most confused, {len(most)} of {len(wrong)} pairs", xlabel="pictures")


def save_figure(path: Path, figure: Figure, **options: Any) -> None:
    """Write a figure as PNG, the same bytes each time; names in it went through `letter_names`."""
    use_fonts(figure)
    with open_atomically(path, "wb") as file:
        figure.savefig(file, dpi=120, metadata={"Software": None}, **options)
