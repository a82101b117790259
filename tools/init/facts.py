"""What make init knows before it chooses: of the pictures, of what they cost here, and the plan of a run."""

from collections.abc import Mapping
from dataclasses import dataclass

from tools.init.recipes import DIGIT, Candidate, Recipe

BySide = Mapping[int, float]  # pixels of a square's side -> seconds a picture


@dataclass(frozen=True)
class Facts:
    """The pictures as they were found; none of them was fully checked."""

    root: str  # absolute, or data/demo
    place: Mapping[str, str]  # the keys of data that say where the parts are -> their values
    divided: bool  # whether splits share a folder, so that the numbers below are what is to be expected
    train: Mapping[str, int]  # files by class, sorted
    val: int  # files
    test: int
    width: int  # median, in pixels
    height: int
    short: int  # median of the shorter side
    long: float  # share of pictures whose longer side is over LONG times the shorter
    square: bool  # whether nearly all are
    colour: bool  # whether any that were looked at have colours
    deep: bool  # whether any is 16-bit grey
    copies: int  # files that are byte for byte another one

    @property
    def pictures(self) -> int:
        """Those to train on."""
        return sum(self.train.values())

    @property
    def uneven(self) -> float:
        """Times that the largest class is as large as the smallest."""
        return max(self.train.values()) / max(1, min(self.train.values()))

    @property
    def digits(self) -> bool:
        """Whether they are small and grey."""
        return not self.colour and self.short <= DIGIT


@dataclass(frozen=True)
class Costs:
    """What was measured here, in seconds of wall-clock time."""

    start: float  # of a training's process until its imports are done
    check: float  # a picture, on one core
    cores: int
    step: Mapping[str, BySide]  # network -> of training, a picture
    forward: Mapping[str, BySide]  # network -> of measuring, a picture
    augment: Mapping[str, BySide]  # policy and basis -> a picture


@dataclass(frozen=True)
class Training:
    """How one network will be trained."""

    network: Candidate
    pretrained: str  # the value of `pretrained`: none, or where its weights are
    recipe: Recipe
    epochs: int
    warmup: int
    batch: int


@dataclass(frozen=True)
class Plan:
    """All that a run's duration depends on."""

    side: int  # pixels, of the input
    teacher: Training
    taught: bool  # whether the teacher is trained
    student: Training
    workers: int
