"""The teachers' word on every training picture, beside its label. N pictures, C classes."""

from collections.abc import Iterator, Sequence

import numpy as np

from src.ground.chunks import list_chunks
from src.teaching.knowledge import Knowledge, average_teachers
from src.teaching.knowledge_array import ArrayKnowledge
from src.teaching.labels import Targets

AnyKnowledge = Knowledge | ArrayKnowledge


class Word:
    """Behaves like targets, float32 (N, C): the mean of the teachers on one view, computed on access."""

    def __init__(self, knowledge: Sequence[AnyKnowledge], base: str, view: int, shape: tuple[int, int]):
        self.knowledge, self.base, self.view, self.shape = knowledge, base, view, shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray | list[int]) -> np.ndarray:
        taken = [Knowledge(one.base, one.take(self.view % one.views, rows)) for one in self.knowledge]
        return average_teachers(taken, self.base).astype(np.float32)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[row : row + 1][0] for row in range(len(self)))


def build_soft(knowledge: Sequence[AnyKnowledge], base: str) -> list[Targets]:
    """The word (N, C) of at least one teacher on each view, for a student of `base`.

    What is read from text is averaged at once; arrays stay in their files.
    """
    shape = knowledge[0].shape
    words = [Word(knowledge, base, view, shape) for view in range(max(one.views for one in knowledge))]
    if any(isinstance(one, ArrayKnowledge) for one in knowledge):
        return list(words)
    soft = np.empty(shape, np.float32)
    for rows in list_chunks(*shape):
        soft[rows] = words[0][rows]
    return [soft]
