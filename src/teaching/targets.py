"""What a student learns from: soft targets (N, C) from labels and teachers.

N pictures, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from src.ground.chunks import list_chunks
from src.ground.kinds import Share, within
from src.ground.params import Settings
from src.teaching.knowledge import Knowledge, average_teachers
from src.teaching.labels import Targets


@dataclass(frozen=True)
class DistillSettings(Settings):
    """How much the teachers' probabilities count."""

    share: Share  # of the teachers in the target; the label has the rest; 0 = no distillation
    temperature: Annotated[float, within("[0.01, 1000]")]  # above 1 softens the teachers' probabilities


def mix_targets(
    truth: Targets, knowledge: Sequence[Knowledge], base: str, settings: DistillSettings
) -> Targets:
    """Targets (N, C) float32: (1 - share) * truth + share * teachers' mean; `truth` if no teacher."""
    if settings.share == 0:
        return truth
    if not knowledge:
        print("no teacher: the student learns from the labels only, distill.share has no effect")
        return truth
    targets = np.empty(truth.shape, np.float32)
    for rows in list_chunks(*truth.shape):
        some = [Knowledge(one.base, one.probs[rows]) for one in knowledge]
        teachers = average_teachers(some, base, settings.temperature)
        targets[rows] = (1 - settings.share) * truth[rows] + settings.share * teachers
    return targets
