"""A training's state as one file: a layout, all tensors in a row, a checksum.

Made to be cheap, since it is done again and again: tensors are copied into one buffer that is kept, and
written over an older file, whose pages the system already holds.
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
ALIGNED = 64  # bytes; where a tensor may begin
NEWEST, BEFORE, SPARE = "newest.state", "before.state", "spare.state"
MARK = "\0tensor "  # and its number: stands for a tensor in the layout


class Place(NamedTuple):
    """Where a tensor lies among the bytes of all."""

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    start: int  # bytes


class SnapshotWriter:
    """Keeps the newest two states in a folder; the older one's file is written over."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.kinds: list[tuple] = []  # of the tensors written last
        self.places = ""  # as JSON; torch.save would take a millisecond for each hundred
        self.views: list[Tensor] = []
        self.buffer = torch.empty(0, dtype=torch.uint8)

    def write(self, state: Any) -> None:
        """Put the state, nested tensors, numbers and text, on disk as the newest."""
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
        put(self.folder, layout, self.buffer)


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
    """Write a state over the older one's file, on to the disk, and make it the newest."""
    saved = io.BytesIO()
    torch.save(layout, saved)
    text, data, spare = saved.getbuffer(), buffer.numpy().data, folder / SPARE
    header = HEADER.pack(MAGIC, len(text), len(data), zlib.crc32(data, zlib.crc32(text)))
    try:
        if (folder / BEFORE).exists():
            os.replace(folder / BEFORE, spare)
        with open(os.open(spare, os.O_WRONLY | os.O_CREAT), "wb") as file:  # not emptied: written over
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
