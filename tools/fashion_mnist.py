"""Write Fashion-MNIST as picture files: clothes in ten classes, 60,000 for training and 10,000 for test.

H. Xiao et al., Fashion-MNIST, 2017, arXiv:1708.07747. Its 28 x 28 pixels are padded with black to 32 x 32, so
that the letterbox resizes nothing. Val is drawn from the training part, with equal classes; test is left
unchanged.

reads   Debian's package dataset-fashion-mnist if it is installed, otherwise torchvision's download
writes  data/fashion-mnist    {train,val,test}/<class>/<number>.png, grey, 32 x 32 pixels
run     python -m tools.fashion_mnist
"""

import gzip
import shutil
import urllib.error
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.datasets import FashionMNIST
from tqdm import tqdm

from src.ground.errors import UserError, run
from src.ground.files import sync_folder

FOLDER = Path("data/fashion-mnist")
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
CACHE = Path(".scratch/fashion-mnist")
VAL_OF_CLASS = 500  # of its 6,000 pictures
SEED = 0
BORDER = 2  # pixels on each side: 28 becomes 32


def main() -> None:
    if FOLDER.exists():
        print(f"{FOLDER}: exists already; remove it to write it again")
        return
    train, test = fetch(train=True), fetch(train=False)
    chosen = draw_val_rows(train.targets.numpy())
    splits = {"train": (train, np.setdiff1d(np.arange(len(train)), chosen)), "val": (train, chosen)}
    splits["test"] = (test, np.arange(len(test)))
    unfinished = FOLDER.with_name(f".{FOLDER.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    for split, (source, rows) in splits.items():
        write_pictures(unfinished / split, source, rows)
    unfinished.rename(FOLDER)
    sync_folder(FOLDER.parent)
    print(f"{FOLDER}: " + ", ".join(f"{len(rows)} {split}" for split, (_, rows) in splits.items()))


def fetch(train: bool) -> FashionMNIST:
    """One of the two parts of the dataset: .data (N, 28, 28) uint8, .targets (N,), .classes."""
    raw = CACHE / "FashionMNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for packed in DEBIAN.glob("*.gz"):
        with gzip.open(packed) as source, open(raw / packed.stem, "wb") as target:
            shutil.copyfileobj(source, target)
    try:
        return FashionMNIST(str(CACHE), train=train, download=True)
    except (RuntimeError, urllib.error.URLError) as error:
        remedy = "apt-get install dataset-fashion-mnist, or connect to the internet"
        raise UserError(f"{FOLDER}: cannot download Fashion-MNIST: {error} ({remedy})") from None


def draw_val_rows(labels: np.ndarray) -> np.ndarray:
    """VAL_OF_CLASS rows of each class of `labels` (N,), sorted; every call returns the same."""
    generator = np.random.default_rng(SEED)
    drawn = [
        generator.choice(np.flatnonzero(labels == label), VAL_OF_CLASS, replace=False)
        for label in np.unique(labels)
    ]
    return np.sort(np.concatenate(drawn))


def write_pictures(folder: Path, source: FashionMNIST, rows: np.ndarray) -> None:
    """Write the pictures of `rows` as <class>/<row>.png under `folder`."""
    pixels = torch.nn.functional.pad(source.data, [BORDER] * 4).numpy()
    names = [name.replace("/", "-") for name in source.classes]  # T-shirt/top
    for name in names:
        (folder / name).mkdir(parents=True)
    for row in tqdm(rows, desc=str(folder), disable=None):
        Image.fromarray(pixels[row]).save(folder / names[source.targets[row]] / f"{row:05d}.png")


if __name__ == "__main__":
    run(main)
