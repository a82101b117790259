"""Stops a training between two steps: on SIGTERM, Ctrl-C, or when the dvc or torchrun behind it is gone."""

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import psutil
import torch

from src.ground.errors import Stopped
from src.machine.collectives import all_max
from src.machine.launching import is_launched

INTERVAL = 0.5  # seconds between two checks for the process that started this one
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """Within the context a signal is only recorded; `raise_if_asked`, after a step, saves and stops.

    A second Ctrl-C stops the process at once, unless it is one of several: torchrun stops those.
    """

    def __init__(self, save: Callable[[], None]) -> None:
        self.save, self.signum = save, 0
        self.previous: dict[int, Any] = {}

    def __enter__(self) -> "Stop":
        self.previous = {signum: signal.signal(signum, self.ask) for signum in SIGNALS}
        threading.Thread(target=end_with, args=(find_starter(),), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
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
