"""Catch what C libraries print, so that it can be attributed to the file they were reading."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

MOST = 65536  # bytes that are read back


@contextmanager
def catch_stderr() -> Iterator[list[str]]:
    """A list that holds, after the block, the lines that were printed to stderr in it, without repetitions.

    Only for a process without other threads that print: the file descriptor is the process's.
    """
    lines: list[str] = []
    sys.stderr.flush()
    kept = os.dup(2)
    with open_unnamed() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            text = file.read(MOST).decode("utf-8", errors="replace")
            lines += dict.fromkeys(filter(None, map(str.strip, text.splitlines())))


def open_unnamed() -> IO[bytes]:
    """A file without a name, in memory where the system has such files: that takes a third of the time."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("stderr"), "r+b", buffering=0)
    return tempfile.TemporaryFile()
