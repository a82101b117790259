"""Pictures a second of the policies that map whole batches, against torchvision's transforms, one by one.

One thread; random pictures of 32, 128 and 224 pixels. The references draw the same random numbers from
(seed, epoch, picture) and work as torchvision's users do: `light` on Pillow images, `crop` on tensors.
Seconds are of the processor, since other programs may share it.

run     python -m benchmarks.augmenting
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from benchmarks.timing import format_table, time_in_turns
from src.batches.augment import AugmentSettings, augment_each, build_augment
from src.ground.params import read
from src.machine.memory import keep_memory
from src.machine.seeding import seed_generators

SIDES = {32: 512, 128: 64, 224: 32}  # pixels -> pictures in a batch
ROUNDS = 15
CPU = torch.device("cpu")
Single = Callable[[np.ndarray], np.ndarray]  # a picture uint8 (h, w, 3) -> the same


def build_light(settings: AugmentSettings, side: int) -> Single:
    affine = v2.RandomAffine(
        settings.rotate,
        translate=(settings.shift, settings.shift),
        scale=(1 - settings.scale, 1 + settings.scale),
        interpolation=InterpolationMode.BILINEAR,
    )
    transform = v2.Compose([affine, v2.RandomHorizontalFlip(settings.flip)])
    return lambda pixels: np.asarray(transform(Image.fromarray(pixels)))


def build_crop(settings: AugmentSettings, side: int) -> Single:
    crop = v2.RandomResizedCrop((side, side), scale=(settings.min_area, 1.0), antialias=True)
    transform = v2.Compose([crop, v2.RandomHorizontalFlip(settings.flip)])

    def apply(pixels: np.ndarray) -> np.ndarray:
        return transform(torch.from_numpy(pixels).permute(2, 0, 1)).permute(1, 2, 0).numpy()

    return apply


REFERENCES = {"light": build_light, "crop": build_crop}


def augment_singly(pictures: np.ndarray, transform: Single) -> torch.Tensor:
    augmented = []
    with torch.random.fork_rng(devices=[]):
        for number, picture in enumerate(pictures):
            seed_generators(CPU, 1, 1, number)
            augmented.append(transform(picture))
    return torch.from_numpy(np.stack(augmented)).permute(0, 3, 1, 2)


def main() -> None:
    torch.set_num_threads(1)
    keep_memory()
    generator = np.random.default_rng(0)
    for side, count in SIDES.items():
        pictures = generator.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
        for policy, build in REFERENCES.items():
            settings = replace(read(AugmentSettings, "augment"), policy=policy, flip=0.5)
            ours = build_augment(settings, side, side)
            contestants = {
                "torchvision": partial(augment_singly, pictures, build(settings, side)),
                "ours": partial(augment_each, pictures, ours, 1, 1, range(count)),
            }
            seconds = time_in_turns(contestants, ROUNDS, time.process_time)
            each = {name: [value / count * 1000 for value in values] for name, values in seconds.items()}
            print(f"\n{policy}, {side} pixels; seconds per thousand pictures")
            print(format_table(each, "torchvision"), flush=True)


if __name__ == "__main__":
    main()
