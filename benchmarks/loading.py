"""Loading speed, up to the normalised float batch: packed and from files, against torchvision and timm.

The references load like torchvision's references/classification and like timm's loader, with two workers.
Ours reads the pack, or the files themselves, without workers; Batch.to and the network's first layer make the
float batch. JPEGs are generated: smooth colours with some noise, 60 kB at 500 x 375 and 850 kB at
2000 x 1500, like photographs. The first epoch includes all that check_images does to the files.

run     python -m benchmarks.loading
"""

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from timm.data import create_dataset, create_loader
from torch import Tensor
from torchvision import datasets
from torchvision.transforms import InterpolationMode, v2

from benchmarks.timing import format_table, time_in_turns
from src.batches.augment import AugmentSettings, build_augment
from src.batches.batch import scale_to_unit
from src.batches.data import TrainingSet
from src.ground.params import read
from src.machine.memory import keep_memory
from src.networks.network import Normalize
from src.pictures.assigning import list_pictures
from src.pictures.checking import check_source
from src.pictures.fitting import LETTERBOX
from src.pictures.folders import Source
from src.pictures.reading import FilePictures, Pictures
from src.pictures.settings import DataSettings
from src.pictures.splits import judge

SIDE, BATCH, WORKERS, ROUNDS, THOUSAND = 224, 64, 2, 5, 1000
SIZES = {(500, 375): 512, (2000, 1500): 128}  # pixels -> number of pictures, a multiple of BATCH
PACKED = 1024  # pictures per epoch of the pack, repeated if need be: a shorter epoch is too fast to time
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CPU = torch.device("cpu")
TO_FLOAT = (v2.PILToTensor(), v2.ToDtype(torch.float, scale=True), v2.Normalize(MEAN, STD))
BILINEAR = InterpolationMode.BILINEAR


def make_pictures(root: Path, width: int, height: int, count: int) -> Source:
    """Write JPEG files to root/train/thing."""
    generator, files = np.random.default_rng(0), []
    (root / "train/thing").mkdir(parents=True)
    for number in range(count):
        coarse = Image.fromarray(generator.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(np.float32)
        noise = generator.standard_normal(smooth.shape, np.float32) * 8
        files.append((f"train/thing/{number:04}.jpg", "thing"))
        Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8)).save(root / files[-1][0], quality=90)
    return Source(("train",), "train", files, [])


def build_torchvision_loader(root: Path, *steps: v2.Transform, train: bool) -> Iterable[list[Tensor]]:
    data = datasets.ImageFolder(root / "train", v2.Compose([*steps, *TO_FLOAT]))
    return torch.utils.data.DataLoader(data, BATCH, shuffle=train, num_workers=WORKERS)


def build_timm_loader(root: Path) -> Iterable[list[Tensor]]:
    data = create_dataset("", str(root / "train"))
    return create_loader(
        data, (3, SIDE, SIDE), BATCH, is_training=True, use_prefetcher=False, color_jitter=None,  # type: ignore[arg-type]
        interpolation="bilinear", num_workers=WORKERS, persistent_workers=False,
    )  # fmt: skip


def consume(batches: Iterable[Sequence[Tensor]]) -> None:
    for batch in batches:
        batch[0].sum()


def build_training_set(pictures: Pictures, policy: str, count: int) -> TrainingSet:
    settings = replace(read(AugmentSettings, "augment"), policy=policy, basis="crop", flip=0.5)
    targets = np.ones((len(pictures), 1), np.float32)
    return TrainingSet(
        pictures=pictures, targets=targets, soft=[targets], weights=np.ones(len(pictures)),
        rows=np.resize(np.arange(len(pictures)), count), augment=build_augment(settings, SIDE, SIDE),
        transforms=lambda epoch: [], batch_size=min(BATCH, len(pictures)), seed=1, view_seed=1, workers=0,
    )  # fmt: skip


def run_epoch(data: TrainingSet, normalize: Normalize) -> None:
    for batch in data.epoch(1):
        normalize(batch.to(CPU).images).sum()


def read_plain(pictures: Pictures, count: int, normalize: Normalize) -> None:
    """Read as `predict_logits` does."""
    for start in range(0, count, BATCH):
        rows = slice(start % len(pictures), start % len(pictures) + BATCH)
        images = torch.from_numpy(np.array(pictures[rows])).permute(0, 3, 1, 2)
        normalize(scale_to_unit(images)).sum()


def pack_split(root: Path, split: Source) -> np.ndarray:
    """Pack a split as check_images does."""
    data = replace(read(DataSettings, "data"), root=str(root))
    checks = check_source(split, ((SIDE, SIDE),), LETTERBOX, data, None, root / "packed.npy")
    judge(list_pictures([checks], data, {}))
    return np.load(checks.pack, mmap_mode="r")


def build_readers(root: Path, split: Source) -> dict[str, tuple[int, Callable[[], object]]]:
    """The number of pictures that each contestant reads, and a function that reads them."""
    count, normalize = len(split.files), Normalize(MEAN, STD)
    packed = pack_split(root, split)
    files = FilePictures(root, [path for path, _ in split.files], SIDE, SIDE, LETTERBOX, True, None)
    crop = (v2.RandomResizedCrop(SIDE, interpolation=BILINEAR, antialias=True), v2.RandomHorizontalFlip())
    rand_augment = (*crop, v2.RandAugment(interpolation=BILINEAR))
    centre = (v2.Resize(256, interpolation=BILINEAR, antialias=True), v2.CenterCrop(SIDE))
    several = max(PACKED, count)
    readers: dict[str, tuple[int, Callable[[], object]]] = {
        "torchvision, crop": (count, lambda: consume(build_torchvision_loader(root, *crop, train=True))),
        "timm, crop": (count, lambda: consume(build_timm_loader(root))),
        "files, crop": (count, lambda: run_epoch(build_training_set(files, "crop", count), normalize)),
        "check_images": (count, lambda: pack_split(root, split)),
        "first epoch: packing, crop": (
            count,
            lambda: run_epoch(build_training_set(pack_split(root, split), "crop", count), normalize),
        ),
        "torchvision, RandAugment": (
            count,
            lambda: consume(build_torchvision_loader(root, *rand_augment, train=True)),
        ),
        "torchvision, plain": (count, lambda: consume(build_torchvision_loader(root, *centre, train=False))),
        "files, plain": (count, lambda: read_plain(files, count, normalize)),
        "pack, plain": (several, lambda: read_plain(packed, several, normalize)),
    }
    for policy in ("crop", "light", "custom", "randaugment"):
        data = build_training_set(packed, policy, several)
        readers[f"pack, {policy}"] = (several, partial(run_epoch, data, normalize))
    return readers


def main() -> None:
    torch.set_num_threads(2)
    keep_memory()
    for (width, height), count in SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            readers = build_readers(root, make_pictures(root, width, height, count))
            seconds = time_in_turns({name: reader for name, (_, reader) in readers.items()}, ROUNDS)
        each = {
            name: [value / readers[name][0] * THOUSAND for value in values]
            for name, values in seconds.items()
        }
        print(f"\nJPEGs of {width} x {height} to {SIDE} pixels; seconds per thousand pictures")
        for reference in ("torchvision, crop", "torchvision, plain"):
            print(format_table(each, reference), flush=True)


if __name__ == "__main__":
    main()
