"""In which formats the student ships, and how well a file must agree with it."""

from dataclasses import dataclass
from typing import Annotated, Literal

from src.ground.kinds import Count, Rule, Share
from src.ground.params import Settings

FormatName = Literal["torchscript", "torch_export", "onnx", "openvino", "openvino_int8", "web"]
NAMES = Rule(minItems=1, uniqueItems=True, rule="must be a list of formats, each once")


@dataclass(frozen=True)
class ExportSettings(Settings):
    """What is exported, and the comparison that a file must pass to ship."""

    formats: Annotated[tuple[FormatName, ...], NAMES]
    calibrate: bool  # whether the probabilities are at the temperature fitted on val
    tolerance: Share  # largest difference of a probability between a file and the model
    int8_max_drop: Share  # of the accuracy on test by openvino_int8, which has no tolerance
    pictures: Annotated[Literal["all"] | Count, Rule(rule="must be all or a whole number, at least 1")]


@dataclass(frozen=True)
class PictureRule:
    """Which picture files were accepted, and how they were read; the classifier demo does the same."""

    formats: tuple[str, ...]  # Pillow's names
    min_side: int  # pixels
    max_pixels: int  # height x width
    grey_range: str | tuple[int, int]  # values of 16-bit grey that become 0 to 255; file: all
