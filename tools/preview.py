"""What the student sees: pictures beside their augmented views, and a mixed batch with its targets.

params  those of train_student
reads   what train_student reads
writes  plots/preview.png    a row per picture, original and in eight epochs; the last row is a mixed batch
run     python -m tools.preview
"""

import stages  # noqa: F401  sets the CPU's instructions before torch is imported

# isort: split

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from src.batches.augment import augment_each
from src.batches.batch import Batch
from src.batches.data import TrainingSet, choose_view
from src.ground.errors import run
from src.ground.params import read_top
from src.machine.runtime import MachineSettings
from src.pictures.manifest import read_manifest
from src.results.drawing import save_figure
from src.results.lettering import explain_numbers, letter_names
from src.training.prepare import check_batches
from stages.train_student import build_job

PICTURE = Path("plots/preview.png")
PICTURES, VIEWS = 6, 8
NAMED = 3  # classes of a target that are listed above a mixed picture


def main() -> None:
    job = build_job(replace(read_top(MachineSettings), processes=1))
    data = job.data
    check_batches(len(data.rows), job.settings, job.key)
    train = read_manifest("train")
    names, labels = letter_names(train.classes), train.labels
    rows = pick_rows(labels, PICTURES)
    figure = Figure(figsize=(1.3 * (VIEWS + 1), 1.45 * (PICTURES + 1)), layout="constrained")
    axes = figure.subplots(PICTURES + 1, VIEWS + 1)
    for axis in axes.flat:
        axis.set_axis_off()
    for line, (row, pixels) in enumerate(zip(rows, data.pictures[rows], strict=True)):
        draw_image(axes[line, 0], torch.from_numpy(pixels).permute(2, 0, 1) / 255, names[labels[row]])
    for epoch in range(1, VIEWS + 1):
        seen = choose_view(epoch, data.views)
        views = augment_each(data.pictures[rows], data.augment, data.seed, seen, rows).cpu()
        for line, view in enumerate(views):
            draw_image(axes[line, epoch], view / 255, f"epoch {epoch}" if line == 0 else "")
    batch = mix_first_batch(data)
    for column, (image, target) in enumerate(zip(batch.images, batch.targets, strict=False)):
        if column <= VIEWS:
            draw_image(axes[PICTURES, column], image, describe_target(target, names))
    figure.supxlabel(explain_numbers(train.classes, names), fontsize="small")
    save_figure(PICTURE, figure)
    print(
        f"{PICTURE}: {PICTURES} pictures, original and augmented, and {VIEWS + 1} of the first batch, mixed"
    )


def pick_rows(labels: np.ndarray, wanted: int) -> list[int]:
    """The indices of `wanted` pictures, spread evenly over the sorted `labels` (N,)."""
    rows = np.argsort(labels, kind="stable")
    return rows[np.linspace(0, len(rows) - 1, wanted).astype(int)].tolist()


def mix_first_batch(data: TrainingSet) -> Batch:
    """The first batch of the first epoch, as the network receives it."""
    batch = next(iter(data.epoch(1))).to(torch.device("cpu"))
    generator = np.random.default_rng([data.seed, 1, 1])
    for transform in data.transforms(1):
        batch = transform(batch, generator)
    return batch


def describe_target(target: Tensor, names: Sequence[str]) -> str:
    """The largest entries of a target (C,) as text."""
    values, numbers = target.topk(min(NAMED, len(names)))
    pairs = zip(values.tolist(), numbers.tolist(), strict=True)
    return "\n".join(f"{names[number]} {value:.2f}" for value, number in pairs if value >= 0.005)


def draw_image(axis: Axes, image: Tensor, title: str) -> None:
    """Draw an image, float (3, H, W) in [0, 1]."""
    axis.imshow(image.permute(1, 2, 0).clamp(0, 1).numpy(), interpolation="nearest")
    axis.set_title(title, fontsize=6)


if __name__ == "__main__":
    run(main)
