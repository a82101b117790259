"""Where networks of six families look: does the peak of the heat map lie on the object?

The pointing game of J. Zhang et al., Top-down Neural Attention, 2016, arXiv:1608.00507. Each network learns
from nothing to tell the stripes of a square apart, somewhere on noise with grey bars; its maps for what it
predicts are then drawn over fresh pictures. A hit is a hottest cell that touches the object; chance is the
share of cells that do. --sheet writes the pictures and, below, the same under their maps, to be looked at.

run     python -m benchmarks.pointing [--sheet FILE.png] [--side 160] [--steps 300] [ARCH ...]
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from src.ground.errors import Parser, UserError, run
from src.ground.params import read
from src.networks.last_map import find_cut
from src.networks.libraries import build_model
from src.networks.network import BATCH_NORM, Network
from src.report.overlay import overlay
from src.results.heatmaps import METHODS

FAMILIES = (
    "resnet18", "mobilenetv3_small", "timm/test_efficientnet", "timm/resnest14d", "timm/test_convnext",
    "timm/test_vit",
)  # fmt: skip
SIDE, CLASSES, BATCH, LR = 160, 4, 32, 0.003
STEPS, TESTED, SHOWN = 300, 128, 8


def draw_pictures(generator: np.random.Generator, number: int, side: int) -> tuple[np.ndarray, ...]:
    """Pictures uint8 (number, side, side, 3), their classes, and the boxes (top, left, sides in pixels)."""
    pictures = generator.integers(0, 160, (number, side, side, 3), dtype=np.uint8)
    labels, length = generator.integers(CLASSES, size=number), side // 4
    boxes = np.empty((number, 3), int)
    y, x = np.indices((length, length)) * 24 // length  # two stripes of an eighth each, whatever the size
    stripes = [y // 3 % 2, x // 3 % 2, (x + y) // 3 % 2, (y // 3 + x // 3) % 2]
    for picture, label, box in zip(pictures, labels, boxes, strict=True):
        for _ in range(4):
            top, left = generator.integers(side - length, size=2)
            picture[top : top + length // 4, left : left + length] = generator.integers(60, 200)
        top, left = generator.integers(side - length, size=2)
        colour = generator.integers(100, 256, 3)
        picture[top : top + length, left : left + length] = stripes[label][..., None] * colour
        box[:] = top, left, length
    return pictures, labels, boxes


def to_images(pictures: np.ndarray) -> Tensor:
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


def train(arch: str, side: int, steps: int) -> Network:
    torch.manual_seed(0)
    network, generator = build_model(arch, CLASSES, "student"), np.random.default_rng(1)
    for module in network.modules():
        if isinstance(module, BATCH_NORM):
            module.momentum = read(float, "student.bn_momentum")  # some networks' own is for long trainings
    optimizer = torch.optim.AdamW(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps)
    for _ in range(steps):
        pictures, labels, _ = draw_pictures(generator, BATCH, side)
        loss = nn.functional.cross_entropy(network.train()(to_images(pictures)), torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network


def touches(boxes: np.ndarray, cells: Sequence[int], side: int) -> np.ndarray:
    """Whether each cell touches the object: bool (number, h, w)."""
    found = np.zeros((len(boxes), *cells), bool)
    for grid, (top, left, length) in zip(found, boxes, strict=True):
        first, last = (np.array([edge, edge + length - 1]) * cells[0] // side for edge in (top, left))
        grid[first[0] : first[1] + 1, last[0] : last[1] + 1] = True
    return found


def measure(arch: str, side: int, steps: int) -> list[Image.Image]:
    network = train(arch, side, steps)
    pictures, labels, boxes = draw_pictures(np.random.default_rng(2), TESTED, side)
    cut = find_cut(network, (side, side), arch)
    seen = cut(to_images(pictures))
    predicted = seen.logits.argmax(dim=1)
    right = np.mean(predicted.numpy() == labels)
    on_object = touches(boxes, seen.map.shape[2:], side)
    words, shown = [], []
    for method, find in METHODS.items():
        try:
            heats = find(cut, seen, predicted).detach().clamp(min=0).numpy()
        except UserError:
            continue
        peaks = heats.reshape(TESTED, -1).argmax(axis=1)
        hits = on_object.reshape(TESTED, -1)[np.arange(TESTED), peaks]
        words.append(f"{method} {hits.mean():.2f}")
        if method == "grad-cam":
            shown = [
                overlay(Image.fromarray(picture), heat, (side, side), "stretch")
                for picture, heat in zip(pictures[:SHOWN], heats, strict=False)
            ]
    print(
        f"{arch}, {side} px: accuracy {right:.2f}, map {seen.map.shape[2]} x {seen.map.shape[3]}, hits: "
        f"{', '.join(words)}, by chance {on_object.mean():.2f}",
        flush=True,
    )
    return [Image.fromarray(picture).resize(shown[0].size) for picture in pictures[:SHOWN]] + shown


def main() -> None:
    parser = Parser(prog="python -m benchmarks.pointing")
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--side", type=int, default=SIDE, help="pixels")
    parser.add_argument("archs", nargs="*", default=FAMILIES)
    given = parser.parse_args()
    torch.set_num_threads(read(int, "threads"))
    rows = [measure(arch, given.side, given.steps) for arch in given.archs]
    if given.sheet:
        width, height = rows[0][0].size
        sheet = Image.new("RGB", (width * SHOWN, height * 2 * len(rows)))
        for row, images in enumerate(rows):
            for number, image in enumerate(images):
                column, line = number % SHOWN, 2 * row + number // SHOWN
                sheet.paste(image, (column * width, line * height))
        sheet.save(given.sheet)


if __name__ == "__main__":
    run(main)
