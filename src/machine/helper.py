"""A process beside a Dask worker that computes parts, as one of `workers` would; relay.py starts it.

It runs in the project's folder, with the environment of the run that asks, so that a part's bytes are those
of that run. It is a process of its own because what a picture does to one, as ending it or printing on
stderr, must not reach Dask's worker, whose threads and messages are in the way of it too.

run     python -m src.machine.helper NUMBER, of an open socket
"""

import signal
import sys
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

from src.ground.errors import UserError, shorten
from src.machine.facts import find_difference
from src.machine.memory import keep_memory

IDLE = 600.0  # seconds without a part after which it ends: whoever asked may be gone
DONE, FAILED = "done", "failed"


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Connection(int(sys.argv[1])) as connection:
        try:
            serve(connection)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            pass  # the worker is gone


def serve(connection: Connection) -> None:
    """Receive facts, the function and lists of items; send what differs, then the results of each list."""
    difference = find_difference(connection.recv())
    connection.send_bytes(difference.encode())
    if difference:
        return
    keep_memory()
    function = connection.recv_bytes()
    call: Any = None
    while connection.poll(IDLE):
        items = connection.recv()
        try:
            call = call or ForkingPickler.loads(function)
            answer = DONE, [call(item) for item in items]
        except UserError as error:
            answer = FAILED, str(error).splitlines()
        except Exception as error:
            answer = FAILED, [f"{type(error).__name__}: {shorten(error)}"]
        connection.send(answer)


if __name__ == "__main__":
    main()
