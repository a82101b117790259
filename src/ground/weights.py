"""Pretrained weights by name: which network each is for, the file that make weights writes, and its hash."""

import os
from pathlib import Path
from typing import NamedTuple

NO_WEIGHTS, LIBRARY_WEIGHTS = "none", "default"  # of pretrained, if it is neither a name nor a path
FOLDER = Path("data/pretrained")  # of the main checkout, also while an experiment runs in a copy


class Fetched(NamedTuple):
    """A file of weights that make weights writes."""

    arch: str
    sha256: str

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.arch.removeprefix('timm/')}.safetensors"


FETCHED = {
    "lite0": Fetched(
        "timm/tf_efficientnet_lite0", "384371dbd49f5bd24d4e89f607c22e2b1babbdb5c58d86a1cf3279ac1d490191"
    ),
    "lite1": Fetched(
        "timm/tf_efficientnet_lite1", "6858df5e753cbf1e27e2d34ce250524962d88c00ba0d3bef6ccf64092389d6f6"
    ),
    "lite2": Fetched(
        "timm/tf_efficientnet_lite2", "4b262753d3e8cb9d1c675d666d1951e1265a7c373f73389fbd13a5e7c07e7350"
    ),
}


def find_file(pretrained: str) -> Path:
    """The file that a name or a path stands for, whether it exists or not."""
    if pretrained in FETCHED:
        return Path(os.environ.get("DVC_ROOT", ".")) / FETCHED[pretrained].path
    return Path(pretrained)


def spell_missing(pretrained: str) -> str:
    """That the file of a name or a path does not exist, and what to do."""
    if pretrained in FETCHED:
        return f"{pretrained}: {FETCHED[pretrained].path}: no such file (make weights)"
    return f"{pretrained}: no such file (set {', '.join((NO_WEIGHTS, LIBRARY_WEIGHTS, *FETCHED))} or a path)"
