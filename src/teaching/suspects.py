"""Training pictures whose label the teachers deny: CSV `path,label,believed,confidence`, the surest first.

N pictures, C classes.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from src.ground.chunks import list_chunks
from src.ground.files import open_atomically, start_csv
from src.ground.tables import parse_numbers, read_table
from src.teaching.targets import AnyKnowledge

COLUMNS = ("path", "label", "believed", "confidence")


class Suspect(NamedTuple):
    """A picture whose most probable class is another than its label."""

    path: str
    label: str
    believed: str  # the most probable class
    confidence: float  # its probability less the label's, in [0, 1], the mean over teachers and views


def find_suspects(
    knowledge: Sequence[AnyKnowledge], paths: Sequence[str], labels: np.ndarray, classes: Sequence[str]
) -> Iterator[Suspect]:
    """The suspects among pictures `paths` (N,) with `labels` (N,), an index into `classes` (C,).

    They are ranked as in C. Northcutt et al., Confident Learning, 2021, arXiv:1911.00068, by the normalized
    margin: the probability of the label less that of the most probable other class; equal ones by the paths.
    """
    believed, margins = np.zeros(len(paths), np.int32), np.zeros(len(paths))
    for rows in list_chunks(len(paths) if knowledge else 0, len(classes)):
        views = [one.take(view, rows) / one.views for one in knowledge for view in range(one.views)]
        probs = sum(views[1:], views[0]) / len(knowledge)
        believed[rows], own = probs.argmax(axis=1), np.arange(len(probs))
        margins[rows] = probs[own, believed[rows]] - probs[own, labels[rows]]
    found = np.array(sorted(np.flatnonzero(margins > 0).tolist(), key=paths.__getitem__), np.int64)
    for row in found[np.argsort(-margins[found], kind="stable")]:
        yield Suspect(paths[row], classes[labels[row]], classes[believed[row]], float(margins[row]))


def write_suspects(path: Path, suspects: Iterable[Suspect]) -> None:
    """Write the suspects."""
    with open_atomically(path) as file:
        writer = start_csv(file)
        writer.writerow(COLUMNS)
        writer.writerows((*suspect[:3], f"{suspect.confidence:.9g}") for suspect in suspects)


def read_suspects(path: Path) -> list[Suspect]:
    """The suspects in a file that `write_suspects` wrote; a UserError names the line that it did not."""
    _, rows = read_table(path, COLUMNS)
    return [
        Suspect(picture, label, believed, float(parse_numbers(path, line, [sure], 0, 1)[0]))
        for line, (picture, label, believed, sure) in rows
    ]
