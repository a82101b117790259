"""Teachers that look at the very batch that the student sees, after mixing and resizing.

L. Beyer et al., Knowledge distillation: A good teacher is patient and consistent, 2022, arXiv:2106.05237.
N pictures in a batch, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from src.batches.batch import Batch
from src.losses.bases import BASES, Base
from src.networks.checkpoint import check_facts, load_model
from src.networks.network import Network
from src.pictures.reading import LearningPictures


class Teacher(NamedTuple):
    """A trained network that learns no more."""

    network: Network
    base: Base


@dataclass(frozen=True)
class Listening:
    """A transform Batch -> Batch: `soft` becomes the mean of its own and the teachers' word on the images."""

    teachers: Sequence[Teacher]
    base: Base  # of the student
    read: int  # teachers whose mean the batch's `soft` is, from files

    @torch.no_grad()
    def __call__(self, batch: Batch, generator: np.random.Generator) -> Batch:
        words = [self.ask(teacher, batch.images) for teacher in self.teachers]
        mean = sum(words, self.read * batch.soft) / (self.read + len(words))
        return batch._replace(soft=mean)

    def ask(self, teacher: Teacher, images: Tensor) -> Tensor:
        """A teacher's probabilities (N, C), its logits read as a softmax's for a softmax student."""
        logits = teacher.network(images).float()
        return (self.base if self.base.per_sample else teacher.base).probs(logits)


def load_teachers(
    folder: Path, names: Sequence[str], pictures: LearningPictures, device: torch.device
) -> list[Teacher]:
    """The teachers of these names, on `device`; a UserError if one was trained for other pictures."""
    found = []
    for name in names:
        path = folder / f"{name}.safetensors"
        network, facts = load_model(path)
        check_facts(path, facts, pictures.train.classes, pictures.size, pictures.fit)
        found.append(Teacher(network.to(device).eval().requires_grad_(False), BASES[facts.base]))
    return found
