"""The state of a training: what must be saved so that it resumes as if it had not been interrupted."""

import time
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_map_only

from src.machine.collectives import broadcast_from_main, is_main
from src.training.snapshot import BEFORE, NEWEST, SnapshotWriter, parse

COST = 0.01  # share of a training's time that saving may take; epochs too short for that are not saved


class State:
    """The interface of a training's state; this base class saves nothing, `Saved` does."""

    def __init__(self) -> None:
        self.parts: dict[str, Any] = {}

    def track(self, **parts: Any) -> None:
        """Register the parts to save and restore: each has state_dict() and load_state_dict()."""
        self.parts = parts

    def restore(self, device: torch.device) -> Path | None:
        """Restore the parts as they were saved; returns from where, or None if nothing was saved."""
        return None

    def save(self) -> None:
        """Save the parts as they are now."""

    def save_if_cheap(self) -> None:
        """Save, if that takes at most COST of the time since the last save."""


class Saved(State):
    """The state in a folder; only the main process reads and writes, the others receive what it read."""

    def __init__(self, folder: Path):
        super().__init__()
        self.folder, self.writer = folder, SnapshotWriter(folder)
        self.saved, self.seconds = 0.0, 0.0  # when the last save finished, how long it took

    def restore(self, device: torch.device) -> Path | None:
        content = broadcast_from_main(read_newest(self.folder) if is_main() else b"")
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


def read_newest(folder: Path) -> bytes:
    """The bytes of the newest undamaged state; empty if there is none."""
    for path in (folder / NEWEST, folder / BEFORE):
        if not path.exists():
            continue
        content = path.read_bytes()
        try:
            parse(content)
            return content
        except ValueError as why:
            print(f"warning: {path}: damaged, {len(content)} bytes: {why}; trying the previous state")
    return b""
