"""What a training needs to go on after any kill as if nothing had happened; no out of DVC.

A run's state lies in .scratch/<stage>/<fingerprint>/ of the main checkout. The fingerprint is a hash of all
that decides the result: params, dependencies and sources as dvc.yaml lists them, versions of the libraries.
"""

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from ruamel.yaml import YAML
from torch.utils._pytree import tree_map_only

from src.ground.errors import UserError
from src.ground.files import read_json, sha256, sha256_of, write_json
from src.ground.params import flat, value_at
from src.machine.distributed import from_main, is_main
from src.training.snapshot import BEFORE, NEWEST, SnapshotWriter, parse

GRAPH = Path("dvc.yaml")
SCRATCH = Path(os.environ.get("DVC_ROOT", ".")) / ".scratch"
INPUTS, LOCK = "inputs.json", "lock"
COST = 0.01  # of a training's time that saving may take; after an epoch too short for that nothing is saved
PATIENCE = 10.0  # seconds that a run waits for one that is just ending
SAMPLE = 256  # pictures of a pack that are hashed; the manifest holds a hash of each
LIBRARIES = ("torch", "torchvision", "timm", "numpy", "pillow", "kornia")


class State:
    """The parts of a training, and no memory of them; `fit` asks the same of the one that has it."""

    def __init__(self) -> None:
        self.parts: dict[str, Any] = {}

    def hold(self, **parts: Any) -> None:
        """Name what is saved and restored: each has state_dict() and load_state_dict()."""
        self.parts = parts

    def restore(self, device: torch.device) -> Path | None:
        """Put the parts back as they were saved; where from, or None if nothing was."""
        return None

    def save(self) -> None:
        """Keep the parts as they are."""

    def save_if_cheap(self) -> None:
        """The same, if it costs less than COST of the time since the last save."""


class Saved(State):
    """The state in a folder; the first process alone reads and writes, the others get what it read."""

    def __init__(self, folder: Path):
        super().__init__()
        self.folder, self.writer = folder, SnapshotWriter(folder)
        self.saved, self.seconds = 0.0, 0.0  # when the last save ended, how long it took

    def restore(self, device: torch.device) -> Path | None:
        content = from_main(newest_sound(self.folder) if is_main() else b"")
        if not content:
            return None
        state = tree_map_only(torch.Tensor, lambda tensor: tensor.to(device), parse(content))
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        return self.folder

    def save(self) -> None:
        if is_main():
            began = time.monotonic()
            self.writer.write({name: part.state_dict() for name, part in self.parts.items()})
            self.saved = time.monotonic()
            self.seconds = self.saved - began

    def save_if_cheap(self) -> None:
        if time.monotonic() - self.saved >= self.seconds / COST:
            self.save()


def newest_sound(folder: Path) -> bytes:
    """The bytes of the newest state whose checksum holds, none if no state's does."""
    for path in (folder / NEWEST, folder / BEFORE):
        if not path.exists():
            continue
        content = path.read_bytes()
        try:
            parse(content)
            return content
        except ValueError as why:
            print(f"warning: {path}: damaged, {len(content)} bytes: {why}; the state before it is tried")
    return b""


@contextmanager
def resumable(stage: str, item: str, device: torch.device) -> Iterator[Saved]:
    """The state of this stage's run; removed when the block ends well, kept for the next try otherwise.

    UserError where another process writes the same run, or where another machine has other inputs.
    """
    inputs = inputs_of(stage, item) | {"device": device.type}
    fingerprint = sha256_of(inputs)
    if from_main(fingerprint.encode()) != fingerprint.encode():
        raise UserError(
            f"{SCRATCH}: this machine has other params, data, sources or libraries than the first (copy them)"
        )
    folder = SCRATCH / f"{stage}{'@' * bool(item)}{item}" / fingerprint[:16]
    if not is_main():
        yield Saved(folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        if not (folder / NEWEST).exists() and not (folder / BEFORE).exists():
            say_what_differs(folder, inputs)
        write_json(folder / INPUTS, inputs)
        yield Saved(folder)
        shutil.rmtree(folder)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the system releases when this process ends, however it does."""
    with open(folder / LOCK, "a+") as file:
        if not patiently_lock(file):
            file.seek(0)
            raise UserError(
                f"{folder}: another training (process {file.read().strip()}) is writing this run (let it "
                "end, or stop it)"
            )
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def patiently_lock(file: IO[str]) -> bool:
    """Lock an open file; False if another process still holds it after PATIENCE."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(0.1)


def inputs_of(stage: str, item: str) -> dict[str, Any]:
    """All that decides the result of a stage, by its name: values of params, hashes of files."""
    entry = YAML(typ="safe").load(GRAPH.read_text(encoding="utf-8"))["stages"][stage]
    entry = entry.get("do", entry)
    params = [key.replace("${item}", item) for key in entry["params"]]
    values = {key: value for word in params for key, value in flat(value_at(word), word)}
    weights = [Path(v) for k, v in values.items() if k.endswith(".pretrained") and Path(v).is_file()]
    files = [path for dep in entry["deps"] for path in files_of(Path(dep))]
    libraries = {name: version(name) for name in LIBRARIES}
    return values | {str(path): digest(path) for path in files + weights} | libraries


def files_of(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def digest(path: Path) -> str:
    """The hash of a file; of a pack that of some of its pictures, since it may be larger than the memory."""
    if path.suffix != ".npy":
        return sha256(path)
    pack = np.load(path, mmap_mode="r")
    rows = np.linspace(0, max(len(pack) - 1, 0), min(len(pack), SAMPLE)).astype(int)
    return hashlib.sha256(repr(pack.shape).encode() + pack[rows].tobytes()).hexdigest()


def say_what_differs(folder: Path, inputs: Mapping[str, Any]) -> None:
    """Name what keeps the newest unfinished run of the stage from being gone on with."""
    others = [path for path in folder.parent.glob(f"*/{INPUTS}") if (path.parent / NEWEST).exists()]
    if not others:
        return
    newest = max(others, key=lambda path: path.stat().st_mtime)
    old = read_json(newest)
    keys = [key for key in sorted(old.keys() | inputs.keys()) if old.get(key) != inputs.get(key)]
    first = ", ".join(told(key, old, inputs) for key in keys[:3])
    first += f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    print(f"{newest.parent}: an unfinished run, but {first} changed since: starting anew")


def told(key: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """A param with its two values, a file with its name alone."""
    if Path(key).exists() or key not in old or key not in new:
        return key
    return f"{key} ({old[key]}, now {new[key]})"
