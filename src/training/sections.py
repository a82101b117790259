"""The sections of params.yaml that are put together from several files' settings."""

from dataclasses import dataclass

from src.batches.augment import AugmentSettings
from src.losses.weightings import WeightingSettings
from src.training.settings import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class TeacherSettings(TrainingSettings):
    """A teacher has its own loss and seed, so that the student's strategies do not retrain it."""

    loss: str  # a recipe
    seed: int
    augment: AugmentSettings
    weighting: WeightingSettings


@dataclass(frozen=True, kw_only=True)
class StudentSettings(TrainingSettings):
    """The student's loss, seed, augment and weighting stand at the top level."""

    curriculum: bool  # whether data/curriculum.txt weighs the pictures
    fraction: float  # share of each class's training pictures that the student sees, in (0, 1]
