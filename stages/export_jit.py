"""Write the student as TorchScript; it ships only if the demo agrees with the model on real test pictures.

params  export, data.root, threads, cpu_isa
reads   data/models/student.safetensors
        data/manifest/classes.json
        data/manifest/test.csv
        data/packed/test.npy
        ${data.root}/test               the picture files themselves
        demos/classifier.py             reads the file and the pictures in a process of its own
writes  data/export                     student.pt
        metrics/export.json
run     python -m stages.export_jit
"""

from pathlib import Path

import numpy as np

from src.ground.errors import UserError, run
from src.ground.files import write_json
from src.ground.params import read
from src.losses.bases import BASES
from src.machine.runtime import start
from src.networks.checkpoint import load_model
from src.networks.predict import predict_probs
from src.pictures.manifest import read_manifest
from src.pictures.reading import read_pictures
from src.results.export import ExportSettings, run_demo, spread, write_torchscript

STUDENT = Path("data/models/student.safetensors")
DEMO = Path("demos/classifier.py")
EXPORT = Path("data/export/student.pt")
METRICS = Path("metrics/export.json")


def main() -> None:
    settings = read(ExportSettings, "export")
    device = start("cpu", read(int, "threads"), read(str, "cpu_isa"), seed=0, processes=1)
    model, facts = load_model(STUDENT)
    write_torchscript(EXPORT, model, BASES[facts.base], facts)

    test = read_manifest("test")
    rows = spread(len(test.paths), settings.pictures)
    pictures = read_pictures("test", dct_scaling=False)[rows]  # decoded in full, as the demo does
    measured = predict_probs(model, pictures, BASES[facts.base], settings.pictures, device)
    files = [Path(read(str, "data.root")) / test.paths[row] for row in rows]
    shipped = run_demo(DEMO, EXPORT, files, facts.classes)
    difference = float(np.abs(measured - shipped).max())
    if not difference <= settings.tolerance:
        EXPORT.unlink()
        worst = files[int(np.abs(measured - shipped).max(axis=1).argmax())]
        raise UserError(
            f"{EXPORT}: differs from the model by {difference:.3g} on {worst}, export.tolerance is "
            f"{settings.tolerance:g} (refused; if the pictures changed: dvc repro)"
        )
    write_json(METRICS, {"export": {"max_difference": float(f"{difference:.3g}")}})
    print(f"{EXPORT}: {len(rows)} test pictures, largest difference of a probability {difference:.3g}")


if __name__ == "__main__":
    run(main)
