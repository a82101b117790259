"""A training's state as one file, written beside the training: a layout, all tensors in a row, a checksum.

Saving after every epoch must cost next to nothing. So tensors are copied into one buffer that is kept, a
thread hashes and writes it, over an older file, whose pages the system already holds.
"""

import io
import json
import os
import struct
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from src.files import sync_folder

HEADER = struct.Struct("<8sQQI")  # magic, bytes of the layout, bytes of the tensors, CRC-32 of both
MAGIC = b"dojo\x00\x00\x00\x01"
ALIGNED = 64  # bytes; where a tensor may begin
NEWEST, BEFORE, SPARE, OLD = "newest.state", "before.state", "spare.state", "old.state"
MARK = "\0tensor "  # and its number: stands for a tensor in the layout


class Place(NamedTuple):
    """Where a tensor lies among the bytes of all."""

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    start: int  # bytes


class SnapshotWriter:
    """Keeps the newest two states in a folder, and a third file to write over."""

    def __init__(self, folder: Path):
        self.folder, self.pool = folder, ThreadPoolExecutor(1)
        self.kinds: list[tuple] = []  # of the tensors written last
        self.places = ""  # as JSON; torch.save would take a millisecond for each hundred
        self.views: list[Tensor] = []
        self.buffer = torch.empty(0, dtype=torch.uint8)
        self.writing: Future[None] | None = None

    def write(self, state: Any) -> None:
        """Copy the state, nested tensors, numbers and text, and begin to write; first ends the last write."""
        self.wait()
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
        self.writing = self.pool.submit(put, self.folder, layout, self.buffer)

    def wait(self) -> None:
        """Return when the last write is on disk; raises what it met."""
        if self.writing is not None:
            writing, self.writing = self.writing, None
            writing.result()


def lay_out(tensors: list[Tensor]) -> tuple[list[Place], int]:
    """Where each tensor comes to lie, and the bytes of all."""
    places, start = [], 0
    for tensor in tensors:
        strides = torch.empty_like(tensor, device="meta").stride()  # of a dense copy in the same order
        places.append(Place(str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), strides, start))
        start += -(-tensor.nbytes // ALIGNED) * ALIGNED
    return places, start


def view(buffer: Tensor, place: Place) -> Tensor:
    """The tensor that lies in the buffer, bytes (B,)."""
    dtype = getattr(torch, place.dtype)
    size = dtype.itemsize * torch.Size(place.shape).numel()
    return buffer[place.start : place.start + size].view(dtype).as_strided(place.shape, place.strides)


def put(folder: Path, layout: Any, buffer: Tensor) -> None:
    """Write a state over the spare file, on to the disk, and make it the newest."""
    file = io.BytesIO()
    torch.save(layout, file)
    text, data, spare = file.getbuffer(), buffer.numpy().data, folder / SPARE
    header = HEADER.pack(MAGIC, len(text), len(data), zlib.crc32(data, zlib.crc32(text)))
    try:
        with open(os.open(spare, os.O_WRONLY | os.O_CREAT), "wb") as file:  # not emptied: written over
            for part in (header, text, data):
                file.write(part)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        for source, target in ((BEFORE, OLD), (NEWEST, BEFORE), (SPARE, NEWEST), (OLD, SPARE)):
            if (folder / source).exists():
                os.replace(folder / source, folder / target)
        sync_folder(folder)
    except OSError as error:
        error.filename = str(spare)  # a full disk's error names no file
        raise


def parse(content: bytes) -> Any:
    """The state that a file's bytes hold; ValueError where they are not what was written."""
    if len(content) < HEADER.size or not content.startswith(MAGIC):
        raise ValueError("no state")
    _, layout_size, data_size, checksum = HEADER.unpack_from(content)
    body = memoryview(content)[HEADER.size :]
    if len(body) != layout_size + data_size:
        raise ValueError(f"{layout_size + data_size} bytes were written")
    if zlib.crc32(body) != checksum:
        raise ValueError("the checksum differs")
    layout = torch.load(io.BytesIO(body[:layout_size]), weights_only=True)
    buffer = torch.frombuffer(bytearray(body[layout_size:]) or bytearray(1), dtype=torch.uint8)
    tensors = [view(buffer, Place(*place)) for place in json.loads(layout["places"])]

    def filled(leaf: Any) -> Any:
        marked = isinstance(leaf, str) and leaf.startswith(MARK)
        return tensors[int(leaf.removeprefix(MARK))] if marked else leaf

    return tree_map(filled, layout["state"])
