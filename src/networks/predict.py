"""Predictions of a network: each picture once, in the order of the file.

N pictures, C classes, H height, W width in pixels.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from src.batches.batch import scale_to_unit
from src.ground.chunks import list_chunks
from src.losses.bases import Base
from src.machine.collectives import all_max, all_sum, rank, world
from src.pictures.reading import Part, Pictures

Keep = Callable[[int, Tensor], Tensor]  # the first row of a batch and its logits (n, C) -> (n, ...) of it
AHEAD = 1  # batches read before they are needed
MOST_PROBABILITIES = 2**19  # of a part
MOST_PICTURES, MOST_PIXELS = 256, 2**21  # of a batch: larger ones take more memory and no less time on a CPU


def choose_batch_size(wanted: int | str, height: int, width: int) -> int:
    """The pictures of H x W pixels per batch: as wanted, or with auto as many as the limits allow."""
    return int(wanted) if wanted != "auto" else max(1, min(MOST_PICTURES, MOST_PIXELS // (height * width)))


def keep_all(start: int, logits: Tensor) -> Tensor:
    """The logits themselves."""
    return logits


@torch.inference_mode()
def predict_logits(
    model: nn.Module,
    pictures: Pictures,
    batch_size: int,
    device: torch.device,
    before_batch: Callable[[], None] = lambda: None,
    keep: Keep = keep_all,
) -> Tensor:
    """Logits (N, C) float32, on the CPU, of pictures uint8 (N, H, W, 3); puts the network in eval mode.

    Several processes take the batches in turns and all return every row. Each picture is in the same batch
    as with one process, so the logits are identical to the last bit. All call `before_batch` equally often.
    Not the logits but what `keep` makes of those of each batch is returned, (N, ...).
    """
    model.eval()
    own: dict[int, Tensor] = {}
    starts = range(rank() * batch_size, len(pictures), world() * batch_size)
    batches = read_ahead(pictures, starts, batch_size, device)
    for _ in range(0, len(pictures), world() * batch_size):
        before_batch()
        for start, images in islice(batches, 1):
            logits = model(scale_to_unit(images.to(device, non_blocking=True))).float()
            settle(own, keep)  # the batch before: a GPU has this one to compute by now
            own[start] = logits
    settle(own, keep)
    columns = all_max(torch.tensor([max((part.shape[1] for part in own.values()), default=0)]))
    logits = torch.zeros(len(pictures), int(columns))
    for start, part in own.items():
        logits[start : start + len(part)] = part
    return all_sum(logits)


def read_ahead(
    pictures: Pictures, starts: Iterable[int], batch_size: int, device: torch.device
) -> Iterator[tuple[int, Tensor]]:
    """The images (n, 3, H, W) uint8 of the batches at `starts`, each read while the one before is used."""

    def read(start: int) -> tuple[int, Tensor]:
        images = torch.from_numpy(np.array(pictures[start : start + batch_size])).permute(0, 3, 1, 2)
        return start, images.pin_memory() if device.type == "cuda" else images

    with ThreadPoolExecutor(1) as pool:
        waiting = deque[Future[tuple[int, Tensor]]]()
        for start in starts:
            waiting.append(pool.submit(read, start))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def settle(logits: dict[int, Tensor], keep: Keep) -> None:
    """Bring those that were computed last to the CPU, which waits for them, and keep what is wanted."""
    if logits:
        start = next(reversed(logits))
        logits[start] = keep(start, logits[start].cpu())


def predict_each(
    models: Sequence[nn.Module],
    asked: np.ndarray,
    pictures: Pictures,
    base: Base,
    batch_size: int,
    device: torch.device,
    classes: int,
) -> Iterator[tuple[slice, np.ndarray]]:
    """What predict_probs says, of each picture by the model whose number is in `asked` (N,).

    Part by part, in bounded memory: rows and their probabilities (n, C).
    """
    for rows in list_parts(len(pictures), world() * batch_size, classes):
        probs = np.empty((rows.stop - rows.start, classes))
        for number in np.unique(asked[rows]).tolist():
            own = np.flatnonzero(asked[rows] == number)
            probs[own] = predict_probs(
                models[number], Part(pictures, own + rows.start), base, batch_size, device
            )
        yield rows, probs


def list_parts(count: int, together: int, classes: int) -> Iterator[slice]:
    """The rows of each part of `count` pictures, of which `together` are in a batch, or in one per process.

    Of one model a part ends where batches do, so that these are the same as without parts.
    """
    step = together * max(1, MOST_PROBABILITIES // (together * classes))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def predict_probs(
    model: nn.Module, pictures: Pictures, base: Base, batch_size: int, device: torch.device
) -> np.ndarray:
    """Probabilities (N, C) float64 of pictures uint8 (N, H, W, 3), computed by `base` from the logits."""
    logits = predict_logits(model, pictures, batch_size, device)
    probs = np.empty(logits.shape)
    for part in list_chunks(*logits.shape):
        probs[part] = base.probs(logits[part].double()).numpy()
    return probs
