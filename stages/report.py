"""Write the page of results: what the student gets wrong, why, and how sure it is.

params  report, data.root, data.max_pixels, images.fit, images.dct_scaling, knowledge.teachers, threads,
        cpu_isa
reads   params.yaml                      is shown
        metrics/data.json
        metrics/export.json
        metrics/student.json
        metrics/test.json
        plots/student.csv
        data/bad_images.csv
        data/calibration.json
        data/classes.csv
        data/counts.csv
        data/export
        data/manifest/classes.json
        data/manifest/grey_range.json
        data/manifest/test.csv
        data/manifest/train.csv
        data/manifest/val.csv
        data/models/student.safetensors
        data/models/teachers             NAME.safetensors
        data/packed/test.npy
        data/packed/train.npy
        data/packed/val.npy
        data/predictions.csv
        data/suspects.csv
        data/teacher_predictions         NAME.csv
        ${data.root}/${data.test}        the picture files
        ${data.root}/${data.train}
        ${data.root}/${data.val}
writes  plots/report.html
beside  plots/teacher                    read as well; the teachers' weights stand for these curves
        plots/latency.js                 written as well; in no hash, since it is of this machine
run     python -m stages.report
"""

from pathlib import Path

from src.ground.errors import run
from src.ground.files import open_atomically
from src.ground.params import read
from src.machine.runtime import MachineSettings, start_machine
from src.pictures.grey import read_grey_range
from src.report.gathering import Files, gather
from src.report.page import render
from src.report.settings import ReportSettings
from src.report.speed import tell_latency
from src.report.thumbnails import MOST_BYTES, Thumbnails

FILES = Files(
    student=Path("data/models/student.safetensors"),
    teachers=Path("data/models/teachers"),
    predictions=Path("data/predictions.csv"),
    teacher_predictions=Path("data/teacher_predictions"),
    classes=Path("data/classes.csv"),
    calibration=Path("data/calibration.json"),
    suspects=Path("data/suspects.csv"),
    counts=Path("data/counts.csv"),
    refused=Path("data/bad_images.csv"),
    export=Path("data/export"),
    metrics=Path("metrics"),
    curve=Path("plots/student.csv"),
    teacher_curves=Path("plots/teacher"),
)
PAGE = Path("plots/report.html")
LATENCY = Path("plots/latency.js")  # of this machine: no out, so that it is in no hash


def main() -> None:
    settings, root = read(ReportSettings, "report"), Path(read(str, "data.root"))
    fit, dct_scaling = read(str, "images.fit"), read(bool, "images.dct_scaling")
    teachers, max_pixels = read(tuple[str, ...], "knowledge.teachers"), read(int, "data.max_pixels")
    threads, cpu_isa = read(int, "threads"), read(str, "cpu_isa")
    start_machine(
        MachineSettings(threads=threads, cpu_isa=cpu_isa, device="cpu", tf32=False, processes=1), seed=0
    )
    thumbnails = Thumbnails(root, max_pixels, read_grey_range(), settings.thumbnail, MOST_BYTES)
    page = render(gather(FILES, teachers, settings, thumbnails, fit, dct_scaling))
    latency = tell_latency(FILES.student, FILES.export)
    with open_atomically(PAGE) as file:
        file.write(page)
        if latency:
            with open_atomically(LATENCY) as script:  # if this fails, the page stays as well
                script.write(latency)
    print(f"{PAGE}: {PAGE.stat().st_size / 1e6:.1f} MB, {len(thumbnails.sources)} pictures")


if __name__ == "__main__":
    run(main, arguments=[])
