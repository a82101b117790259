"""The section of heat maps: where student and teachers look, for what they predict and for what is true.

N pictures.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from src.batches.batch import scale_to_unit
from src.ground.errors import UserError
from src.networks.checkpoint import load_model
from src.networks.last_map import Cut, find_cut
from src.pictures.reading import Pictures, resize_pictures
from src.report.picks import PICKS, find_share, pick_disagreements, pick_unsure
from src.report.thumbnails import Thumbnails
from src.results.heatmaps import METHODS
from src.results.predictions import Predictions

AT_ONCE = 16  # pictures
CHOSEN = {
    "wrong": "the surest mistakes of the student",
    "unsure": "those of which the student is least sure",
    "disagree": "those on which student and teacher differ",
    "random": "drawn at random",
}


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
    prob: float  # that the model gives this class, over the sum of all
    number: int | None  # of the thumbnail


def choose_rows(pick: str, models: Sequence[Model]) -> list[int]:
    """The rows to draw: those that are wished for, then those of which the student is least sure."""
    student, last = models[0].predictions, models[-1].predictions
    differ = pick == "disagree"  # without a teacher on no picture
    wished = pick_disagreements(student, last) if differ else PICKS[pick](student)
    return list(dict.fromkeys([*wished.tolist(), *pick_unsure(student).tolist()]))


def explain(
    models: Sequence[Model],
    rows: Sequence[int],
    paths: Sequence[str],
    pictures: Pictures,
    methods: Sequence[str],
    thumbnails: Thumbnails,
) -> tuple[dict[int, list[Map]], list[str]]:
    """The maps of each of the rows, and why some are missing, if so.

    `pictures` (N, H, W, 3) uint8 are fitted to the input, `paths` (N,) the files that are drawn on.
    """
    maps: dict[int, list[Map]] = {row: [] for row in rows}
    problems = []
    for model in models:
        network, facts = load_model(model.weights)
        size, told = (facts.height, facts.width), model.predictions
        fitted = resize_pictures(pictures, *size)
        wanted = [
            (row, label) for row in rows for label in dict.fromkeys((told.predicted[row], told.labels[row]))
        ]
        try:
            cut = find_cut(network, size, facts.arch)
            for (row, label), method, heat in draw_heats(cut, wanted, fitted, methods):
                number = thumbnails.add_over(paths[row], heat, size, facts.fit)
                prob = find_share(told, row, label)
                maps[row].append(Map(model.name, method, told.classes[label], prob, number))
        except UserError as error:
            problems.append(f"{model.name}: {error}")
    return maps, problems


def draw_heats(
    cut: Cut, wanted: Sequence[tuple[int, int]], pictures: Pictures, methods: Sequence[str]
) -> Iterator[tuple[tuple[int, int], str, np.ndarray]]:
    """The maps (h, w) of the wanted rows and classes, by every method that is defined for the network.

    A UserError, after those that are, says which is not.
    """
    problems: dict[str, UserError] = {}
    for start in range(0, len(wanted), AT_ONCE):
        part = wanted[start : start + AT_ONCE]
        images = np.stack([np.asarray(pictures[[row]])[0] for row, _ in part])
        seen = cut(scale_to_unit(torch.from_numpy(images).permute(0, 3, 1, 2)))
        classes = torch.tensor([int(label) for _, label in part])
        for method in methods:
            try:
                heats = METHODS[method](cut, seen, classes).detach().clamp(min=0).numpy()
            except UserError as error:
                problems[method] = error
                continue
            for one, heat in zip(part, heats, strict=True):
                yield one, method, heat
    if problems:
        raise UserError(*map(str, problems.values()))
