"""What a Dask worker does for a run: it keeps helpers, one per thread, and hands parts to them.

Dask gets this file's contents, not its name: a worker need not be able to import the project, and one that
was started before the sources were edited never uses old ones. So nothing of the project is imported here.
"""

import os
import pickle
import sys
from collections.abc import Mapping
from multiprocessing import Pipe
from subprocess import DEVNULL, Popen
from typing import Any

from distributed import WorkerPlugin

ANSWERED, DIED, UNFIT = "answered", "died", "unfit"
Reply = tuple[
    str, Any
]  # ANSWERED: the helper's bytes; DIED: its exit code; UNFIT: why the worker cannot help


class Relay(WorkerPlugin):
    """Installed on every worker, those that come later too; its helpers end with it."""

    def __init__(
        self, folder: str, variables: Mapping[str, str | None], facts: Mapping[str, Any], function: bytes
    ):
        self.folder, self.variables, self.facts, self.function = folder, variables, facts, function

    def setup(self, worker: Any) -> None:
        self.idle: list[Helper] = []

    def teardown(self, worker: Any) -> None:
        while self.idle:
            self.idle.pop().stop()

    def call(self, items: bytes) -> Reply:
        """What a helper answers to a pickled list of items."""
        while True:
            helper, problem = self.find_helper()
            if helper is None:
                return UNFIT, problem
            try:
                answer = helper.ask(items)
            except (EOFError, OSError):
                code = helper.end()
                if code:
                    return DIED, code
            else:
                self.idle.append(helper)
                return ANSWERED, answer

    def check(self) -> str:
        """Why this worker cannot help; empty if it can."""
        helper, problem = self.find_helper()
        if helper:
            self.idle.append(helper)
        return problem

    def find_helper(self) -> "tuple[Helper | None, str]":
        """One that is idle or new; none, and why, if this worker cannot help."""
        if self.idle:
            return self.idle.pop(), ""
        if not os.path.isdir(self.folder):
            return None, f"cannot see {self.folder} (mount the project there, under the same path)"
        helper = Helper(self.folder, self.variables)
        try:
            problem = helper.ask(pickle.dumps(self.facts)).decode()
            if not problem:
                helper.tell(self.function)
                return helper, ""
        except (EOFError, OSError):
            problem = f"{sys.executable} cannot run src.machine.helper (start the worker with the same .venv)"
        helper.end()
        return None, problem


class Helper:
    """A process that runs helper.py in the project's folder, and the connection to it."""

    def __init__(self, folder: str, variables: Mapping[str, str | None]):
        environment = {name: value for name, value in os.environ.items() if name not in variables}
        environment |= {name: value for name, value in variables.items() if value is not None}
        self.connection, other = Pipe()
        with other:
            number = other.fileno()
            command = [sys.executable, "-m", "src.machine.helper", str(number)]
            self.process = Popen(command, cwd=folder, env=environment, stdin=DEVNULL, pass_fds=[number])

    def tell(self, message: bytes) -> None:
        self.connection.send_bytes(message)

    def ask(self, message: bytes) -> bytes:
        """Its answer; raises EOFError or OSError if it ended."""
        self.tell(message)
        return self.connection.recv_bytes()

    def stop(self) -> None:
        """End it at once: nobody needs what it may still do."""
        self.process.kill()
        self.end()

    def end(self) -> int:
        """Its exit code, negative for a signal, after it ended because nobody talks to it any more."""
        self.connection.close()
        return self.process.wait()
