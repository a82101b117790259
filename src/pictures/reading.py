"""The pictures of a split as an array: from the pack or, if they are not packed, from the files.

N pictures, n of them at a time, H height, W width in pixels.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from src.ground.errors import UserError
from src.ground.params import read
from src.ground.texts import Texts
from src.machine.cores import count_cores
from src.pictures.decode import BadPicture
from src.pictures.fitting import fit_picture, resize
from src.pictures.grey import GreyRange, read_grey_range
from src.pictures.manifest import REMEDY, Manifest, manifest_path, pack_path, read_manifest
from src.pictures.reduced import decode_sound
from src.pictures.shards import open_shards


class Pack:
    """The pictures of a pack, uint8 (N, H, W, 3), mapped from its file or files.

    A process that it is sent to gets the path and maps them itself; an array would be sent whole.
    """

    def __init__(self, path: Path):
        self.path = path.absolute()
        parts: list[Pictures] = [shard.rows for shard in open_shards(path)]
        self.pictures = parts[0] if len(parts) == 1 else Joined(parts)
        self.shape = self.pictures.shape
        if len(self.shape) != 4 or self.shape[3] != 3:
            raise UserError(f"{path}: holds {self.shape}, not pictures {REMEDY}")

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, rows: slice | np.ndarray | list[int]) -> np.ndarray:
        """The pictures of a slice or of indices (n,): uint8 (n, H, W, 3)."""
        return self.pictures[rows]

    def __reduce__(self) -> tuple[type, tuple[Path]]:
        return Pack, (self.path,)


class FilePictures:
    """Behaves like a pack, uint8 (N, H, W, 3), but decodes and fits pictures on access."""

    def __init__(
        self,
        root: Path,
        paths: list[str],
        height: int,
        width: int,
        fit: str,
        dct_scaling: bool,
        grey_range: GreyRange,
    ):
        self.root, self.shape = root, (len(paths), height, width, 3)
        self.fit, self.dct_scaling, self.grey_range = fit, dct_scaling, grey_range
        self.paths = Texts(paths)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray | list[int]) -> np.ndarray:
        """The pictures of a slice or of indices (n,): uint8 (n, H, W, 3)."""
        numbers = np.arange(len(self))[rows]
        pictures = np.empty((len(numbers), *self.shape[1:]), np.uint8)
        threads = 1 if parent_process() else count_cores()  # a worker is one of as many as it should be
        with ThreadPoolExecutor(threads) as pool:  # decoding and resizing release the GIL
            for row, picture in enumerate(pool.map(self.load_picture, numbers)):
                pictures[row] = picture
        return pictures

    def load_picture(self, number: int) -> np.ndarray:
        """One picture (H, W, 3)."""
        path = self.root / self.paths[number]
        _, height, width, _ = self.shape
        try:
            content = path.read_bytes()
            part = decode_sound(content, height, width, self.fit, self.dct_scaling, self.grey_range)
        except (BadPicture, OSError) as error:
            why = getattr(error, "strerror", None) or str(error).partition(" (")[0]
            raise UserError(f"{path}: {why}, but check_images accepted it (run dvc repro)") from None
        return np.asarray(fit_picture(part.image, height, width, self.fit, part.size, part.box))


def read_pictures(split: str, fit: str, dct_scaling: bool) -> "Pictures":
    """The pictures of train, val or test: uint8 (N, H, W, 3), or an object that behaves like it.

    Their location, data.root, is not a param of the stages that call this: it has no effect on results, and
    the pictures' hashes are in the manifest.
    """
    pack = Pack(pack_path(split))
    return pack if len(pack) else read_files(pack, read_manifest(split).paths, fit, dct_scaling)


def open_pictures(path: Path, paths: list[str], fit: str, dct_scaling: bool) -> "Pictures":
    """The pictures of a pack, or if it is empty those of the files, relative to the root."""
    pack = Pack(path)
    return pack if len(pack) else read_files(pack, paths, fit, dct_scaling)


def read_files(pack: Pack, paths: list[str], fit: str, dct_scaling: bool) -> FilePictures:
    """The pictures of files, relative to the root, at the size of an empty pack."""
    _, height, width, _ = pack.shape
    root = Path(read(str, "data.root"))
    return FilePictures(root, paths, height, width, fit, dct_scaling, read_grey_range())


def check_count(pictures: "Pictures", manifest: Manifest, split: str) -> None:
    """Refuse pictures that are not as many as the manifest's: labels would be of other pictures."""
    if len(pictures) != len(manifest.paths):
        path, listed = pack_path(split), len(manifest.paths)
        raise UserError(f"{path}: {len(pictures)} pictures, {manifest_path(split)} lists {listed} {REMEDY}")


