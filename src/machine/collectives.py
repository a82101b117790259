"""Collective operations: split rows over processes and combine results; with one process, no-ops.

N rows of this process, M rows of all processes together.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn


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


def broadcast_from_main(content: bytes) -> bytes:
    """The first process's `content`, in every process."""
    if world() == 1:
        return content
    size = all_max(torch.tensor(len(content) if is_main() else 0))
    data = torch.frombuffer(bytearray(content), dtype=torch.uint8) if is_main() and content else None
    data = torch.empty(int(size), dtype=torch.uint8) if data is None else data
    dist.broadcast(data, src=0)
    return data.numpy().tobytes()
