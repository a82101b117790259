"""The network in a file that needs nothing beside it: bytes of a picture in, probabilities out.

N pictures, C classes, H height, W width in pixels.
"""

import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, NamedTuple
from zipfile import ZipFile, ZipInfo

import numpy as np
import torch
from torch import Tensor, nn

from src.batches.batch import scale_to_unit
from src.ground.errors import UserError
from src.ground.files import open_atomically
from src.ground.kinds import Count, Share
from src.ground.params import Settings
from src.losses.bases import Base
from src.networks.checkpoint import Facts
from src.networks.network import Network
from src.pictures.letterbox import RULE

DEMO = Path("demos/classifier.py")


@dataclass(frozen=True)
class ExportSettings(Settings):
    """When an exported file may ship."""

    tolerance: Share  # largest difference of a probability between the file and the model
    pictures: Count  # of the test split that are compared


class Deployed(nn.Module):
    """uint8 RGB images (N, 3, H, W) -> probabilities (N, C), the normalising layer inside."""

    def __init__(self, model: Network, base: Base):
        super().__init__()
        self.model = nn.Sequential(model.normalize, model.net)  # a class of ours would be named in the file
        self.base = base

    def forward(self, images: Tensor) -> Tensor:
        return self.base.probs(self.model(scale_to_unit(images)))


Deployed.__module__ = "src.export"  # is written into the file: where the class lies must not change its bytes


def write_torchscript(path: Path, model: Network, base: Base, facts: Facts) -> None:
    """Trace and freeze the model into a TorchScript file with `facts.json` beside the code.

    facts.json: classes in the order of the probabilities, height and width of the input in pixels, the
    letterbox rule, and how the probabilities were made (softmax or bce).
    """
    about = {
        "classes": facts.classes,
        "height": facts.height,
        "width": facts.width,
        "letterbox": RULE,
        "base": facts.base,
        "arch": facts.arch,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # deprecated but whole in torch 2.14
        network = trace(Deployed(model.cpu().eval(), base), facts.height, facts.width)
        buffer = BytesIO()
        torch.jit.save(network, buffer, _extra_files={"facts.json": json.dumps(about, ensure_ascii=False)})
    with open_atomically(path, "wb") as file:
        copy_without_origin(buffer, file)


def trace(model: Deployed, height: int, width: int) -> torch.jit.ScriptModule:
    """The model as TorchScript, its weights frozen into it."""
    example = torch.zeros(2, 3, height, width, dtype=torch.uint8)
    return torch.jit.freeze(torch.jit.trace(model.eval(), example))


def copy_without_origin(source: IO[bytes], target: IO[bytes]) -> None:
    """Copy a TorchScript archive but for the records that name this machine's source files.

    Otherwise the same network exported in two folders would have different bytes, and show the folder's path.
    """
    with ZipFile(source) as records, ZipFile(target, "w") as copy:
        for record in records.infolist():
            if not record.filename.endswith((".debug_pkl", ".data/serialization_id")):  # id: a hash
                copy.writestr(ZipInfo(record.filename), records.read(record))  # no date, not compressed


def pick_rows(count: int, wanted: int) -> np.ndarray:
    """`wanted` row numbers, or all if there are fewer, evenly over `count` rows, so over all classes."""
    return np.unique(np.linspace(0, count - 1, min(wanted, count)).round().astype(int))


def run_demo(network: Path, pictures: Sequence[Path], classes: tuple[str, ...]) -> np.ndarray:
    """Probabilities (N, C) that the demo's own process makes of picture files (N,) with a network's file."""
    command = [sys.executable, str(DEMO), "--all", str(network), *map(str, pictures)]
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    if result.returncode:
        raise UserError(f"{network}: {DEMO} failed on it: {' '.join(result.stderr.split())}")
    rows = [json.loads(line)["probabilities"] for line in result.stdout.splitlines()]
    return np.array([[row[name] for name in classes] for row in rows])


class Format(NamedTuple):
    """A kind of file that the student is shipped as."""

    file: str  # its name in data/export
    write: Callable[[Path, Network, Base, Facts], None]
    run: Callable[
        [Path, Sequence[Path], tuple[str, ...]], np.ndarray
    ]  # file, pictures, classes -> probs (N, C)


FORMATS = {"torchscript": Format("student.pt", write_torchscript, run_demo)}


def check_parity(
    file: Path, shipped: np.ndarray, measured: np.ndarray, pictures: Sequence[Path], most: float
) -> float:
    """The largest difference of a probability (N, C) between a file and the model that was measured.

    Above `most` the file is removed and a UserError names the worst of the picture files (N,).
    """
    differences = np.abs(measured - shipped)
    difference = float(differences.max())
    if not difference <= most:
        file.unlink()
        worst = pictures[int(differences.max(axis=1).argmax())]
        raise UserError(
            f"{file}: differs from the model by {difference:.3g} on {worst}, export.tolerance is "
            f"{most:g} (refused; if the pictures changed: dvc repro)"
        )
    return difference