@dataclass(frozen=True)
class LearningPictures:
    """The pictures of train and val, with their labels."""

    train: Manifest
    val: Manifest
    train_pictures: "Pictures"  # uint8 (N, h, w, 3), larger than val's if packed with a margin
    val_pictures: "Pictures"  # uint8 (N, H, W, 3)
    fit: str  # how they fill the input

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the network's input in pixels."""
        _, height, width, _ = self.val_pictures.shape
        return height, width


def read_learning_pictures(fit: str, dct_scaling: bool) -> LearningPictures:
    """The pictures of train and val, read with `read_pictures`."""
    learning = LearningPictures(
        read_manifest("train"),
        read_manifest("val"),
        read_pictures("train", fit, dct_scaling),
        read_pictures("val", fit, dct_scaling),
        fit,
    )
    check_count(learning.train_pictures, learning.train, "train")
    check_count(learning.val_pictures, learning.val, "val")
    return learning


def resize_pictures(pictures: "Pictures", height: int, width: int) -> "Pictures":
    """The same pictures at the given size; those of train may be packed larger (images.pack_margin)."""
    return pictures if pictures.shape[1:3] == (height, width) else ResizedPictures(pictures, height, width)


class ResizedPictures:
    """Pictures, uint8 (N, H, W, 3), that are resized on access."""

    def __init__(self, pictures: "Pictures", height: int, width: int):
        self.pictures, self.shape = pictures, (len(pictures), height, width, 3)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray | list[int]) -> np.ndarray:
        larger = self.pictures[rows]
        return np.stack([resize(picture, *self.shape[1:3]) for picture in larger])


class Joined:
    """Several pictures of one size after another, uint8 (N, H, W, 3), read on access."""

    def __init__(self, parts: "list[Pictures]"):
        self.parts, self.ends = parts, np.cumsum([len(part) for part in parts])
        self.shape = (int(self.ends[-1]), *parts[0].shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray | list[int]) -> np.ndarray:
        numbers = number_rows(rows, len(self))
        places = np.searchsorted(self.ends, numbers, side="right")
        pictures = np.empty((len(numbers), *self.shape[1:]), np.uint8)
        for place in np.unique(places).tolist():
            own = places == place
            start = self.ends[place - 1] if place else 0
            pictures[own] = self.parts[place][numbers[own] - start]
        return pictures


def number_rows(rows: slice | np.ndarray | list[int], count: int) -> np.ndarray:
    """The numbers (n,) of the rows that a slice or indices, none of them negative, choose of `count`."""
    return np.arange(*rows.indices(count)) if isinstance(rows, slice) else np.asarray(rows)


class Part:
    """The pictures of a slice or of indices (n,), uint8 (n, H, W, 3), read on access."""

    def __init__(self, pictures: "Pictures", rows: slice | np.ndarray):
        self.pictures, self.numbers = pictures, np.arange(len(pictures))[rows]
        self.shape = (len(self.numbers), *pictures.shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray | list[int]) -> np.ndarray:
        return self.pictures[self.numbers[rows]]


class Pictures(Protocol):
    """Pictures uint8 (N, H, W, 3): an array, or what reads or makes its rows on access."""

    @property
    def shape(self) -> Any: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> np.ndarray: ...
