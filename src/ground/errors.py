"""Errors that a user can cause: one line each, a nonzero exit code, no traceback."""

import argparse
import errno
import gc
import io
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import NoReturn

FULL_OR_CLOSED = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}

LONGEST = 1000  # characters of a line
MOST = 20  # lines of problems that are printed
INTERRUPTED = "stopped by Ctrl-C (run the same command to start again)"
KILLED_BY = 128  # plus a signal's number: the exit code of a process that the signal killed


class UserError(Exception):
    """Problems that a user can fix, one line each: `<file or key>: <what> (<remedy>)`."""

    def __init__(self, *problems: str):
        lines = (keep_ends(escape(problem), LONGEST) for problem in problems)  # a path may contain a newline
        super().__init__("\n".join(lines))


class Stopped(Exception):
    """A signal stopped the run between two steps; its state is saved."""

    def __init__(self, signum: int):
        super().__init__(f"stopped by {signal.Signals(signum).name} (run the same command to continue)")
        self.signum = signum


def escape(text: str) -> str:
    """The text on one line, with escapes for line ends and all other characters that cannot be shown."""
    return "".join(
        letter if letter.isprintable() or letter == " " else ascii(letter)[1:-1] for letter in text
    )


def keep_ends(text: str, most: int) -> str:
    """The text in at most `most` characters: its beginning, and its end, which names the remedy."""
    end = most // 3
    return text if len(text) <= most else f"{text[: most - end - 5]} ... {text[-end:]}"


def shorten(error: object, most: int = LONGEST) -> str:
    """What an exception says, or any other text, on one line of at most `most` characters."""
    return " ".join(str(error).split())[:most]


def cut(text: str, most: int = 100) -> str:
    """A text's first characters, at most `most`, with ... if there are more."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def list_some(names: Sequence[str], most: int = 5) -> str:
    """The names in a message, at most the first `most` of them and each of at most 50 characters."""
    some = ", ".join(cut(name, 50) for name in names[:most])
    return f"{some}, ..." if len(names) > most else some


class Parser(argparse.ArgumentParser):
    """A parser of the command line whose errors are UserErrors of one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog}: {message} (--help lists what it takes)")


def run(main: Callable[[], None], arguments: Sequence[str] | None = None) -> None:
    """Call `main`; on an error that the user can fix, print one line to stderr and exit.

    `arguments` are those that the command line may hold, any order; None if `main` parses it. With `--debug`
    among them the traceback is shown instead; `--help` prints the docstring of main's module.
    """
    gc.freeze()  # what is imported stays: not searched for garbage again, nor at the end, which takes 0.5 s
    gc.enable()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an unprintable name must not end a run
    if "--debug" in sys.argv:
        sys.argv.remove("--debug")
        return main()
    try:
        if arguments is not None:
            check_arguments(arguments, main.__globals__["__doc__"])
        main()
    except UserError as error:
        fail(str(error), code=1)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # otherwise Python complains when it flushes it at the end
        fail("stdout: closed by whom it was piped to (run it without)", code=1)
    except OSError as error:
        if error.filename is None:
            raise
        fail(f"{error.filename}: {spell_cause(error)}", code=1)
    except MemoryError as error:
        text = shorten(error, 100)
        fail(f"out of memory{': ' if text else ''}{text} (smaller batches or a larger machine)", code=1)
    except KeyboardInterrupt:
        fail(INTERRUPTED, code=KILLED_BY + signal.SIGINT)
    except Stopped as stopped:
        fail(str(stopped), code=KILLED_BY + stopped.signum)


def show_interrupt(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """For sys.excepthook: shows Ctrl-C outside `run`, as while modules are imported, in one line."""
    if issubclass(kind, KeyboardInterrupt):
        print(f"error: {INTERRUPTED}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)


def check_arguments(known: Sequence[str], text: str) -> None:
    """Refuse an argument that is not among `known`; `--help` prints `text` and exits."""
    layout, command = argparse.RawDescriptionHelpFormatter, Path(sys.argv[0]).stem
    parser = Parser(prog=command, description=text, formatter_class=layout, allow_abbrev=False)
    for word in (*known, "--debug"):
        parser.add_argument(word, action="store_true")
    parser.parse_args()


def spell_cause(error: OSError) -> str:
    """What the system says about a file, and what to do."""
    if isinstance(error, FileNotFoundError):
        return "not found (make repro creates what the stages write)"
    if isinstance(error, IsADirectoryError):
        return "a folder, not a file (rename or remove it)"
    if isinstance(error, PermissionError):
        return f"{error.strerror} (make it and the folders that hold it readable; a result also writable)"
    if error.errno in FULL_OR_CLOSED:
        return f"{error.strerror} (free some space there or make it writable)"
    return f"{error.strerror} (--debug shows where)"


def fail(text: str, code: int) -> NoReturn:
    """Print each line of `text` as an error and exit; under torchrun hand `text` to the parent instead."""
    if hand_to_parent(text):
        sys.exit(code)
    stage_failed = "DVC_STAGE" in os.environ  # DVC deletes a stage's outputs before it runs
    hint = (
        "; to restore the last commit's outputs: git checkout dvc.lock metrics plots && dvc checkout -f"
        if stage_failed
        else ""
    )
    lines = text.splitlines()
    if len(lines) > MOST:
        lines = [*lines[: MOST - 1], f"{len(lines) - MOST + 1} more problems, like these"]
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
