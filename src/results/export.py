"""The network as a self-contained file: uint8 images in, probabilities out.

N pictures, C classes, H height, W width in pixels.
"""

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile
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
from src.pictures.fitting import FITS
from src.results.calibration import Calibration

CLASSIFIER = Path("demos/classifier.py")


@dataclass(frozen=True)
class ExportSettings(Settings):
    """What is exported, and the comparison that a file must pass to ship."""

    calibrate: bool  # whether the probabilities are at the temperature fitted on val
    tolerance: Share  # largest difference of a probability between the file and the model
    pictures: Count  # number of test pictures that are compared


@dataclass(frozen=True)
class PictureRule:
    """Which picture files were accepted, and how they were read; the classifier demo does the same."""

    formats: tuple[str, ...]  # Pillow's names
    min_side: int  # pixels
    max_pixels: int  # height x width
    grey_range: str | tuple[int, int]  # values of 16-bit grey that become 0 to 255; file: all


class Deployed(nn.Module):
    """uint8 RGB images (N, 3, H, W) -> probabilities (N, C), with normalisation and temperature."""

    def __init__(self, model: Network, base: Base, temperature: float):
        super().__init__()
        self.model = nn.Sequential(model.normalize, model.net)  # the file would name our own class
        self.base = base
        self.temperature = temperature

    def forward(self, images: Tensor) -> Tensor:
        logits = self.model(scale_to_unit(images))
        return self.base.probs(logits if self.temperature == 1 else logits / self.temperature)


Deployed.__module__ = "src.export"  # is written into the file: moving the class must not change its bytes


def write_torchscript(
    path: Path, model: Network, base: Base, facts: Facts, rule: PictureRule, calibration: Calibration
) -> None:
    """Trace and freeze the model into a TorchScript file that also contains `facts.json`.

    facts.json: classes in the order of the probabilities, height and width of the input in pixels, how a
    picture fills it (by the name of the fit, the rule in words), the picture rule, how logits become
    probabilities (softmax or bce), the temperature that they are at, the confidence (the largest
    probability over the sum of all) below which the network is unsure, and the architecture.
    """
    about = {
        "classes": facts.classes,
        "height": facts.height,
        "width": facts.width,
        facts.fit: FITS[facts.fit].rule,
        "pictures": asdict(rule),
        "base": facts.base,
        "calibration": asdict(calibration),
        "arch": facts.arch,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # deprecated but still complete in torch 2.14
        network = trace(
            Deployed(model.cpu().eval(), base, calibration.temperature), facts.height, facts.width
        )
        buffer = BytesIO()
        torch.jit.save(network, buffer, _extra_files={"facts.json": json.dumps(about, ensure_ascii=False)})
    with open_atomically(path, "wb") as file:
        copy_without_origin(buffer, file)


def trace(model: Deployed, height: int, width: int) -> torch.jit.ScriptModule:
    """The model as TorchScript with its weights frozen."""
    example = torch.zeros(2, 3, height, width, dtype=torch.uint8)
    return torch.jit.freeze(torch.jit.trace(model.eval(), example))


def copy_without_origin(source: IO[bytes], target: IO[bytes]) -> None:
    """Copy a TorchScript archive without the records that name this machine's source files.

    Otherwise the same network exported from two folders would differ in bytes, and reveal the folder's path.
    """
    with ZipFile(source) as records, ZipFile(target, "w") as copy:
        for record in records.infolist():
            if not record.filename.endswith((".debug_pkl", ".data/serialization_id")):  # id: a hash
                copy.writestr(ZipInfo(record.filename), records.read(record))  # no date, uncompressed


def pick_rows(count: int, wanted: int) -> np.ndarray:
    """`wanted` row indices, or all if there are fewer, spread evenly over `count` rows and so all classes."""
    return np.unique(np.linspace(0, count - 1, min(wanted, count)).round().astype(int))


def run_classifier(network: Path, pictures: Sequence[Path], classes: tuple[str, ...]) -> np.ndarray:
    """Probabilities (N, C) of picture files (N,), computed by the classifier demo in its own process.

    The paths, too many for a command line, are on its standard input, ended by NUL.
    """
    with TemporaryFile() as paths, TemporaryFile() as errors:
        paths.write(b"".join(os.fsencode(path) + b"\0" for path in pictures))
        paths.seek(0)
        command = [sys.executable, str(CLASSIFIER), "--all", str(network), "-"]
        with subprocess.Popen(command, stdin=paths, stdout=subprocess.PIPE, stderr=errors) as process:
            assert process.stdout
            rows = [pick_probs(line, classes) for line in process.stdout if line.endswith(b"}\n")]
        errors.seek(0)
        if process.returncode or len(rows) != len(pictures):
            text = " ".join(errors.read().decode(errors="backslashreplace").split())
            text = text or f"{len(rows)} of {len(pictures)} answers, exit code {process.returncode}"
            raise UserError(f"{network}: {CLASSIFIER} failed: {text}")
    return np.array(rows)


def pick_probs(line: bytes, classes: tuple[str, ...]) -> np.ndarray:
    """The probabilities (C,) in a line of the demo's JSON."""
    probs = json.loads(line)["probabilities"]
    return np.array([probs[name] for name in classes])


class Format(NamedTuple):
    """A file format in which the student is shipped."""

    file: str  # name in data/export
    write: Callable[[Path, Network, Base, Facts, PictureRule, Calibration], None]
    run: Callable[[Path, Sequence[Path], tuple[str, ...]], np.ndarray]  # file, pictures, classes -> (N, C)


FORMATS = {"torchscript": Format("student.pt", write_torchscript, run_classifier)}


def compare(shipped: np.ndarray, measured: np.ndarray) -> tuple[float, int]:
    """The largest difference of a probability (N, C) and the row it is in; NaN counts as the largest."""
    differences = np.abs(measured - shipped).max(axis=1)
    worst = int(np.isnan(differences).argmax() if np.isnan(differences).any() else differences.argmax())
    return float(differences[worst]), worst
