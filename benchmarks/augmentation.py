"""Pictures a second with augmentation: our pack with `custom` against torchvision's reference loader.

The reference decodes each JPEG file, then RandomResizedCrop, flip and RandAugment as in torchvision's
references/classification, two workers; ours reads the pack, letterboxed to the same size, two workers.

run     python -m benchmarks.augmentation
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import datasets
from torchvision.transforms import InterpolationMode, v2

from benchmarks.timing import in_turns, table
from src.augment import AugmentSettings, build_augment
from src.batch import unit_range
from src.data import TrainingSet
from src.letterbox import letterbox
from src.params import read

PICTURES, SIDE, BATCH, WORKERS, ROUNDS = 1024, 224, 64, 2, 5


def make_pictures(folder: Path) -> None:
    """JPEGs of 500 x 375: smooth colours with some noise, 40 to 90 kB like photographs."""
    generator = np.random.default_rng(0)
    for number in range(PICTURES):
        coarse = Image.fromarray(generator.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC)).astype(float)
        pixels = (smooth + generator.normal(0, 8, smooth.shape)).clip(0, 255).astype(np.uint8)
        path = folder / "thing" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path, quality=90)


def reference(folder: Path) -> torch.utils.data.DataLoader:
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(SIDE, interpolation=InterpolationMode.BILINEAR, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandAugment(interpolation=InterpolationMode.BILINEAR),
            v2.PILToTensor(),
            v2.ToDtype(torch.float, scale=True),
            v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    data = datasets.ImageFolder(folder, transform)
    return torch.utils.data.DataLoader(data, BATCH, shuffle=True, num_workers=WORKERS, drop_last=True)


def ours(folder: Path, policy: str) -> TrainingSet:
    paths = sorted(folder.glob("*/*.jpg"))
    pack = np.stack(
        [
            np.asarray(letterbox(image := Image.open(path).convert("RGB"), SIDE, SIDE, image.size))
            for path in paths
        ]
    )
    settings = replace(read(AugmentSettings, "augment"), policy=policy, flip=0.5)
    return TrainingSet(
        pictures=pack, targets=np.ones((PICTURES, 1), np.float32), weights=np.ones(PICTURES),
        rows=np.arange(PICTURES), augment=build_augment(settings, SIDE, SIDE), transforms=[],
        batch_size=BATCH, seed=1, workers=WORKERS,
    )  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)  # the workers have the cores
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_pictures(folder)
        loader = reference(folder)
        contestants = {"torchvision's, RandAugment": lambda: [batch[0].mean() for batch in loader]}
        for policy in ("custom", "randaugment", "light"):
            data = ours(folder, policy)
            contestants[f"pack, {policy}"] = lambda data=data: [
                unit_range(batch.images).mean() for batch in data.epoch(1)
            ]
        seconds = in_turns(contestants, ROUNDS)
    print(f"{PICTURES} pictures at {SIDE} pixels, {WORKERS} workers, an epoch")
    print(table(seconds, "torchvision's, RandAugment"))


if __name__ == "__main__":
    main()
