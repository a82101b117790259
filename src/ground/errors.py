"""Errors that a user can cause: one line each, exit code not 0, no traceback."""

import errno
import io
import json
import os
import signal
import sys
import time
from collections.abc import Callable

FULL_OR_CLOSED = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}

KILLED_BY = 128  # added to a signal's number: the exit code of a program that the signal ended


class UserError(Exception):
    """What a user can mend, each problem as `<file or key>: <what> (<what to do>)`, one line each."""

    def __init__(self, *problems: str):
        super().__init__("\n".join(problem.replace("\n", "\\n") for problem in problems))  # paths may


class Stopped(Exception):
    """A run ended between two steps because a signal asked for it, its state saved."""

    def __init__(self, signum: int):
        super().__init__(f"stopped by {signal.Signals(signum).name} (the same command goes on from here)")
        self.signum = signum


def run(main: Callable[[], None]) -> None:
    """Call `main`; end the process with one line on stderr if it meets something a user can mend.

    `--debug` among the arguments leaves the traceback as it is.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that cannot be shown must not end a run
    if "--debug" in sys.argv:
        sys.argv.remove("--debug")
        return main()
    try:
        main()
    except UserError as error:
        fail(str(error), code=1)
    except FileNotFoundError as error:
        fail(f"{error.filename}: not there (make repro makes what the stages write)", code=1)
    except OSError as error:
        if error.errno not in FULL_OR_CLOSED:
            raise
        fail(f"{error.filename}: {error.strerror} (make room there or make it writable)", code=1)
    except KeyboardInterrupt:
        fail("stopped by Ctrl-C (the same command starts again)", code=KILLED_BY + signal.SIGINT)
    except Stopped as stopped:
        fail(str(stopped), code=KILLED_BY + stopped.signum)


def fail(text: str, code: int) -> None:
    """Print every line of `text` as an error and end the process; one of several leaves it to its parent."""
    if hand_to_parent(text):
        sys.exit(code)
    stage_failed = "DVC_STAGE" in os.environ  # DVC deletes a stage's old outs before it runs
    hint = (
        "; the outs of before come back with: git checkout metrics plots && dvc checkout"
        if stage_failed
        else ""
    )
    lines = text.splitlines()
    for line in lines[:-1]:
        print(f"error: {line}", file=sys.stderr)
    print(f"error: {lines[-1]}{hint}", file=sys.stderr)
    sys.exit(code)


def hand_to_parent(text: str) -> bool:
    """Whether this process is one of several under torchrun; `text`, why it ends, is then handed over."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if path is None:
        return False
    with open(path, "w", encoding="utf-8") as file:  # as torchrun reads it
        json.dump({"message": text, "timestamp": int(time.time())}, file)
    return True
