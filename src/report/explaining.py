"""The section of heat maps: where student and teachers look, for what they predict and for what is true.

N pictures.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from src.batches.batch import scale_to_unit
from src.networks.checkpoint import load_model
from src.networks.last_map import find_cut
from src.pictures.reading import Pictures
from src.report.thumbnails import Thumbnails
from src.results.heatmaps import METHODS
from src.results.predictions import Predictions

AT_ONCE = 16  # pictures


class Model(NamedTuple):
    """A network whose heat maps are drawn, and what it predicts."""

    name: str
    weights: Path
    predictions: Predictions


class Map(NamedTuple):
    """One picture's heat for one class."""

    model: str
    method: str
    label: str  # the class that it speaks for
    prob: float  # that the model gives this class
    number: int | None  # of the thumbnail


def explain(
    models: Sequence[Model],
    rows: Sequence[int],
    paths: Sequence[str],
    pictures: Pictures,
    methods: Sequence[str],
    thumbnails: Thumbnails,
) -> Iterator[tuple[int, list[Map]]]:
    """For each of the rows its maps: of every model and method, for the predicted class and the true one.

    `pictures` (N, H, W, 3) uint8 are the networks' inputs, `paths` (N,) the files that are drawn on.
    """
    found: dict[int, list[Map]] = {row: [] for row in rows}
    for model in models:
        for row, maps in explain_model(model, rows, paths, pictures, methods, thumbnails):
            found[row] += maps
    yield from found.items()


def explain_model(
    model: Model,
    rows: Sequence[int],
    paths: Sequence[str],
    pictures: Pictures,
    methods: Sequence[str],
    thumbnails: Thumbnails,
) -> Iterator[tuple[int, list[Map]]]:
    """The maps of one model."""
    network, facts = load_model(model.weights)
    size = (facts.height, facts.width)
    cut = find_cut(network, size, f"{model.name}: {facts.arch}")
    told = model.predictions
    wanted = [
        (row, label) for row in rows for label in dict.fromkeys((told.predicted[row], told.labels[row]))
    ]
    maps: dict[int, list[Map]] = {row: [] for row in rows}
    for start in range(0, len(wanted), AT_ONCE):
        part = wanted[start : start + AT_ONCE]
        images = np.stack([np.asarray(pictures[[row]])[0] for row, _ in part])
        seen = cut(scale_to_unit(torch.from_numpy(images).permute(0, 3, 1, 2)))
        classes = torch.tensor([int(label) for _, label in part])
        for method in methods:
            heats = METHODS[method](cut, seen, classes).detach().clamp(min=0).numpy()
            for (row, label), heat in zip(part, heats, strict=True):
                number = thumbnails.add_over(paths[row], heat, size, facts.fit)
                prob = float(told.probs[row, label])
                maps[row].append(Map(model.name, method, told.classes[label], prob, number))
    yield from maps.items()
