"""Knowledge from elsewhere of many classes: seconds, memory and size on disk of each step it goes through.

A text file of made probabilities is written, and label.txt beside it; the file is taken over as arrays, and
these are read by the curriculum. The memory is the process's peak so far, without libraries that only
training needs.

run     python -m benchmarks.external [--classes 1000 --pictures 100000]
"""

import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from src.ground.errors import Parser, run
from src.ground.params import read
from src.teaching.curriculum import find_truth_probs
from src.teaching.knowledge_file import write_probs
from src.teaching.knowledge_folder import PREFIX, read_folder, take_over
from src.teaching.labels import LabelTargets


def main() -> None:
    parser = Parser(prog="python -m benchmarks.external")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--pictures", type=int, default=100_000)
    given = parser.parse_args()
    classes = [f"class_{number}" for number in range(given.classes)]
    paths = [f"train/{number}.jpg" for number in range(given.pictures)]
    labels = np.arange(given.pictures) % given.classes
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, taken, text = folder / f"{PREFIX}made.txt", folder / "distill", folder / "label.txt"
        steps = {
            "made": lambda: write_probs(source, "softmax", draw_rows(labels, given.classes), paths, classes),
            "label.txt": lambda: write_probs(
                text, "softmax", LabelTargets(labels, given.classes), paths, classes
            ),
            "taken over": lambda: take_over(source, taken, paths, classes, read(int, "knowledge.top")),
            "curriculum": lambda: find_truth_probs(read_folder(taken, paths, classes), labels),
        }
        print(f"{'':12} {'seconds':>8} {'peak MB':>8} {'MB on disk so far':>18}")
        for step, take in steps.items():
            began = time.perf_counter()
            take()
            seconds = time.perf_counter() - began
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
            print(f"{step:12} {seconds:8.1f} {peak:8.0f} {disk:18.1f}")


def draw_rows(labels: np.ndarray, classes: int) -> Iterator[np.ndarray]:
    """A row of probabilities (C,) per label (N,), most of it on the label."""
    random = np.random.default_rng(0)
    for label in labels:
        logits = random.normal(size=classes)
        logits[label] += 8
        row = np.exp(logits)
        yield row / row.sum()


if __name__ == "__main__":
    run(main)
