"""Write the student as TorchScript; it ships only if the classifier demo agrees with it on test pictures.

params  export, data.root, threads, cpu_isa
reads   data/models/student.safetensors
        data/manifest/classes.json
        data/manifest/test.csv
        data/packed/test.npy
        ${data.root}/test               the picture files
        demos/classifier.py             runs the exported file on them in its own process
writes  data/export                     a file per format: student.pt
        metrics/export.json
run     python -m stages.export_jit
"""

from pathlib import Path

from src.ground.errors import run
from src.ground.files import write_json
from src.ground.params import read
from src.losses.bases import BASES
from src.machine.runtime import MachineSettings, start
from src.networks.checkpoint import load_model
from src.networks.predict import predict_probs
from src.pictures.manifest import read_manifest
from src.pictures.reading import read_pictures
from src.results.export import FORMATS, ExportSettings, check_parity, pick_rows

STUDENT = Path("data/models/student.safetensors")
EXPORT = Path("data/export")
METRICS = Path("metrics/export.json")


def main() -> None:
    settings, root = read(ExportSettings, "export"), Path(read(str, "data.root"))
    threads, cpu_isa = read(int, "threads"), read(str, "cpu_isa")
    device = start(MachineSettings(threads=threads, cpu_isa=cpu_isa, device="cpu", processes=1), seed=0)
    model, facts = load_model(STUDENT)
    base, test = BASES[facts.base], read_manifest("test")
    rows = pick_rows(len(test.paths), settings.pictures)
    pictures = read_pictures("test", dct_scaling=False)[rows]  # decoded in full, as demos/classifier.py does
    measured = predict_probs(model, pictures, base, settings.pictures, device)
    files, differences = [root / test.paths[row] for row in rows], []
    for form in FORMATS.values():
        path = EXPORT / form.file
        form.write(path, model, base, facts)
        shipped = form.run(path, files, facts.classes)
        differences.append(check_parity(path, shipped, measured, files, settings.tolerance))
        print(f"{path}: {len(rows)} test pictures, largest probability difference {differences[-1]:.3g}")
    write_json(METRICS, {"export": {"max_difference": float(f"{max(differences):.3g}")}})


if __name__ == "__main__":
    run(main)
