"""All settings of a training, composed of the settings of its parts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from src.batches.augment import AugmentSettings
from src.ground.kinds import Count, CountOrZero, Factor, Seed, Share, within
from src.ground.params import Settings, read
from src.losses.loss import LossSettings, Recipe, split_recipe
from src.losses.weightings import WeightingSettings
from src.networks.initial import NetworkSettings
from src.teaching.labels import LabelSettings
from src.training.averaging import AveragingSettings
from src.training.optim import OptimSettings
from src.training.schedules import ScheduleSettings
from src.training.validation import Select


@dataclass(frozen=True, kw_only=True)
class StepSettings(Settings):
    """What a training step does besides forward and backward."""

    batch_size: Annotated[int, within("[2, inf)")]  # pictures per batch, summed over all processes
    accumulate: Count  # batches whose gradients are accumulated into one step; GHM and OHM see each alone
    clip: Factor  # largest norm of the gradient; 0 = off
    precision: Literal["float32", "bfloat16", "float16"]  # of the forward pass; on a CPU not float16
    sync_batchnorm: bool  # BatchNorm over the pictures of all processes; on GPUs only
    slim: Share  # factor of the L1 penalty on BatchNorm's scales; 0 = off


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(
    NetworkSettings,
    StepSettings,
    OptimSettings,
    ScheduleSettings,
    AveragingSettings,
    LabelSettings,
    LossSettings,
):
    """The settings that the trainings of teachers and students share."""

    patience: CountOrZero  # after so many epochs without a better one, as many more are the last; 0 = off
    select: Select  # what the best epoch on val is chosen by; the other one decides ties


@dataclass(frozen=True, kw_only=True)
class StrategySettings(Settings):
    """What students are compared by; the student's own are at the top level of params.yaml."""

    loss: Recipe  # softmax or bce (the default), and any of weighted, threshold, ghm, ohm, joined by +
    seed: Seed  # of the initial weights, the order of the pictures and their augmentation
    augment: AugmentSettings
    weighting: WeightingSettings

    @property
    def base(self) -> str:
        """softmax or bce."""
        return split_recipe(self.loss)[0]


@dataclass(frozen=True, kw_only=True)
class TeacherSettings(TrainingSettings, StrategySettings):
    """A teacher's training; it has its own strategy, so that the student's strategies do not retrain it."""


def read_teachers(names: Sequence[str]) -> dict[str, TeacherSettings]:
    """The settings of these teachers, by name."""
    return {name: read(TeacherSettings, f"teacher.{name}", over="teacher_common") for name in names}


@dataclass(frozen=True, kw_only=True)
class StudentSettings(TrainingSettings):
    """The student's training."""

    curriculum: bool  # whether the pictures are weighted by data/curriculum.txt
    fraction: Annotated[float, within("(0, 1]")]  # of each class's training pictures; teachers use all
