"""Where the state of an interrupted run is saved, and who may write it; it is not a DVC output.

The folder is .scratch/<stage>/<fingerprint>/ of the main checkout; the fingerprint is a hash of everything
that determines the result. Beside it is its lock: a shared disk cannot remove a folder with an open file.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import torch

from src.ground.errors import UserError
from src.ground.files import sha256_of, write_json
from src.machine.collectives import broadcast_from_main, is_main
from src.training.fingerprint import INPUTS, collect_inputs, print_differences
from src.training.snapshot import BEFORE, NEWEST
from src.training.state import Saved

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

SCRATCH = Path(os.environ.get("DVC_ROOT", ".")) / ".scratch"
PATIENCE = 10.0  # seconds to wait for a previous run that is shutting down
KEPT = 3  # unfinished runs of a stage besides the current one; older ones are removed


@contextmanager
def open_state(stage: str, item: str, device: torch.device) -> Iterator[Saved]:
    """The state of this stage's run; removed when the block succeeds, kept for the next attempt otherwise.

    A UserError if another process is writing the same run, or if another machine has different inputs.
    """
    inputs = collect_inputs(stage, item) | {"device": device.type}
    fingerprint = sha256_of(inputs)
    if broadcast_from_main(fingerprint.encode()) != fingerprint.encode():
        raise UserError(
            f"{SCRATCH}: params, data, sources or libraries differ from the first machine's (copy them)"
        )
    runs = SCRATCH / f"{stage}{'@' * bool(item)}{item}"
    folder = runs / fingerprint[:16]
    if not is_main():
        yield Saved(folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with hold_lock(folder):
        if not has_state(folder):
            print_differences(folder, inputs)
        write_json(folder / INPUTS, inputs)
        for path in remove_runs(runs, KEPT, folder):
            print(f"{path}: an older unfinished run, removed")
        yield Saved(folder)
        remove(folder)


def remove_runs(runs: Path, kept: int, current: Path | None = None) -> list[Path]:
    """Remove all unfinished runs in a folder but `kept`, the newest; returns what is gone.

    A run that failed before its first save goes before any that can be resumed. The current one, and any that
    another process is or may be writing, are left alone.
    """
    others = [path for path in runs.glob("*/") if path != current]
    others.sort(key=lambda path: (has_state(path), path.stat().st_mtime), reverse=True)  # of the last save
    gone = []
    for path in others[kept:]:
        try:
            with hold_lock(path, patience=0, required=True):
                remove(path)
                gone.append(path)
        except UserError:
            continue
    return gone


def has_state(folder: Path) -> bool:
    """Whether a run has saved its state, so that it can be resumed."""
    return (folder / NEWEST).exists() or (folder / BEFORE).exists()


def remove(folder: Path) -> None:
    """Remove a run's folder; what cannot be removed is a warning, since the run itself is finished."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        print(f"warning: {folder}: cannot be removed completely (remove it by hand)")


@contextmanager
def hold_lock(folder: Path, patience: float | None = None, required: bool = False) -> Iterator[None]:
    """Hold the lock beside a folder, which the system releases when this process exits, even if killed.

    Waits `patience` seconds for another process, then raises a UserError. A disk without locks is a warning,
    or a UserError if the lock is `required`. If the folder is gone at the end, so is its lock.
    """
    path = folder.with_name(f"{folder.name}.lock")
    with open_locked(path, PATIENCE if patience is None else patience, required) as file:
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            if not folder.exists():
                path.unlink(missing_ok=True)


def open_locked(path: Path, patience: float, required: bool) -> IO[str]:
    """The open lock file, locked by this process; see `hold_lock`."""
    if fcntl is None:
        raise UserError(f"{path}: this system cannot lock files (use Linux, macOS or WSL)")
    end = time.monotonic() + patience
    while True:
        file = open(path, "a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                file.seek(0)
                writer = file.read().strip()
                file.close()
                raise UserError(
                    f"{path.with_suffix('')}: another training (process {writer}) is writing this run (wait "
                    "for it, or stop it)"
                ) from None
            time.sleep(0.1)
        except OSError as error:
            problem = f"{path}: no locks on this disk, {error.strerror}"
            if required:
                file.close()
                raise UserError(f"{problem} (remove the run by hand if no training writes it)") from None
            print(f"warning: {problem}: start this run only once")
            return file
        else:
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()  # the process that had the lock removed the file: create it anew
