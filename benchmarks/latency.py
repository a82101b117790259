"""Milliseconds per picture of each exported format on this CPU, and how much faster than eager it is.

From uint8 pictures in memory to probabilities. Every format, with 1 and 32 pictures at once, on 1 thread and
on 2, has its turn in every round: as many calls as take a fifth of a second. The limits that `cpu_isa` sets
to trainings do not hold here, as they do not where the files are used.

N pictures, C classes, H height, W width in pixels.

reads   data/models/student.safetensors, data/calibration.json, data/export    if no network is named
run     python -m benchmarks.latency                       the exported student, in the formats that it has
        python -m benchmarks.latency ARCH ... --side 224   networks of random weights, in all formats
"""

import os

from src.machine.isa import CPU_ISA, SAME

if __name__ == "__main__":
    for variable in CPU_ISA[SAME]:  # torch reads them when it is imported
        os.environ.pop(variable, None)

import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import openvino
import torch

from benchmarks.models import describe_machine
from benchmarks.timing import time_in_turns
from src.export.deployed import Deployed, Product, Seen
from src.export.formats import FORMATS, find_writer
from src.export.settings import PictureRule
from src.ground.errors import Parser, UserError, run
from src.ground.names import is_known, list_architectures
from src.ground.validating import suggest
from src.ground.weights import NO_WEIGHTS
from src.losses.bases import BASES
from src.networks.checkpoint import Facts, load_model
from src.networks.libraries import build_model
from src.results.calibration import Calibration, read_calibration
from tools.models import count_costs

STUDENT = Path("data/models/student.safetensors")
CALIBRATION = Path("data/calibration.json")
EXPORT = Path("data/export")
EAGER = "eager"
TIMED = {name: form for name, form in FORMATS.items() if name != "web"}  # which a browser runs
BATCHES, THREADS = (1, 32), (1, 2)
LARGEST = 4096  # pixels of a side, as of params.yaml's images
ROUNDS, TURN = 7, 0.2  # seconds
WARMING = 3  # calls before one is timed: TorchScript rewrites its graph in the first ones
CLASSES, SEEN = 6, 32  # of named networks; pictures on which 8 bits are calibrated
COLUMNS = ("network", "batch", "threads", "format", "ms per picture", "range", "times as fast", "range")

Call = Callable[[], Any]  # classifies one batch: probabilities (N, C)


@dataclass(frozen=True)
class Subject:
    """A network and the files that it was exported to."""

    name: str
    eager: Deployed
    folder: Path
    height: int  # pixels
    width: int

    def list_formats(self) -> list[str]:
        """Eager, then the formats whose files are there."""
        return [EAGER, *(name for name, form in TIMED.items() if (self.folder / form.file).exists())]


class Name(NamedTuple):
    """A contestant."""

    network: str
    batch: int
    threads: int
    form: str


def main() -> None:
    parser = Parser(prog="python -m benchmarks.latency")
    parser.add_argument("archs", nargs="*", help="networks; the exported student if there are none")
    parser.add_argument("--side", type=int, default=224, help="pixels, for those networks")
    given = parser.parse_args()
    for arch in given.archs:
        check(arch, given.side)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        subjects = [export(arch, given.side, Path(folder, str(n))) for n, arch in enumerate(given.archs)]
        calls = build_calls(subjects or [find_student()])
        numbers = {name: count_calls(call) for name, call in calls.items()}
        turns = {name: partial(repeat, call, numbers[name]) for name, call in calls.items()}
        seconds = time_in_turns(turns, ROUNDS)
    each = {
        name: [1000 * value / numbers[name] / name.batch for value in values]
        for name, values in seconds.items()
    }
    print(format_markdown(each))
    libraries = ", ".join(f"{library} {version(library)}" for library in ("onnxruntime", "openvino"))
    print(f"\nMedian and range of {ROUNDS} rounds on {describe_machine()}, {libraries}")


def check(arch: str, side: int) -> None:
    """Refuse a network that is unknown or does not take pictures of this side."""
    if not 1 <= side <= LARGEST:
        raise UserError(f"--side: must be from 1 to {LARGEST}, got {side}")
    if not is_known(arch):
        raise UserError(f"ARCH: unknown network {arch!r}{suggest(arch, list_architectures())}")
    count_costs(arch, CLASSES, side, side, "ARCH, --side")


