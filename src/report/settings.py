"""What the report shows."""

from dataclasses import dataclass
from typing import Annotated, Literal

from src.ground.kinds import Count, CountOrZero, Pixels, Rule
from src.ground.params import Settings

Method = Literal["cam", "grad-cam", "grad-cam++"]  # the keys of results.heatmaps.METHODS
METHODS = Rule(uniqueItems=True, rule="must be a list of distinct methods: cam, grad-cam, grad-cam++; or []")


@dataclass(frozen=True)
class HeatmapSettings(Settings):
    """Heat maps of student and teachers."""

    methods: Annotated[tuple[Method, ...], METHODS]  # [] = no heat maps
    split: Literal["train", "val", "test"]  # whose pictures
    pictures: CountOrZero  # of which they are drawn
    pick: Literal[
        "wrong", "unsure", "disagree", "random"
    ]  # which; the least sure follow if these are too few


@dataclass(frozen=True)
class ReportSettings(Settings):
    """The page of results."""

    gallery: Count  # pictures in each gallery
    thumbnail: Pixels  # of a picture's longer side
    heatmaps: HeatmapSettings
