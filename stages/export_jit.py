"""Write the student as TorchScript; it ships only if the classifier demo agrees with it on test pictures.

params  export, data.root, data.min_side, data.max_pixels, images.fit, threads, cpu_isa
reads   data/models/student.safetensors
        data/calibration.json           its temperature, and the confidence below which it is unsure
        data/manifest/classes.json
        data/manifest/grey_range.json
        data/manifest/test.csv
        data/packed/test.npy
        ${data.root}/${data.test}       the picture files
        demos/classifier.py             runs the exported file on them in its own process
writes  data/export                     a file per format: student.pt
        metrics/export.json
run     python -m stages.export_jit
"""

from pathlib import Path

import numpy as np
import torch

from src.ground.errors import UserError, run
from src.ground.files import write_json
from src.ground.params import read
from src.losses.bases import BASES
from src.machine.runtime import MachineSettings, start_machine
from src.networks.checkpoint import check_facts, load_model
from src.networks.predict import choose_batch_size, predict_logits
from src.pictures.decode import FORMATS as PICTURE_FORMATS
from src.pictures.grey import read_grey_range
from src.pictures.manifest import read_manifest
from src.pictures.reading import check_count, read_pictures
from src.results.calibration import read_calibration
from src.results.export import FORMATS, ExportSettings, PictureRule, compare, pick_rows

STUDENT = Path("data/models/student.safetensors")
CALIBRATION = Path("data/calibration.json")
EXPORT = Path("data/export")
METRICS = Path("metrics/export.json")


def main() -> None:
    settings, root = read(ExportSettings, "export"), Path(read(str, "data.root"))
    fit = read(str, "images.fit")
    threads, cpu_isa = read(int, "threads"), read(str, "cpu_isa")
    device = start_machine(
        MachineSettings(threads=threads, cpu_isa=cpu_isa, device="cpu", tf32=False, processes=1), seed=0
    )
    model, facts = load_model(STUDENT)
    sizes = read(int, "data.min_side"), read(int, "data.max_pixels")
    rule = PictureRule(PICTURE_FORMATS, *sizes, read_grey_range() or "file")
    base, test = BASES[facts.base], read_manifest("test")
    rows = pick_rows(len(test.paths), settings.pictures)
    pictures = read_pictures("test", fit, dct_scaling=False)  # decoded in full, as demos/classifier.py does
    check_count(pictures, test, "test")
    check_facts(STUDENT, facts, test.classes, pictures.shape[1:3], fit)
    calibration = read_calibration(CALIBRATION)
    size = choose_batch_size("auto", *pictures.shape[1:3])
    batches = np.split(rows, range(size, len(rows), size))
    logits = torch.cat([predict_logits(model, pictures[some], size, device) for some in batches]).double()
    measured = base.probs(logits / calibration.temperature).numpy()
    files, differences = [root / test.paths[row] for row in rows], []
    for form in FORMATS.values():
        path = EXPORT / form.file
        form.write(path, model, base, facts, rule, calibration)
        difference, worst = compare(form.run(path, files, facts.classes), measured)
        if not difference <= settings.tolerance:
            path.unlink()
            raise UserError(
                f"{path}: differs from the model by {difference:.3g} on {files[worst]}, export.tolerance is "
                f"{settings.tolerance:g} (file removed; if the pictures changed, run dvc repro)"
            )
        differences.append(difference)
        print(f"{path}: {len(rows)} test pictures, largest probability difference {difference:.3g}")
    write_json(METRICS, {"export": {"max_difference": float(f"{max(differences):.3g}")}})


if __name__ == "__main__":
    run(main, arguments=[])
