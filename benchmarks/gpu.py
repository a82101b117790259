"""A GPU: what reading and augmenting leave of the step on a batch that is already there, and the peers.

Pictures per second of training, forward, backward and SGD's step, of networks at 224 pixels: on one fixed
batch in several number formats, with and without deterministic algorithms, compiled or not; end to end from
the pack by policy and number of workers; end to end from JPEG files of 500 x 375 pixels, beside timm's loader
with its prefetcher and torchvision's transforms, each with a plain loop as in its own training script.
Everyone trains the same network with the same batches in bfloat16, channels last.

run     python -m benchmarks.gpu [fixed] [pack] [files] [predict]    (on a machine with a GPU)
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from timm.data import create_dataset, create_loader
from torch import Tensor, nn
from torchvision import datasets
from torchvision.transforms import v2

from benchmarks.loading import BILINEAR, MEAN, STD
from src.batches.augment import AugmentSettings, build_augment
from src.batches.batch import Batch
from src.batches.data import TrainingSet
from src.ground.params import read, read_top
from src.losses.bases import BASES
from src.losses.loss import Loss
from src.machine.cores import count_cores
from src.machine.runtime import MachineSettings, allow_tf32, start_machine
from src.networks.libraries import build_model
from src.networks.predict import choose_batch_size, predict_logits
from src.pictures.reading import FilePictures, Pack, Pictures
from src.training.optim import build_optimizer
from src.training.settings import StudentSettings
from src.training.step import Training, train_epoch

DEVICE: Literal["cpu", "cuda"] = "cuda"
SIDE, BATCH, CLASSES, LR = 224, 256, 10, 0.01
NETS = ("resnet18", "resnet50")
STEPS, ROUNDS = 20, 3  # of a fixed batch; an additional first round warms up
PACKED = 8192  # pictures of an epoch from the pack
DRAWN, LISTED = 2048, 4096  # different JPEG files, and how many an epoch lists
POLICIES = ("none", "crop", "light", "randaugment")
BFLOAT16 = {"precision": torch.bfloat16}
FIXED: dict[str, dict] = {
    "float32": {},
    "float32, TF32": {"tf32": True},
    "float16": {"precision": torch.float16},
    "bfloat16": BFLOAT16,
    "bfloat16, any algorithm": BFLOAT16 | {"deterministic": False},
    "bfloat16, compiled": BFLOAT16 | {"compiled": True},
    "bfloat16, compiled, any algorithm": BFLOAT16 | {"compiled": True, "deterministic": False},
}


def make_training(arch: str, precision: torch.dtype, compiled: bool = False) -> Training:
    network = build_model(arch, CLASSES, "student").to(DEVICE).to(memory_format=torch.channels_last)
    settings = replace(read(StudentSettings, "student"), optimizer="sgd", lr=LR)
    if compiled:
        network.compile()
    return Training(
        model=network,
        loss=Loss(BASES["softmax"], []),
        optimizer=build_optimizer(network, settings),
        device=torch.device(DEVICE),
        precision=precision,
    )


@contextmanager
def set_algorithms(deterministic: bool, tf32: bool) -> Iterator[None]:
    """Deterministic algorithms as a stage has them, or whatever cuDNN finds fastest."""
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.backends.cudnn.benchmark = not deterministic
    allow_tf32(tf32)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
        allow_tf32(False)


def wait() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def measure_rate(run_epoch: Callable[[], int]) -> list[float]:
    """Pictures per second of ROUNDS rounds; `run_epoch` returns how many it trained on."""
    run_epoch()
    rates = []
    for _ in range(ROUNDS):
        wait()
        began = time.perf_counter()
        pictures = run_epoch()
        wait()
        rates.append(pictures / (time.perf_counter() - began))
    return rates


def show(name: str, rates: list[float], whole: float = 0.0) -> float:
    """Print and return the median; `whole` is the rate that it is shown as a share of."""
    median = statistics.median(rates)
    share = f"{median / whole:7.2f}" if whole else ""
    print(f"  {name:44} {median:8.0f} {min(rates):8.0f} to {max(rates):6.0f} {share}", flush=True)
    return median


def step_on_fixed_batch(
    arch: str, precision: torch.dtype = torch.float32, compiled: bool = False
) -> Callable[[], int]:
    training = make_training(arch, precision, compiled)
    images = torch.randint(0, 256, (BATCH, SIDE, SIDE, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    targets = torch.eye(CLASSES)[torch.arange(BATCH) % CLASSES]
    batch = Batch(*(part.to(DEVICE) for part in (images, targets, targets, torch.ones(BATCH))))

    def run_epoch() -> int:
        train_epoch(training, [batch] * STEPS, (0, 1))
        return BATCH * STEPS

    return run_epoch


def measure_fixed() -> None:
    for arch in NETS:
        print(f"{arch}, {SIDE} pixels, a fixed batch of {BATCH}: pictures per second", flush=True)
        for name, options in FIXED.items():
            rest = {key: value for key, value in options.items() if key not in ("deterministic", "tf32")}
            with set_algorithms(options.get("deterministic", True), options.get("tf32", False)):
                show(name, measure_rate(step_on_fixed_batch(arch, **rest)))


def make_set(pictures: Pictures, policy: str, workers: int, count: int) -> TrainingSet:
    settings = replace(read(AugmentSettings, "augment"), policy=policy, basis="crop", flip=0.5)
    targets = np.eye(CLASSES, dtype=np.float32)[np.arange(len(pictures)) % CLASSES]
    return TrainingSet(
        pictures=pictures, targets=targets, soft=[targets], weights=np.ones(len(pictures)),
        rows=np.resize(np.arange(len(pictures)), count),
        augment=build_augment(settings, SIDE, SIDE, torch.device(DEVICE)),
        transforms=lambda epoch: [], batch_size=BATCH, seed=1, view_seed=1, workers=workers,
    )  # fmt: skip


def train_on(arch: str, data: TrainingSet) -> Callable[[], int]:
    training, epochs = make_training(arch, torch.bfloat16), iter(range(1, 1000))

    def run_epoch() -> int:
        losses = train_epoch(training, data.epoch(next(epochs)), (0, 1))
        return BATCH * len(losses)

    return run_epoch


def draw_pack(folder: Path) -> Path:
    path = folder / "pack.npy"
    generator = np.random.default_rng(0)
    few = generator.integers(0, 256, (256, SIDE, SIDE, 3), dtype=np.uint8)
    pack = np.lib.format.open_memmap(path, "w+", np.uint8, (PACKED, SIDE, SIDE, 3))
    for start in range(0, PACKED, len(few)):
        pack[start : start + len(few)] = few[: PACKED - start]
    return path


def measure_pack(folder: Path) -> None:
    path, cores = draw_pack(folder), count_cores()
    for arch in NETS:
        print(f"{arch} in bfloat16, from the pack: pictures per second, share of the fixed batch", flush=True)
        fixed = show("fixed batch", measure_rate(step_on_fixed_batch(arch, torch.bfloat16)))
        for policy in POLICIES:
            for workers in (cores // 4, cores // 2, cores) if policy == "crop" else (cores,):
                data = make_set(Pack(path), policy, workers, PACKED)
                show(f"{policy}, {workers} workers", measure_rate(train_on(arch, data)), fixed)


def draw_jpeg(path: Path) -> None:
    generator = np.random.default_rng(list(path.name.encode()))
    coarse = Image.fromarray(generator.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC)).astype(np.float32)
    noise = generator.standard_normal(smooth.shape, np.float32) * 8
    Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8)).save(path, quality=90)


def draw_folders(folder: Path) -> list[str]:
    """JPEG files in CLASSES class folders, most of them hard links; their paths."""
    paths = [Path("train", f"c{number % CLASSES}", f"{number:05}.jpg") for number in range(LISTED)]
    for name in range(CLASSES):
        (folder / "train" / f"c{name}").mkdir(parents=True)
    with ProcessPoolExecutor(count_cores()) as pool:
        list(pool.map(draw_jpeg, [folder / path for path in paths[:DRAWN]], chunksize=16))
    for number in range(DRAWN, LISTED):
        (folder / paths[number]).hardlink_to(folder / paths[number % DRAWN])
    return [str(path) for path in paths]


def loop_plainly(arch: str, batches: Iterable[tuple[Tensor, Tensor]]) -> Callable[[], int]:
    """As in both libraries' scripts: autocast, cross entropy, SGD; the loss is not read at every step."""
    network = build_model(arch, CLASSES, "student").net.to(DEVICE)
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=LR, momentum=0.9)
    criterion = nn.CrossEntropyLoss().to(DEVICE)

    def run_epoch() -> int:
        network.train()
        pictures = 0
        for images, labels in batches:
            images = images.to(DEVICE, non_blocking=True).contiguous(memory_format=torch.channels_last)
            labels = labels.to(DEVICE, non_blocking=True)
            with torch.autocast(DEVICE, torch.bfloat16):
                loss = criterion(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            pictures += len(labels)
        return pictures

    return run_epoch


def load_with_timm(folder: Path) -> Iterable[tuple[Tensor, Tensor]]:
    return create_loader(
        create_dataset("", root=str(folder / "train"), search_split=False), (3, SIDE, SIDE), BATCH,
        is_training=True, color_jitter=0.0, interpolation="bilinear", num_workers=count_cores(),
        pin_memory=True, use_prefetcher=DEVICE == "cuda", device=torch.device(DEVICE),
    )  # fmt: skip


def load_with_torchvision(folder: Path) -> Iterable[tuple[Tensor, Tensor]]:
    transform = v2.Compose([
        v2.RandomResizedCrop(SIDE, interpolation=BILINEAR, antialias=True), v2.RandomHorizontalFlip(),
        v2.PILToTensor(), v2.ToDtype(torch.float, scale=True), v2.Normalize(MEAN, STD), v2.ToPureTensor(),
    ])  # fmt: skip
    data = datasets.ImageFolder(folder / "train", transform)
    workers = count_cores()
    return torch.utils.data.DataLoader(
        data, BATCH, shuffle=True, num_workers=workers, pin_memory=DEVICE == "cuda", drop_last=True
    )


def measure_files(folder: Path) -> None:
    names = draw_folders(folder)
    files = FilePictures(folder, names, SIDE, SIDE, "crop", True, None)
    for arch in NETS:
        print(f"{arch} in bfloat16, crop and flip, from JPEG files: pictures per second", flush=True)
        fixed = show("fixed batch", measure_rate(step_on_fixed_batch(arch, torch.bfloat16)))
        sides = {
            "ours": train_on(arch, make_set(files, "crop", count_cores(), LISTED)),
            "timm's loader": loop_plainly(arch, load_with_timm(folder)),
            "torchvision's reference": loop_plainly(arch, load_with_torchvision(folder)),
        }
        for name, run_epoch in sides.items():
            show(name, measure_rate(run_epoch), fixed)


def predict_fixed_batch(network: nn.Module, size: int) -> Callable[[], int]:
    images = torch.rand(size, 3, SIDE, SIDE, device=DEVICE).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def run_epoch() -> int:
        for _ in range(STEPS):
            network.eval()(images)
        return size * STEPS

    return run_epoch


def measure_predict(folder: Path) -> None:
    """As a network is measured on val, and as a teacher tells what it knows."""
    path, names, size = draw_pack(folder), draw_folders(folder), choose_batch_size("auto", SIDE, SIDE)
    files = FilePictures(folder, names, SIDE, SIDE, "crop", True, None)
    for arch in NETS:
        print(f"{arch} predicts in float32, batches of {size}: pictures per second", flush=True)
        network = build_model(arch, CLASSES, "student").to(DEVICE)
        fixed = show("fixed batch", measure_rate(predict_fixed_batch(network, size)))
        sources: dict[str, Pictures] = {"pack": Pack(path), "files": files}
        for name, pictures in sources.items():
            show(name, measure_rate(predict_all(network, pictures, size)), fixed)


def predict_all(network: nn.Module, pictures: Pictures, size: int) -> Callable[[], int]:
    return lambda: len(predict_logits(network, pictures, size, torch.device(DEVICE)))


def main(parts: list[str]) -> None:
    machine = replace(read_top(MachineSettings), device=DEVICE, processes=1)
    start_machine(machine, seed=0)
    if DEVICE == "cuda":
        print(f"{torch.cuda.get_device_name()}, {count_cores()} cores, torch {torch.__version__}", flush=True)
    measures = {
        "fixed": lambda folder: measure_fixed(),
        "pack": measure_pack,
        "files": measure_files,
        "predict": measure_predict,
    }
    for part in parts or measures:
        with tempfile.TemporaryDirectory() as folder:
            measures[part](Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