def find_student() -> Subject:
    """The student and its exported files."""
    model, facts = load_model(STUDENT)
    eager = Deployed(model, BASES[facts.base], read_calibration(CALIBRATION).temperature).eval()
    subject = Subject(facts.arch, eager, EXPORT, facts.height, facts.width)
    if subject.list_formats() == [EAGER]:
        raise UserError(f"{EXPORT}: holds no exported file (dvc repro)")
    return subject


def export(arch: str, side: int, folder: Path) -> Subject:
    """A network with random weights, written in every format; its 8 bits are calibrated on noise."""
    model = build_model(arch, CLASSES, "ARCH")
    noise = draw(SEEN, side, side)
    classes, normal = tuple(map(str, range(CLASSES))), model.expected
    product = Product(
        model=model,
        base=BASES["softmax"],
        facts=Facts(
            arch, "softmax", classes, side, side, normal.mean, normal.std, NO_WEIGHTS, "", "", device="cpu"
        ),
        rule=PictureRule(("PNG",), min_side=1, max_pixels=side * side, grey_range="file"),
        calibration=Calibration(temperature=1.0, threshold=0.0, wanted_accuracy=0.0),
        student="",
        seen=lambda: Seen(noise, noise, np.zeros(SEEN, int), max_drop=1.0),
    )
    for name, form in TIMED.items():
        find_writer(name)(folder / form.file, product)
    return Subject(arch, product.deployed, folder, side, side)


def draw(number: int, height: int, width: int) -> np.ndarray:
    """Pictures of noise, uint8 (N, H, W, 3)."""
    return np.random.default_rng(0).integers(0, 256, (number, height, width, 3), dtype=np.uint8)


def build_calls(subjects: Sequence[Subject]) -> dict[Name, Call]:
    """The contestants; those that are compared stand beside each other."""
    return {
        Name(subject.name, batch, threads, form): build_call(subject, batch, threads, form)
        for subject in subjects
        for batch in BATCHES
        for threads in THREADS
        for form in subject.list_formats()
    }


def build_call(subject: Subject, batch: int, threads: int, form: str) -> Call:
    """A network loaded for itself, which classifies the same pictures at each call."""
    pictures = draw(batch, subject.height, subject.width)
    images = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))  # (N, 3, H, W)
    if form == EAGER:
        return call_torch(subject.eager, threads, pictures)
    path = subject.folder / FORMATS[form].file
    if form == "torchscript":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return call_torch(torch.jit.load(path), threads, pictures)
    if form == "torch_export":
        return call_torch(torch.export.load(path).module(), threads, pictures)
    return (call_onnx if form == "onnx" else call_openvino)(path, threads, images)


def call_torch(network: Callable, threads: int, pictures: np.ndarray) -> Call:
    """Of pictures (N, H, W, 3): torch takes them as they lie in memory, as demos/classifier.py does."""
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2)  # (N, 3, H, W)

    @torch.inference_mode()
    def call() -> torch.Tensor:
        torch.set_num_threads(threads)
        return network(images)

    return call


def call_onnx(path: Path, threads: int, images: np.ndarray) -> Call:
    """Of images (N, 3, H, W), by onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4  # fatal
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"images": images})[0]


def call_openvino(path: Path, threads: int, images: np.ndarray) -> Call:
    """Of images (N, 3, H, W), by openvino, which would round to bfloat16 on some CPUs."""
    core, settings = openvino.Core(), {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(path), "CPU", settings)
    return lambda: compiled(images)[0]


def count_calls(call: Call) -> int:
    """How many calls fill a turn."""
    repeat(call, WARMING)
    began = perf_counter()
    call()
    return max(1, round(TURN / (perf_counter() - began)))


def repeat(call: Call, number: int) -> None:
    for _ in range(number):
        call()


def format_markdown(each: Mapping[Name, Sequence[float]]) -> str:
    """A table of milliseconds per picture and round; speeds against eager are computed within each round."""
    lines = [format_row(COLUMNS), format_row(["---"] * 4 + ["---:"] * 4)]
    for name, values in each.items():
        eager = each[name._replace(form=EAGER)]
        ratios = [base / value for base, value in zip(eager, values, strict=True)]
        lines.append(format_row([*name, *describe(values, 3), *describe(ratios, 2)]))
    return "\n".join(lines)


def format_row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def describe(values: Sequence[float], digits: int) -> tuple[str, str]:
    """Median, and lowest to highest."""
    return f"{median(values):.{digits}f}", f"{min(values):.{digits}f} to {max(values):.{digits}f}"


if __name__ == "__main__":
    run(main)
