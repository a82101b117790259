"""The format of manifests and packs: one type, one reader, one writer.

A manifest is CSV `path,class,hash`, one row per accepted picture, paths relative to the data root. A pack is
an .npy array of the same pictures, fitted to one size: uint8 (N, H, W, 3), RGB. N pictures, C classes, H
height, W width in pixels.
"""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from src.ground.errors import UserError, list_some
from src.ground.files import parse_csv, read_csv, read_json, start_csv

COLUMNS = ["path", "class", "hash"]
SPLITS = ("train", "val", "test")
CLASSES = Path("data/manifest/classes.json")
REMEDY = "(dvc repro -f check_images writes it)"


def manifest_path(split: str) -> Path:
    return Path(f"data/manifest/{split}.csv")


def pack_path(split: str) -> Path:
    return Path(f"data/packed/{split}.npy")


@dataclass(frozen=True)
class Manifest:
    """The accepted pictures of one split, in the order of the pack."""

    paths: list[str]  # (N,) relative to the data root, with /
    labels: np.ndarray  # (N,) int64, index into classes
    classes: tuple[str, ...]  # (C,) of train, sorted
    sha256: str  # of the file, as it was read

    def count(self) -> dict[str, int]:
        """The number of pictures of each class."""
        numbers = np.bincount(self.labels, minlength=len(self.classes)).tolist()
        return dict(zip(self.classes, numbers, strict=True))


def start_manifest(file: IO[str]) -> Any:
    """A CSV writer on an open file, after its header; a row is path, class, hash."""
    writer = start_csv(file)
    writer.writerow(COLUMNS)
    return writer


def read_manifest(split: str) -> Manifest:
    """The manifest of train, val or test; a UserError names the line that check_images did not write."""
    path, names, paths, labels = manifest_path(split), read_classes(), [], []
    index = {name: label for label, name in enumerate(names)}
    content = path.read_bytes()
    rows = parse_csv(io.BytesIO(content), path)
    if next(rows, (1, []))[1] != COLUMNS:
        raise UserError(f"{path}: line 1: must be {','.join(COLUMNS)} {REMEDY}")
    for line, row in rows:
        if len(row) != len(COLUMNS):
            raise UserError(f"{path}: line {line}: {len(row)} values, not {len(COLUMNS)} {REMEDY}")
        if row[1] not in index:
            raise UserError(f"{path}: line {line}: {CLASSES} has no class {list_some(row[1:2])} {REMEDY}")
        paths.append(row[0])
        labels.append(index[row[1]])
    if not paths:
        raise UserError(f"{path}: no pictures {REMEDY}")
    return Manifest(paths, np.array(labels, dtype=np.int64), names, hashlib.sha256(content).hexdigest())


def read_digests(split: str) -> list[str]:
    """The hashes of a split's pictures."""
    return [row[2] for _, row in read_csv(manifest_path(split)) if row != COLUMNS]


def read_classes() -> tuple[str, ...]:
    """The names of the classes (C,), in the order of the labels."""
    names = read_json(CLASSES)
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise UserError(f"{CLASSES}: not a list of names {REMEDY}")
    if len(set(names)) < len(names):
        raise UserError(f"{CLASSES}: a name is listed twice {REMEDY}")
    return tuple(names)


class PackWriter:
    """Appends pictures to an .npy file whose number of rows is known only at the end."""

    def __init__(self, file: IO[bytes], shape: tuple[int, ...]):
        self.file, self.shape, self.count = file, shape, 0
        self.write_header()

    def append(self, pixels: bytes) -> None:
        """Add one row of the shape, mostly a picture: H x W x 3 bytes in row-major order."""
        assert len(pixels) == int(np.prod(self.shape))
        self.file.write(pixels)
        self.count += 1

    def write_header(self) -> None:
        """Write the header for the rows so far; numpy pads it, so the count can grow in place."""
        self.file.seek(0)
        header = {"descr": "|u1", "fortran_order": False, "shape": (self.count, *self.shape)}
        np.lib.format.write_array_header_1_0(self.file, header)
