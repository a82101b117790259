"""A training's state as one file: a layout, all tensors in a row, a checksum.

Saving must be cheap, since it is frequent: tensors are copied into one reused buffer, which overwrites an
older file, whose pages the system already holds.
"""

import io
import json
import os
import struct
import zlib
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from src.ground.files import sync_folder

HEADER = struct.Struct("<8sQQI")  # magic, bytes of the layout, bytes of the tensors, CRC-32 of both
MAGIC = b"dojo\x00\x00\x00\x01"
ALIGNED = 64  # bytes; every tensor starts at a multiple of it
NEWEST, BEFORE, SPARE = "newest.state", "before.state", "spare.state"
MARK = "\0tensor "  # with a number: a tensor's placeholder in the layout


class Place(NamedTuple):
    """Where a tensor is in the buffer."""

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    start: int  # bytes


class SnapshotWriter:
    """Keeps the newest two states in a folder; a new state overwrites the older one's file."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.kinds: list[tuple] = []  # of the tensors written last
        self.places = ""  # as JSON; torch.save would take a millisecond per hundred
        self.views: list[Tensor] = []
        self.buffer = torch.empty(0, dtype=torch.uint8)

    def write(self, state: Any) -> None:
        """Write the state, nested tensors, numbers and text, to disk as the newest."""
        leaves, spec = tree_flatten(state)
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        kinds = [(tensor.dtype, tensor.shape, tensor.stride()) for tensor in tensors]
        if kinds != self.kinds:
            places, size = lay_out(tensors)
            self.kinds, self.places = kinds, json.dumps(places)
            self.buffer = torch.empty(size, dtype=torch.uint8)
            self.views = [view(self.buffer, place) for place in places]
        torch._foreach_copy_(self.views, tensors)
        number = count()
        marked = [f"{MARK}{next(number)}" if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        layout = {"places": self.places, "state": tree_unflatten(marked, spec)}
        write_file(self.folder, layout, self.buffer)


def lay_out(tensors: list[Tensor]) -> tuple[list[Place], int]:
    """The place of each tensor in the buffer, and the buffer's size in bytes."""
    places, start = [], 0
    for tensor in tensors:
        strides = torch.empty_like(tensor, device="meta").stride()  # of a dense copy in the same order
        places.append(Place(str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), strides, start))
        start += -(-tensor.nbytes // ALIGNED) * ALIGNED
    return places, start


def view(buffer: Tensor, place: Place) -> Tensor:
    """The tensor at `place` in the buffer, bytes (B,)."""
    dtype = getattr(torch, place.dtype)
    size = dtype.itemsize * torch.Size(place.shape).numel()
    return buffer[place.start : place.start + size].view(dtype).as_strided(place.shape, place.strides)


def write_file(folder: Path, layout: Any, buffer: Tensor) -> None:
    """Overwrite the older state's file, flush it to disk, and make it the newest."""
    saved = io.BytesIO()
    torch.save(layout, saved)
    text, data, spare = saved.getbuffer(), buffer.numpy().data, folder / SPARE
    header = HEADER.pack(MAGIC, len(text), len(data), zlib.crc32(data, zlib.crc32(text)))
    try:
        if (folder / BEFORE).exists():
            os.replace(folder / BEFORE, spare)
        with open(os.open(spare, os.O_WRONLY | os.O_CREAT), "wb") as file:  # overwritten, not truncated first
            for part in (header, text, data):
                file.write(part)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        if (folder / NEWEST).exists():
            os.replace(folder / NEWEST, folder / BEFORE)
        os.replace(spare, folder / NEWEST)
        sync_folder(folder)
    except OSError as error:
        error.filename = str(spare)  # the error of a full disk names no file
        raise


def read_file(path: Path) -> tuple[bytes, Tensor]:
    """The layout and the buffer (B,) in a state's file, in memory once; a ValueError if it is damaged."""
    with open(path, "rb") as file:
        header = file.read(HEADER.size)
        if len(header) < HEADER.size or not header.startswith(MAGIC):
            raise ValueError("not a saved state")
        _, layout_size, data_size, checksum = HEADER.unpack(header)
        written = HEADER.size + layout_size + data_size
        if os.fstat(file.fileno()).st_size != written:
            raise ValueError(f"{written} bytes were written")
        layout, buffer = file.read(layout_size), torch.empty(data_size, dtype=torch.uint8)
        data, count = buffer.numpy().data, 0
        while read := file.readinto(data[count:]):
            count += read
    if zlib.crc32(data, zlib.crc32(layout)) != checksum:
        raise ValueError("the checksum differs")
    return layout, buffer


def parse(layout: bytes, buffer: Tensor) -> Any:
    """The state, its tensors as views of the buffer (B,)."""
    content = torch.load(io.BytesIO(layout), weights_only=True)
    tensors = [view(buffer, Place(*place)) for place in json.loads(content["places"])]

    def fill(leaf: Any) -> Any:
        marked = isinstance(leaf, str) and leaf.startswith(MARK)
        return tensors[int(leaf.removeprefix(MARK))] if marked else leaf

    return tree_map(fill, content["state"])
