"""The network in a file that needs nothing beside it: bytes of a picture in, probabilities out.

N pictures, C classes, H height, W width in pixels.
"""

import json
import subprocess
import sys
import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO
from zipfile import ZipFile, ZipInfo

import numpy as np
import torch
from torch import Tensor, nn

from src.batches.batch import unit_range
from src.ground.errors import UserError
from src.ground.files import atomic
from src.losses.bases import Base
from src.networks.checkpoint import Facts
from src.pictures.letterbox import RULE


@dataclass(frozen=True)
class ExportSettings:
    """When an exported file may ship."""

    tolerance: float  # largest difference of a probability between the file and the model
    pictures: int  # of the test split that are compared


class Deployed(nn.Module):
    """uint8 RGB images (N, 3, H, W) -> probabilities (N, C), the normalising layer inside."""

    def __init__(self, model: nn.Module, base: Base):
        super().__init__()
        self.model, self.base = model, base

    def forward(self, images: Tensor) -> Tensor:
        return self.base.probs(self.model(unit_range(images)))


Deployed.__module__ = "src.export"  # is written into the file: where the class lies must not change its bytes


def write_torchscript(path: Path, model: nn.Module, base: Base, facts: Facts) -> None:
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
        network = traced(Deployed(model.cpu().eval(), base), facts.height, facts.width)
        buffer = BytesIO()
        torch.jit.save(network, buffer, _extra_files={"facts.json": json.dumps(about, ensure_ascii=False)})
    with atomic(path, "wb") as file:
        copy_without_origin(buffer, file)


def traced(model: Deployed, height: int, width: int) -> torch.jit.ScriptModule:
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


def spread(count: int, wanted: int) -> np.ndarray:
    """`wanted` row numbers, or all if there are fewer, evenly over `count` rows, so over all classes."""
    return np.unique(np.linspace(0, count - 1, min(wanted, count)).round().astype(int))


def run_demo(demo: Path, network: Path, pictures: list[Path], classes: tuple[str, ...]) -> np.ndarray:
    """Probabilities (N, C) that the demo's own process makes of picture files (N,) with a network's file."""
    command = [sys.executable, str(demo), "--all", str(network), *map(str, pictures)]
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    if result.returncode:
        raise UserError(f"{network}: {demo} failed on it: {' '.join(result.stderr.split())}")
    rows = [json.loads(line)["probabilities"] for line in result.stdout.splitlines()]
    return np.array([[row[name] for name in classes] for row in rows])
