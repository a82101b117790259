"""Errors that a user can cause: one line each, exit code not 0, no traceback."""

import errno
import os
import sys
from collections.abc import Callable

FULL_OR_CLOSED = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}
STOPPED = 130  # exit code of a program ended by Ctrl-C


class UserError(Exception):
    """What a user can mend, each problem as `<file or key>: <what> (<what to do>)`, one line each."""

    def __init__(self, *problems: str):
        super().__init__("\n".join(problem.replace("\n", "\\n") for problem in problems))  # paths may


def run(main: Callable[[], None]) -> None:
    """Call `main`; end the process with one line on stderr if it meets something a user can mend.

    `--debug` among the arguments leaves the traceback as it is.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(
            errors="backslashreplace"
        )  # a name that the terminal cannot show must not end a run
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
        fail("stopped by Ctrl-C (the same command starts again)", code=STOPPED)


def fail(text: str, code: int) -> None:
    """Print every line of `text` as an error and end the process."""
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
