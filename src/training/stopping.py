"""Stops a training between two steps: on a signal, or when a worker, dvc or torchrun behind it is gone."""

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import psutil
import torch

from src.batches.loader import WorkerDied
from src.ground.errors import Stopped
from src.machine.collectives import all_max, world
from src.machine.launching import is_launched

INTERVAL = 0.5  # seconds between two checks for the process that started this one
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # the last one from a terminal that is closed


class Stop:
    """Within the context a signal is only recorded; `raise_if_asked`, after a step, saves and stops.

    A second Ctrl-C stops the process at once, unless it is one of several: torchrun stops those. If a worker
    dies, the state is saved too, if `is_between_steps` and no other process has to save at the same time.
    """

    def __init__(self, save: Callable[[], None], is_between_steps: Callable[[], bool]) -> None:
        self.save, self.is_between_steps, self.signum = save, is_between_steps, 0
        self.previous: dict[int, Any] = {}

    def __enter__(self) -> "Stop":
        nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        wanted = [signum for signum in SIGNALS if not (nohup and signum == signal.SIGHUP)]
        self.previous = {signum: signal.signal(signum, self.ask) for signum in wanted}
        threading.Thread(target=end_with, args=(find_starter(),), daemon=True).start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, WorkerDied) and world() == 1 and self.is_between_steps():
            self.save()
        for signum, handler in self.previous.items():
            signal.signal(signum, handler)

    def ask(self, signum: int, frame: FrameType | None) -> None:
        if self.signum and signum == signal.SIGINT and not is_launched():
            raise KeyboardInterrupt
        self.signum = signum

    def raise_if_asked(self) -> None:
        """Save and raise Stopped if this process or another one was asked to stop."""
        if signum := int(all_max(torch.tensor(self.signum))):
            self.save()
            raise Stopped(signum)


def find_starter() -> psutil.Process | None:
    """The process without which this one is useless: torchrun, or the dvc that runs the stage."""
    ancestors = psutil.Process().parents()
    if is_launched():
        return ancestors[0]
    if "DVC_STAGE" not in os.environ:
        return None
    return next((one for one in ancestors if any("dvc" in word for word in one.cmdline()[:4])), None)


def end_with(process: psutil.Process | None) -> None:
    """Send SIGTERM to this process when the other one is gone; the system does not notify its children."""
    while process is not None:
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            os.kill(os.getpid(), signal.SIGTERM)
            return
        time.sleep(INTERVAL)
