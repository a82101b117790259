"""The state of a training: what must be saved so that it resumes as if it had not been interrupted."""

import time
from pathlib import Path
from typing import Any

import torch

from src.machine.collectives import (
    all_max,
    broadcast_from_main,
    broadcast_tensor,
    is_main,
    run_on_main,
)
from src.training.snapshot import BEFORE, NEWEST, SnapshotWriter, parse, read_file

NOTHING = b"", torch.empty(0, dtype=torch.uint8)
COST = 0.01  # share of a training's time that saving may take; epochs too short for that are not saved


class State:
    """The interface of a training's state; this base class saves nothing, `Saved` does."""

    def __init__(self) -> None:
        self.parts: dict[str, Any] = {}

    def track(self, **parts: Any) -> None:
        """Register the parts to save and restore: each has state_dict() and load_state_dict()."""
        self.parts = parts

    def restore(self) -> Path | None:
        """Restore the parts as they were saved; returns from where, or None if nothing was saved.

        Each gets its state on the CPU and places it itself: what an optimizer counts belongs there.
        """
        return None

    def save(self) -> None:
        """Save the parts as they are now."""

    def save_if_cheap(self) -> None:
        """Save, if that takes at most COST of the time since the last save."""


class Saved(State):
    """The state in a folder; only the first process reads and writes, the others wait and receive.

    Every process calls every method at the same time.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.folder, self.writer = folder, SnapshotWriter(folder)
        self.saved, self.seconds = 0.0, 0.0  # when the last save finished, how long it took

    def restore(self) -> Path | None:
        layout, buffer = run_on_main(lambda: read_newest(self.folder)) or NOTHING
        layout, buffer = broadcast_from_main(layout), broadcast_tensor(buffer)
        if not layout:
            return None
        state = parse(layout, buffer)
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        return self.folder

    def save(self) -> None:
        state, began = {name: part.state_dict() for name, part in self.parts.items()}, time.monotonic()
        run_on_main(lambda: self.writer.write(state))
        self.saved = time.monotonic()
        self.seconds = self.saved - began

    def save_if_cheap(self) -> None:
        cheap = is_main() and time.monotonic() - self.saved >= self.seconds / COST
        if all_max(torch.tensor(int(cheap))):
            self.save()


def read_newest(folder: Path) -> tuple[bytes, torch.Tensor]:
    """The layout and buffer of the newest undamaged state; empty if there is none."""
    for path in (folder / NEWEST, folder / BEFORE):
        if not path.exists():
            continue
        try:
            return read_file(path)
        except ValueError as why:
            print(f"warning: {path}: damaged, {path.stat().st_size} bytes: {why}; trying the previous state")
    return NOTHING
