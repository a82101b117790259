"""Write the student in the formats asked for; each ships only if a fresh process agrees with it on test.

params  export, data.root, data.min_side, data.max_pixels, images.fit, threads, cpu_isa
reads   data/models/student.safetensors
        data/calibration.json           its temperature, and the confidence below which it is unsure
        data/manifest/classes.json
        data/manifest/grey_range.json
        data/manifest/test.csv
        data/packed/test.npy
        data/manifest/train.csv
        data/packed/train.npy           pictures on which 8 bits are calibrated
        data/manifest/val.csv
        data/packed/val.npy             pictures on which they are checked
        metrics/test.json               figures of the model card
        ${data.root}/${data.test}       the picture files
        demos/classifier.py             runs each exported file on them in its own process
writes  data/export                     the files of each format, golden.npz, manifest.json, README.md
        metrics/export.json
run     python -m stages.export_jit
"""

from functools import partial
from pathlib import Path

import numpy as np
import torch

from src.export.deployed import Product, Seen
from src.export.formats import FORMATS
from src.export.gate import Truth, pick_rows, ship
from src.export.papers import write_card, write_golden, write_manifest
from src.export.settings import ExportSettings, PictureRule
from src.ground.errors import UserError, run
from src.ground.files import sha256, write_json
from src.ground.params import read
from src.losses.bases import BASES
from src.machine.runtime import MachineSettings, start_machine
from src.networks.checkpoint import Facts, check_facts, load_model
from src.networks.predict import choose_batch_size, predict_logits
from src.pictures.decode import FORMATS as PICTURE_FORMATS
from src.pictures.grey import read_grey_range
from src.pictures.manifest import Manifest, read_manifest
from src.pictures.reading import Pictures, check_count, read_pictures, resize_pictures
from src.results.calibration import read_calibration
from src.results.figures import read_figures

STUDENT = Path("data/models/student.safetensors")
CALIBRATION = Path("data/calibration.json")
EXPORT = Path("data/export")
TEST = Path("metrics/test.json")
METRICS = Path("metrics/export.json")
CALIBRATED_ON, CHECKED_ON = 300, 2000  # pictures of train and of val at most, for 8 bits


def main() -> None:
    settings = read(ExportSettings, "export")
    threads, cpu_isa = read(int, "threads"), read(str, "cpu_isa")
    device = start_machine(
        MachineSettings(threads=threads, cpu_isa=cpu_isa, device="cpu", tf32=False, processes=1), seed=0
    )
    model, facts = load_model(STUDENT)
    test, fit = read_manifest("test"), read(str, "images.fit")
    pictures = read_pictures("test", fit, dct_scaling=False)  # decoded in full, as demos/classifier.py does
    check_count(pictures, test, "test")
    check_facts(STUDENT, facts, test.classes, pictures.shape[1:3], fit)
    sizes = read(int, "data.min_side"), read(int, "data.max_pixels")
    product = Product(
        model=model,
        base=BASES[facts.base],
        facts=facts,
        rule=PictureRule(PICTURE_FORMATS, *sizes, read_grey_range() or "file"),
        calibration=read_calibration(CALIBRATION),
        student=sha256(STUDENT),
        seen=partial(pick_seen, facts, settings.int8_max_drop / 2),  # on test it may be more
    )
    truth = find_truth(product, test, pictures, settings.pictures, device)
    figures = read_figures(TEST, len(facts.classes))  # before anything is written
    verdicts = ship(EXPORT, product, truth, settings)
    for name, verdict in verdicts.items():
        print(
            f"{EXPORT / FORMATS[name].file}: {len(truth.files)} test pictures, largest probability "
            f"difference {verdict.difference:.3g}, accuracy {verdict.accuracy:.4f}"
        )
    write_golden(EXPORT, truth, verdicts, settings, product.student)
    write_card(EXPORT, product, figures, settings.formats)
    write_manifest(EXPORT, settings.formats, product.student)
    accuracies = {name: {"accuracy": round(verdict.accuracy, 9)} for name, verdict in verdicts.items()}
    write_json(METRICS, {"export": accuracies})


def find_truth(
    product: Product, test: Manifest, pictures: Pictures, wanted: int | str, device: torch.device
) -> Truth:
    """The picture files of test, or of as many as are wanted, and what the model says of them."""
    root, count = Path(read(str, "data.root")), len(test.paths)
    rows = pick_rows(count, count if wanted == "all" else int(wanted))
    files = [root / test.paths[row] for row in rows]
    for file in files:
        if not file.is_file():
            raise UserError(f"{file}: a picture of test is gone (restore it, or dvc repro)")
    size = choose_batch_size("auto", *pictures.shape[1:3])
    batches = np.split(rows, range(size, len(rows), size))
    logits = [predict_logits(product.model, pictures[some], size, device) for some in batches]
    probs = product.base.probs(torch.cat(logits).double() / product.calibration.temperature).numpy()
    return Truth(files, probs, test.labels[rows], test.classes)


def pick_seen(facts: Facts, max_drop: float) -> Seen:
    """Pictures of train and val as the network sees them."""
    size, labels = (facts.height, facts.width), read_manifest("val").labels
    train, val = (read_pictures(split, facts.fit, dct_scaling=False) for split in ("train", "val"))
    some, rows = pick_rows(len(train), CALIBRATED_ON), pick_rows(len(val), CHECKED_ON)
    return Seen(
        resize_pictures(train, *size)[some], resize_pictures(val, *size)[rows], labels[rows], max_drop
    )


if __name__ == "__main__":
    run(main, arguments=[])
