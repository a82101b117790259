"""Training a classifier alone: what a frozen backbone makes of each picture is computed once and kept.

The features of a training are one file, .scratch/features/<hash>.npy of the main checkout; the hash is that
of the backbone and of the pictures as it sees them. N pictures, M of them trained on, V views of each, F
features.
"""

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from src.batches.data import TrainingSet
from src.batches.views import View
from src.ground.chunks import list_chunks
from src.ground.files import open_atomically
from src.machine.collectives import all_max, broadcast_from_main, broadcast_tensor, run_on_main
from src.networks.freezing import BACKBONE
from src.networks.head import Features, split_off_head
from src.networks.network import Network
from src.networks.predict import predict_logits
from src.networks.pretrained import hash_tensors
from src.training.job import Job
from src.training.validation import Validation

FOLDER = Path(os.environ.get("DVC_ROOT", ".")) / ".scratch/features"
KEPT = 3  # files besides the current one; older ones are removed
DIGEST = hashlib.sha256().digest_size  # bytes


@dataclass(frozen=True, kw_only=True)
class FeatureSet(TrainingSet):
    """A training set whose images are features (n, F) float32; the order of the batches is the same."""

    features: np.ndarray  # (V, M, F), in the order of `rows`
    places: np.ndarray  # (N,): where a picture is in `rows`

    def load_images(self, epoch: int, done: int) -> Iterable[Tensor]:
        for view, numbers in self.list_tasks(epoch)[done:]:
            yield torch.from_numpy(self.features[view - 1][self.places[numbers]])


@dataclass(frozen=True, kw_only=True)
class FeatureValidation(Validation):
    """Measures a classifier on the features of the validation pictures."""

    features: np.ndarray  # (N, F)

    @torch.inference_mode()
    def predict(self, model: nn.Module, before_batch: Callable[[], None]) -> Tensor:
        found = []
        for rows in list_chunks(*self.features.shape):
            before_batch()
            part = torch.from_numpy(np.array(self.features[rows])).to(self.device)
            found.append(self.compare(rows.start, model.eval()(part).float().cpu()))
        return torch.cat(found)


def learn_from_features(job: Job) -> Job:
    """The same training of the classifier on features, if its backbone is frozen and its pictures repeat.

    The job itself if they do not, or if the network has no head that could be trained alone. The result is
    the same up to rounding: the network sees the pictures in other batches.
    """
    data, validation = job.data, job.validation
    changed = data.listen or any(data.transforms(epoch) for epoch in range(1, job.settings.epochs + 1))
    if job.settings.freeze != BACKBONE or not data.views or changed:
        return job
    network, size = job.network.to(job.device), validation.pictures.shape[1:3]
    parts = split_off_head(network, size)
    if parts is None:
        return job
    features, head = parts
    views = [
        View(data.pictures, data.augment, data.view_seed, view, data.rows, size)
        for view in range(1, min(data.views, job.settings.epochs) + 1)
    ]
    found = load_or_compute(features, [*views, validation.pictures], validation.batch_size, job.device)
    print(f"{job.key}.freeze: the classifier learns from {found.shape[1]} features per picture")
    own = len(views) * len(data.rows)
    places = np.zeros(len(data.pictures), np.int64)
    places[data.rows] = np.arange(len(data.rows))
    return replace(
        job,
        head=head,
        data=FeatureSet(
            **list_values(data),
            features=found[:own].reshape(len(views), len(data.rows), -1),
            places=places,
        ),
        validation=FeatureValidation(**list_values(validation), features=found[own:]),
    )


def list_values(one: TrainingSet | Validation) -> dict:
    """The fields of a dataclass by name."""
    return {field.name: getattr(one, field.name) for field in fields(one)}


def load_or_compute(
    features: Features, parts: Sequence[Any], batch_size: int, device: torch.device
) -> np.ndarray:
    """The features (rows of all parts, F) float32 of pictures, from their file if there is one.

    Only the first process reads and writes; all compute. A file is used if it is as it was written and its
    first batch is what the network computes now, to the last bit: other instructions, threads or libraries
    round otherwise.
    """
    key = broadcast_from_main(run_on_main(lambda: hash_inputs(features.network, parts, batch_size)) or b"")
    path = FOLDER / f"{key.decode()}.npy"
    first = predict_logits(features, parts[0][:batch_size], batch_size, device).numpy()
    found = run_on_main(lambda: read_features(path, sum(map(len, parts)), first))
    if all_max(torch.tensor(int(found is not None))):
        return share_features(found, first.shape[1])
    whole = [predict_logits(features, part, batch_size, device) for part in parts]
    computed = torch.cat(whole).numpy()
    run_on_main(lambda: write_features(path, computed))
    return computed


def hash_inputs(network: Network, parts: Sequence[Any], batch_size: int) -> bytes:
    """A hash, in hexadecimal digits, of the backbone's tensors and of every picture as it sees it."""
    state = network.state_dict()
    backbone = {
        name: tensor.cpu()
        for name, tensor in state.items()
        if not network.is_in_classifier(name.removeprefix("net."))
    }
    whole = hashlib.sha256(f"{hash_tensors(backbone)} {batch_size}".encode())
    for part in parts:
        whole.update(repr(part.shape).encode())
        for start in range(0, len(part), batch_size):
            whole.update(np.ascontiguousarray(part[start : start + batch_size]).data)
    return whole.hexdigest()[:16].encode()


def read_features(path: Path, count: int, first: np.ndarray) -> np.ndarray | None:
    """The features in a file, (count, F), mapped; None without it, or if they do not begin with `first`.

    Also None if the file is not what was written, by the hash at its end: a wrong byte would change results.
    """
    try:
        content = np.memmap(path, np.uint8, mode="r")
        if hashlib.sha256(content[:-DIGEST].data).digest() != content[-DIGEST:].tobytes():
            return None
        found = np.load(path, mmap_mode="c")
        path.touch()
    except (OSError, ValueError):
        return None
    fits = found.dtype == first.dtype and found.shape == (count, first.shape[1])
    return found if fits and np.array_equal(found[: len(first)], first) else None


def share_features(found: np.ndarray | None, width: int) -> np.ndarray:
    """The first process's features (rows, width), in every process."""
    own = torch.empty(0) if found is None else torch.from_numpy(found)
    return broadcast_tensor(own.flatten().view(torch.uint8)).view(torch.float32).view(-1, width).numpy()


def write_features(path: Path, features: np.ndarray) -> None:
    """Write the file, with the hash of all that at its end, then remove the older ones but KEPT.

    A full disk costs a warning and no training.
    """
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(features))
    hashed = hashlib.sha256()
    try:
        with open_atomically(path, "wb") as file:
            for part in (header.getvalue(), features.data):  # np.save would not say that a disk is full
                hashed.update(part)
                file.write(part)
            file.write(hashed.digest())
    except OSError as error:
        print(f"warning: {path}: {error.strerror or error}; the features are not kept for another training")
        return
    others = [other for other in path.parent.glob("*.npy") if other != path]
    for old in sorted(others, key=lambda other: other.stat().st_mtime, reverse=True)[KEPT:]:
        old.unlink(missing_ok=True)
