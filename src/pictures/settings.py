"""Settings of the pictures: which are accepted, and how they are stored."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from src.ground.kinds import Count, Factor, Pixels, Rule, Seed, within
from src.ground.params import Settings
from src.pictures.fitting import FITS
from src.pictures.grey import GreySetting

FOLDER = Rule(minLength=1, rule="must be the folder that contains train, val and test")
PART = Rule(minLength=1, rule="must be a folder relative to data.root")
UNLABELLED = Rule(uniqueItems=True, rule="must be a list of distinct folders in data.root, or []")
FolderName = Annotated[
    str,
    Rule(  # of a stage too, so that DVC can watch it
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,99}$(?!\n)",
        rule="must be the name of a folder in data.root: letters, digits, _ or -",
    ),
]
OWN_SHARE = within("(0, 1)")
Part = Annotated[str, PART]
NearDistance = Annotated[
    Literal["none"] | Annotated[int, within("[0, 8]")],
    Rule(rule="must be none or a whole number in [0, 8]"),
]


@dataclass(frozen=True)
class SplitSettings(Settings):
    """How splits that share a folder, or have none of their own, are divided."""

    val: Annotated[float, OWN_SHARE]  # share of the pictures, if val shares a folder
    test: Annotated[float, OWN_SHARE]  # share of the pictures, if test shares a folder
    group: Annotated[str, Rule(minLength=1)]  # none, subfolder or a regular expression on the path
    seed: Seed  # another one draws other pictures


@dataclass(frozen=True)
class DataSettings(Settings):
    """Where the pictures are, how they are split, and which of them are accepted."""

    root: Annotated[str, FOLDER]  # the folder of all pictures
    train: Part  # its folder for training; . is the root itself
    val: Part  # its folder for validation; the same as train's: split off
    test: Part  # its folder for the test; the same as train's: split off
    list: Annotated[str, Rule(minLength=1)]  # none, or a CSV in the root: path,label[,split]
    unlabelled: Annotated[tuple[FolderName, ...], UNLABELLED]  # folders in the root without labels
    split: SplitSettings
    near_distance: NearDistance  # bits of 64 that near duplicates' hashes may differ in; or none
    on_bad: Literal["stop", "skip"]  # whether a bad picture stops the stage or is left out
    min_side: Count  # pixels; smaller pictures are refused
    max_pixels: Count  # height x width; larger pictures are refused without decoding

    @property
    def distance(self) -> int | None:
        """near_distance as a number, however it is written; None if no near duplicates are looked for."""
        return None if self.near_distance == "none" else int(self.near_distance)

    def parts(self) -> dict[str, str]:
        """The folder of each split, relative to the root."""
        return {"train": self.train, "val": self.val, "test": self.test}


@dataclass(frozen=True)
class ImageSettings(Settings):
    """The input size of every network, and how pictures are stored."""

    height: Pixels  # of every network's input, in pixels
    width: Pixels  # of every network's input, in pixels
    fit: Annotated[str, Rule(enum=list(FITS))]  # how a picture of another shape fills the input
    pack: Literal["auto", True, False]  # whether fitted pictures are stored, one file per split
    pack_limit: Factor  # GiB; auto packs if all packs together take at most this
    shard: Annotated[float, within("(0, 1000000]")]  # GiB; a larger pack becomes files of this size
    pack_margin: Annotated[float, within("[0, 4]")]  # share by which train is packed larger, to crop from
    dct_scaling: bool  # if not packed: decode large JPEGs at 1/2, 1/4 or 1/8 of their size
    grey_range: GreySetting  # values of 16-bit grey that become 0 to 255: file, set or [lowest, highest]

    def size(self, split: str) -> tuple[int, int]:
        """Height and width of the pictures in a split's pack."""
        scale = 1 + self.pack_margin if split == "train" else 1
        return round(scale * self.height), round(scale * self.width)

    def packs(self, counts: Mapping[str, int]) -> bool:
        """Whether splits with these numbers of pictures are packed; prints what auto decided."""
        if self.pack != "auto":
            return bool(self.pack)
        gigabytes = sum(count * 3 * math.prod(self.size(split)) for split, count in counts.items()) / 2**30
        packed = gigabytes <= self.pack_limit
        verb = "are packed" if packed else "are read from their files each time"
        print(f"images.pack: auto: the pictures {verb} ({gigabytes:.2g} of at most {self.pack_limit:g} GiB)")
        return packed
