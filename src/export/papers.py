"""What ships beside the files: golden pictures that prove a deployed copy, a manifest of hashes, a card.

N pictures, C classes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from src.export.deployed import Product
from src.export.formats import FORMATS
from src.export.gate import Truth, Verdict, pick_rows
from src.export.settings import ExportSettings
from src.ground.files import open_atomically, sha256, write_json
from src.ground.weights import NO_WEIGHTS
from src.pictures.fitting import FITS

GOLDEN, MANIFEST, CARD = "golden.npz", "manifest.json", "README.md"
SHOWN = 8  # golden pictures
LOSSY_TOLERANCE = (
    0.05  # of a probability of 8 bits: computed in float, 1,197 digits differed by at most 0.031
)


def write_golden(
    folder: Path, truth: Truth, verdicts: Mapping[str, Verdict], settings: ExportSettings, student: str
) -> None:
    """Write a few picture files as bytes, with the probabilities that are expected of each.

    Arrays: `content` uint8, the files one after another, `ends` (n,) where each ends, `names` (n,),
    `classes` (C,), `student` the hash of the weights, `probabilities` (n, C), and for each exported file
    `tolerance_NAME`: the largest allowed difference of a probability. A file that differs from the model by
    design is expected to say what it said when it was exported: `probabilities_NAME` (n, C).
    """
    rows = pick_rows(len(truth.files), SHOWN)
    contents = [truth.files[row].read_bytes() for row in rows]
    each: dict[str, np.ndarray] = {}
    for name, verdict in verdicts.items():
        form = FORMATS[name]
        each[f"tolerance_{form.file}"] = np.array(settings.tolerance if form.exact else LOSSY_TOLERANCE)
        if not form.exact:
            each[f"probabilities_{form.file}"] = verdict.probs[rows]
    with open_atomically(folder / GOLDEN, "wb") as file:
        arrays = each | {
            "content": np.frombuffer(b"".join(contents), np.uint8),
            "ends": np.cumsum([len(content) for content in contents]),
            "names": np.array([truth.files[row].name for row in rows]),
            "classes": np.array(truth.classes),
            "student": np.array(student),
            "probabilities": truth.probs[rows],
        }
        np.savez(file, **arrays)


def write_manifest(folder: Path, formats: Sequence[str], student: str) -> None:
    """Write the SHA-256 and size of every other file of the folder, and the hash of the weights."""
    names = [name for form in formats for name in FORMATS[form].list_files()]
    files = {
        name: {"sha256": sha256(folder / name), "bytes": (folder / name).stat().st_size}
        for name in sorted([*names, GOLDEN, CARD])
    }
    write_json(folder / MANIFEST, {"student": student, "files": files})


def write_card(folder: Path, product: Product, test: Mapping[str, Any], formats: Sequence[str]) -> None:
    """Write a model card in Markdown: the facts of the files, and the figures `test` of metrics/test.json."""
    facts, calibration, sure = product.facts, product.calibration, test["calibrated"]
    parameters = sum(part.numel() for part in product.model.parameters())
    interval = f"{test['accuracy_low']:.4f} to {test['accuracy_high']:.4f}"
    figures = [
        ("accuracy", f"{test['accuracy']:.4f} (95 % interval {interval})"),
        ("macro F1", f"{test['macro_f1']:.4f}"),
        ("log loss, calibration error", f"{test['log_loss']:.4f}, {test['ece']:.4f}"),
        ("pictures of which it is sure", f"{sure['coverage']:.1%}, {sure['accuracy']:.4f} of them right"),
    ]
    licence = (
        "It started from random weights: no other licence applies than that of the pictures."
        if facts.pretrained == NO_WEIGHTS
        else f"It started from pretrained weights `{facts.pretrained}` (SHA-256 of the file or its tensors), "
        "whose licence applies too; that of weights which Dojo fetches lies beside them in data/pretrained."
    )
    lines = [
        f"# {facts.arch}: {len(facts.classes)} classes",
        "",
        f"An image classifier of {parameters:,} parameters. Input: uint8 RGB, {facts.height} x {facts.width}",
        f"pixels; a picture is fitted to it thus: {FITS[facts.fit].rule}.",
        f"Output: a probability per class ({facts.base}), at temperature {calibration.temperature:g}.",
        f"Below a confidence of {calibration.threshold:g} it is unsure.",
        "",
        "## Classes",
        "",
        ", ".join(f"`{name}`" for name in facts.classes),
        "",
        "## Figures on the test split, which no choice was made by",
        "",
        "| figure | value |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in figures),
        "",
        "## Intended use",
        "",
        "To be filled in: what it is for, on whose pictures, and what it must not be used for.",
        "",
        "## Origin",
        "",
        f"Weights `{product.student}` (SHA-256), trained on pictures with the manifests `{facts.data}`.",
        licence,
        "",
        "## Files",
        "",
        "| file | runs in |",
        "|---|---|",
        *(f"| {', '.join(FORMATS[name].list_files())} | {FORMATS[name].runs_in} |" for name in formats),
        f"| {GOLDEN} | pictures and what is expected of each: `classifier.py --check {GOLDEN} FILE` |",
        f"| {MANIFEST} | the SHA-256 of each file |",
        "",
    ]
    with open_atomically(folder / CARD) as file:
        file.write("\n".join(lines))
