"""The format of packs above images.shard: a folder of packs, its shards, and a list of them.

A pack is one .npy file, or a folder of the same name, NAME.npy, that holds

    shards.json    the name and the number of rows of each shard, in their order
    00000.npy      rows 0 to m - 1 of the pack, in order
    00001.npy      the next m rows, ...; only the last may have fewer

m depends on the size of a row and on images.shard alone. So what is added to the end leaves the shards before
it as they are, and DVC stores and sends only the last ones again.
"""

import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from src.ground.errors import UserError
from src.ground.files import open_atomically, read_json, remove_unfinished, sync_folder, write_json
from src.pictures.manifest import REMEDY, PackWriter

LIST = "shards.json"


@dataclass(frozen=True)
class Shard:
    """A file of a pack, mapped; a pack of one file is its only shard."""

    path: Path
    rows: np.ndarray  # (n, ...) uint8


class ShardWriter:
    """Appends rows to the last shard, and begins another one when that is full."""

    def __init__(self, folder: Path, shape: Sequence[int], most: int):
        self.folder, self.shape, self.most = folder, tuple(shape), most
        self.counts: list[int] = []  # rows of the shards that are complete
        self.begin()

    def begin(self) -> None:
        self.stack = ExitStack()
        path = self.folder / f"{len(self.counts):05}.npy"
        self.writer = PackWriter(self.stack.enter_context(open_atomically(path, "wb")), self.shape)

    def append(self, pixels: bytes) -> None:
        """Add one row of the shape, mostly a picture: H x W x 3 bytes in row-major order."""
        if self.writer.count == self.most:
            self.complete()
            self.begin()
        self.writer.append(pixels)

    def complete(self) -> None:
        self.writer.write_header()
        self.stack.close()
        self.counts.append(self.writer.count)

    def abandon(self) -> None:
        """Close the last shard, of which nothing will be kept."""
        self.stack.close()


@contextmanager
def write_pack(path: Path, shape: Sequence[int], shard: float) -> Iterator[ShardWriter]:
    """A writer of rows of a shape; `path` appears when the block succeeds.

    It is a file if its rows take at most `shard` GiB, else a folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_unfinished(path)
    folder = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    most = max(1, int(min(shard * 2**30, 2**62)) // max(1, math.prod(shape)))
    try:
        writer = ShardWriter(folder, shape, most)
        try:
            yield writer
        except BaseException:
            writer.abandon()
            raise
        writer.complete()
        names = [f"{number:05}.npy" for number in range(len(writer.counts))]
        if len(names) > 1:
            listed = zip(names, writer.counts, strict=True)
            write_json(folder / LIST, [{"file": name, "rows": rows} for name, rows in listed])
        if path.is_dir() or len(names) > 1:  # nothing replaces a folder, nor a folder a file
            remove_pack(path)
        os.replace(folder if len(names) > 1 else folder / names[0], path)
        sync_folder(path.parent)
    except OSError as error:
        if str(error.filename).startswith(str(folder)):  # a full disk: the pack is what the user knows
            error.filename = str(path)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_pack(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def open_shards(path: Path) -> list[Shard]:
    """The shards of a pack, at least one; a UserError names the one that is missing or damaged."""
    if not path.is_dir():
        return [Shard(path, map_rows(path))]
    listed = read_list(path / LIST)
    shards = [Shard(path / name, map_rows(path / name)) for name in listed]
    for shard in shards:
        if shard.rows.shape != (listed[shard.path.name], *shards[0].rows.shape[1:]):
            raise UserError(
                f"{shard.path}: holds {shard.rows.shape}, {path / LIST} lists "
                f"{listed[shard.path.name]} rows of {shards[0].rows.shape[1:]} {REMEDY}"
            )
    return shards


def read_list(path: Path) -> dict[str, int]:
    """The number of rows of each shard by its file's name, in order."""
    if not path.exists():
        raise UserError(f"{path}: missing: it lists the shards of the pack {REMEDY}")
    found = read_json(path)
    try:
        listed = {str(Path(one["file"]).name): int(one["rows"]) for one in found}
    except (TypeError, KeyError, ValueError):
        listed = {}
    if not listed:
        raise UserError(f"{path}: not a list of shards {REMEDY}")
    return listed


def map_rows(path: Path) -> np.ndarray:
    try:
        rows = np.load(path, mmap_mode="r")
    except FileNotFoundError:
        if path.parent.suffix != ".npy":
            raise
        raise UserError(f"{path}: missing: this shard of the pack is gone {REMEDY}") from None
    except (ValueError, EOFError):
        raise UserError(f"{path}: damaged or not a pack {REMEDY}") from None
    if rows.dtype != np.uint8:
        raise UserError(f"{path}: holds {rows.dtype} {rows.shape}, not pictures {REMEDY}")
    return rows
