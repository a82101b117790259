"""The gate that every file must pass: a fresh process classifies picture files with it, as its users will.

N pictures, C classes.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from src.export.deployed import Product
from src.export.formats import FORMATS, Format, find_writer
from src.export.settings import ExportSettings
from src.ground.errors import UserError

CLASSIFIER = Path("demos/classifier.py")
AT_ONCE = 16  # pictures of a batch


@dataclass(frozen=True)
class Truth:
    """What a file is compared with."""

    files: Sequence[Path]  # (N,) of the pictures
    probs: np.ndarray  # (N, C), the model's
    labels: np.ndarray  # (N,)
    classes: tuple[str, ...]  # (C,)

    def find_accuracy(self, probs: np.ndarray) -> float:
        """In [0, 1]."""
        return float(np.mean(probs.argmax(axis=1) == self.labels))


@dataclass(frozen=True)
class Verdict:
    """How well a file agrees with the model."""

    difference: float  # the largest one of a probability
    accuracy: float  # of the file, in [0, 1]
    probs: np.ndarray  # (N, C), the file's


def ship(folder: Path, product: Product, truth: Truth, settings: ExportSettings) -> dict[str, Verdict]:
    """Write the formats that are asked for and judge each, while the next one is written.

    If several must not ship, the UserError is that of the first.
    """
    forms = {name: (FORMATS[name], find_writer(name)) for name in settings.formats}
    with ThreadPoolExecutor(max_workers=1) as process:
        judged = {}
        for name, (form, write) in forms.items():
            write(folder / form.file, product)
            judged[name] = process.submit(judge, folder / form.file, form, truth, settings)
        return {name: verdict.result() for name, verdict in judged.items()}


def judge(path: Path, form: Format, truth: Truth, settings: ExportSettings) -> Verdict:
    """Classify the pictures with the file; a UserError, and no file any more, if it must not ship."""
    try:
        probs = run_classifier(path, truth.files, truth.classes)
        difference, worst = compare(probs, truth.probs)
        accuracy, wanted = truth.find_accuracy(probs), truth.find_accuracy(truth.probs)
        if form.exact and not difference <= settings.tolerance:
            raise UserError(
                f"{path}: differs from the model by {difference:.3g} on {truth.files[worst]}, "
                f"export.tolerance is {settings.tolerance:g} (file removed; if the pictures changed, run dvc "
                "repro)"
            )
        other = find_other_class(probs, truth.probs, settings.tolerance) if form.exact else None
        if other is not None:
            raise UserError(
                f"{path}: says another class than the model of {truth.files[other]} (file removed)"
            )
        if not form.exact and not wanted - accuracy <= settings.int8_max_drop:
            raise UserError(
                f"{path}: accuracy {accuracy:.4f} on test, the model has {wanted:.4f}, "
                f"export.int8_max_drop is {settings.int8_max_drop:g} (file removed; leave its format out, or "
                "allow more)"
            )
    except UserError:
        for name in form.list_files():
            path.with_name(name).unlink(missing_ok=True)
        raise
    return Verdict(difference, accuracy, probs)


def run_classifier(network: Path, pictures: Sequence[Path], classes: tuple[str, ...]) -> np.ndarray:
    """Probabilities (N, C) of picture files (N,), computed by the classifier demo in its own process.

    The paths, too many for a command line, are on its standard input, ended by NUL.
    """
    with TemporaryFile() as paths, TemporaryFile() as errors:
        paths.write(b"".join(os.fsencode(path) + b"\0" for path in pictures))
        paths.seek(0)
        command = [sys.executable, str(CLASSIFIER), "--all", "--batch", str(AT_ONCE), str(network), "-"]
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


def compare(shipped: np.ndarray, measured: np.ndarray) -> tuple[float, int]:
    """The largest difference of a probability (N, C) and the row it is in; NaN counts as the largest."""
    differences = np.abs(measured - shipped).max(axis=1)
    worst = int(np.isnan(differences).argmax() if np.isnan(differences).any() else differences.argmax())
    return float(differences[worst]), worst


def find_other_class(shipped: np.ndarray, measured: np.ndarray, tolerance: float) -> int | None:
    """A row (N, C) whose most probable class is another, if the two are further apart than rounding."""
    chosen = shipped.argmax(axis=1)
    behind = measured.max(axis=1) - measured[np.arange(len(measured)), chosen]
    return int(behind.argmax()) if len(behind) and behind.max() > 2 * tolerance else None


def pick_rows(count: int, wanted: int) -> np.ndarray:
    """`wanted` row indices, or all if there are fewer, spread evenly over `count` rows and so all classes."""
    return np.unique(np.linspace(0, count - 1, min(wanted, count)).round().astype(int))
