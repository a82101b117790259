"""Several networks' probabilities for pictures: computed in this process, or by the workers of a cluster.

N pictures, n of them in a part or a batch, C classes. The batches are the same wherever they are computed,
and so the rows are the same to the bit on CPUs that round alike.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from src.ground.errors import UserError
from src.ground.params import read
from src.losses.bases import BASES
from src.machine.collectives import world
from src.machine.executor import LOCAL, map_items, read_executor
from src.machine.runtime import MachineSettings, start_machine
from src.networks.checkpoint import load_model
from src.networks.predict import list_parts, predict_each, predict_probs
from src.pictures.reading import Part, Pictures

CHUNK = 4  # batches that a worker gets at once
Batch = tuple[int, np.ndarray]  # the number of a network, and of the pictures (n,) that it is asked for


@dataclass
class Panel:
    """Networks of the same classes, each of which can be asked for its probabilities."""

    files: Sequence[Path]  # their weights
    networks: Sequence[nn.Module]
    base: str
    batch_size: int
    device: torch.device
    machine: MachineSettings

    def ask(self, asked: np.ndarray, pictures: Pictures, classes: int) -> Iterator[tuple[slice, np.ndarray]]:
        """Probabilities of each picture by the network whose number is in `asked` (N,).

        Part by part, in bounded memory: rows and their probabilities (n, C).
        """
        if read_executor() == LOCAL or world() > 1:
            base = BASES[self.base]
            networks, size = self.networks, self.batch_size
            yield from predict_each(networks, asked, pictures, base, size, self.device, classes)
            return
        parts = [
            list(list_batches(asked, rows, self.batch_size)) for rows in self.list_parts(pictures, classes)
        ]
        needs = [read(str, "data.root"), *map(str, self.files)]  # no param of a stage: only looked at
        asking = Asking(replace(self, networks=[]), pictures)
        answers = map_items(asking, [batch for part in parts for batch in part], CHUNK, lose, needs)
        for rows, part in zip(self.list_parts(pictures, classes), parts, strict=True):
            probs = np.empty((rows.stop - rows.start, classes))
            for _, numbers in part:
                probs[numbers - rows.start] = next(answers)
            yield rows, probs

    def list_parts(self, pictures: Pictures, classes: int) -> Iterator[slice]:
        return list_parts(len(pictures), self.batch_size, classes)


@dataclass
class Asking:
    """Answers batches on a machine that has just started: it loads the networks first."""

    panel: Panel
    pictures: Pictures

    @cached_property
    def ready(self) -> Panel:
        kind: Any = self.panel.device.type  # whatever auto took on the machine that asks
        device = start_machine(replace(self.panel.machine, device=kind, processes=1), seed=0)
        networks = [load_model(path)[0].to(device) for path in self.panel.files]
        return replace(self.panel, networks=networks, device=device)

    def __call__(self, batch: Batch) -> np.ndarray:
        """Probabilities (n, C) of a batch."""
        panel, (number, rows) = self.ready, batch
        base, pictures = BASES[panel.base], Part(self.pictures, rows)
        return predict_probs(panel.networks[number], pictures, base, panel.batch_size, panel.device)


def list_batches(asked: np.ndarray, rows: slice, batch_size: int) -> Iterator[Batch]:
    """The batches of a part: those of one network after another, as predict_each forms them."""
    for number in np.unique(asked[rows]).tolist():
        own = np.flatnonzero(asked[rows] == number) + rows.start
        for start in range(0, len(own), batch_size):
            yield number, own[start : start + batch_size]


def join_parts(parts: Iterator[tuple[slice, np.ndarray]]) -> np.ndarray:
    """The probabilities (N, C) of all parts."""
    return np.concatenate([probs for _, probs in parts])


def lose(batch: Batch, why: str) -> np.ndarray:
    raise UserError(
        f"params.yaml: executor: a worker's process ended twice on the same pictures: {why} (out of memory? "
        "use a smaller knowledge.batch_size, or fewer threads per worker)"
    )
