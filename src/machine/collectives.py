"""Collective operations: split rows over processes and combine results; with one process, no-ops.

N rows of this process, M rows of all processes together.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")
MEETING = 1.0  # seconds between two signs of life of a first process that the others wait for


def rank() -> int:
    """The index of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """The number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this is the process that writes files and prints."""
    return rank() == 0


def all_sum(values: Tensor) -> Tensor:
    """The elementwise sum over all processes; changes `values` in place."""
    if world() > 1:
        dist.all_reduce(values)
    return values


def all_max(values: Tensor) -> Tensor:
    """The elementwise maximum over all processes; changes `values` in place."""
    if world() > 1:
        dist.all_reduce(values, dist.ReduceOp.MAX)
    return values


def all_rows(rows: Tensor) -> Tensor:
    """The rows (M, ...) of all processes, in rank order; each must have the same number N."""
    if world() == 1:
        return rows
    whole = rows.new_empty(world() * len(rows), *rows.shape[1:])
    dist.all_gather_into_tensor(whole, rows.contiguous())
    return whole


def own_slice(count: int) -> slice:
    """This process's part of `count` rows; `count` must be a multiple of the number of processes."""
    share = count // world()
    return slice(rank() * share, (rank() + 1) * share)


def share_buffers(model: nn.Module) -> None:
    """Copy the first process's buffers, BatchNorm's averages, to all before the model is measured."""
    if world() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def run_on_main(action: Callable[[], T]) -> T | None:
    """What `action` returns in the first process, None in the others, which wait however long it takes.

    It runs in a thread while the processes meet every second: the others would otherwise give up after
    distributed.timeout, but still do if the first process hangs or is gone.
    """
    if world() == 1:
        return action()
    if not is_main():
        while not all_max(torch.tensor(0)):
            pass
        return None
    with ThreadPoolExecutor(1) as thread:
        result = thread.submit(action)
        while not all_max(torch.tensor(int(bool(wait([result], MEETING).done)))):
            pass
    return result.result()


def broadcast_tensor(values: Tensor) -> Tensor:
    """The first process's `values` (B,) uint8, in every process; theirs may have any length."""
    if world() > 1:
        size = int(all_max(torch.tensor(len(values) if is_main() else 0)))
        values = values if is_main() else values.new_empty(size)
        dist.broadcast(values, src=0)
    return values


def broadcast_from_main(content: bytes) -> bytes:
    """The first process's `content`, in every process."""
    if world() == 1:
        return content
    own = torch.from_numpy(np.array(bytearray(content), np.uint8))
    return broadcast_tensor(own).numpy().tobytes()
