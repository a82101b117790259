"""Where the state of an interrupted run is saved, and who may write it; it is not a DVC output.

The folder is .scratch/<stage>/<fingerprint>/ of the main checkout; the fingerprint is a hash of everything
that determines the result.
"""

import fcntl
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

SCRATCH = Path(os.environ.get("DVC_ROOT", ".")) / ".scratch"
LOCK = "lock"
PATIENCE = 10.0  # seconds to wait for a previous run that is shutting down


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
    folder = SCRATCH / f"{stage}{'@' * bool(item)}{item}" / fingerprint[:16]
    if not is_main():
        yield Saved(folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with hold_lock(folder):
        if not (folder / NEWEST).exists() and not (folder / BEFORE).exists():
            print_differences(folder, inputs)
        write_json(folder / INPUTS, inputs)
        yield Saved(folder)
        shutil.rmtree(folder)


@contextmanager
def hold_lock(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the system releases when this process exits, even if it is killed."""
    with open(folder / LOCK, "a+") as file:
        if not try_to_lock(file):
            file.seek(0)
            raise UserError(
                f"{folder}: another training (process {file.read().strip()}) is writing this run (wait for "
                "it, or stop it)"
            )
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def try_to_lock(file: IO[str]) -> bool:
    """Lock an open file; False if another process still holds the lock after PATIENCE."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
