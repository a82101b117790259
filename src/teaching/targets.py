"""The teachers' word on every training picture, beside its label. N pictures, C classes."""

from collections.abc import Sequence

import numpy as np

from src.ground.chunks import list_chunks
from src.teaching.knowledge import Knowledge, average_teachers


def build_soft(knowledge: Sequence[Knowledge], base: str) -> np.ndarray:
    """The mean (N, C) float32 of at least one teacher's probabilities, for a student of `base`."""
    count, width = knowledge[0].probs.shape
    soft = np.empty((count, width), np.float32)
    for rows in list_chunks(count, width):
        soft[rows] = average_teachers([Knowledge(one.base, one.probs[rows]) for one in knowledge], base)
    return soft
