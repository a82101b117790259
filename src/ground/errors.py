"""Errors that a user can cause: one line each, a nonzero exit code, no traceback."""

import errno
import io
import json
import os
import signal
import sys
import time
from collections.abc import Callable

FULL_OR_CLOSED = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}

KILLED_BY = 128  # plus a signal's number: the exit code of a process that the signal killed


class UserError(Exception):
    """Problems that a user can fix, one line each: `<file or key>: <what> (<remedy>)`."""

    def __init__(self, *problems: str):
        # a path may contain a newline
        super().__init__("\n".join(problem.replace("\n", "\\n") for problem in problems))


class Stopped(Exception):
    """A signal stopped the run between two steps; its state is saved."""

    def __init__(self, signum: int):
        super().__init__(f"stopped by {signal.Signals(signum).name} (run the same command to continue)")
        self.signum = signum


def shorten(error: object, most: int) -> str:
    """What an exception says, or any other text, on one line of at most `most` characters."""
    return " ".join(str(error).split())[:most]


def run(main: Callable[[], None]) -> None:
    """Call `main`; on an error that the user can fix, print one line to stderr and exit.

    With `--debug` among the arguments the traceback is shown instead.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an unprintable name must not end a run
    if "--debug" in sys.argv:
        sys.argv.remove("--debug")
        return main()
    try:
        main()
    except UserError as error:
        fail(str(error), code=1)
    except FileNotFoundError as error:
        fail(f"{error.filename}: not found (make repro creates what the stages write)", code=1)
    except OSError as error:
        if error.errno not in FULL_OR_CLOSED:
            raise
        fail(f"{error.filename}: {error.strerror} (free some space there or make it writable)", code=1)
    except KeyboardInterrupt:
        fail("stopped by Ctrl-C (run the same command to start again)", code=KILLED_BY + signal.SIGINT)
    except Stopped as stopped:
        fail(str(stopped), code=KILLED_BY + stopped.signum)


def fail(text: str, code: int) -> None:
    """Print each line of `text` as an error and exit; under torchrun hand `text` to the parent instead."""
    if hand_to_parent(text):
        sys.exit(code)
    stage_failed = "DVC_STAGE" in os.environ  # DVC deletes a stage's outputs before it runs
    hint = (
        "; to restore the previous outputs: git checkout metrics plots && dvc checkout"
        if stage_failed
        else ""
    )
    lines = text.splitlines()
    for line in lines[:-1]:
        print(f"error: {line}", file=sys.stderr)
    print(f"error: {lines[-1]}{hint}", file=sys.stderr)
    sys.exit(code)


def hand_to_parent(text: str) -> bool:
    """Whether torchrun started this process; if so, writes `text`, why it ends, for torchrun to read."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if path is None:
        return False
    with open(path, "w", encoding="utf-8") as file:  # in torchrun's format
        json.dump({"message": text, "timestamp": int(time.time())}, file)
    return True
