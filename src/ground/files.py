"""Files written whole or not at all, CSV that holds any name, and hashes of contents."""

import csv
import glob
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import psutil

from src.ground.errors import UserError, shorten


@contextmanager
def open_atomically(path: Path, mode: str = "w") -> Iterator[IO]:
    """An open file that replaces `path` when the block succeeds; after an error `path` is unchanged.

    Of two processes that write the same path at once, the one that finishes last wins.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_unfinished(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    encoding, newline = (None, None) if "b" in mode else ("utf-8", "")
    try:
        with open(temporary, mode, encoding=encoding, newline=newline) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        if error.filename in (None, str(temporary)):  # the error of a full disk names no file
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def remove_unfinished(path: Path) -> None:
    """Remove what killed processes of this machine have left of `path`."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        number = left.suffixes[-2][1:]
        if number.isdigit() and not psutil.pid_exists(int(number)):
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Flush the folder's entries to disk: otherwise a renamed file may be lost in a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class LineFeeds:
    """A csv.writer's file: ends each row with a line feed instead of carriage return and line feed."""

    def __init__(self, file: IO[str]):
        self.file = file

    def write(self, row: str) -> int:
        return self.file.write(f"{row[:-2]}\n")


def start_csv(file: IO[str]) -> Any:
    """A csv.writer on an open file, for rows that csv.reader reads back unchanged whatever their texts.

    csv quotes only the characters that it ends rows with: with a plain line feed, a carriage return in a
    file's name would be written bare, and end the row on reading.
    """
    return csv.writer(LineFeeds(file), lineterminator="\r\n")


def read_csv(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The line number and the texts of each row of a CSV file, which a user may have written.

    Empty lines and a byte order mark are skipped. A UserError names file and line of what is no UTF-8 or CSV.
    """
    if path.is_dir():
        raise UserError(f"{path}: a folder, not a file (rename or remove it)")
    with open(path, "rb") as file:
        yield from parse_csv(file, path)


def parse_csv(content: IO[bytes], path: Path) -> Iterator[tuple[int, list[str]]]:
    """As read_csv, of a file's content; `path` is its name in errors."""
    reader = csv.reader(io.TextIOWrapper(content, encoding="utf-8-sig", newline=""))
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except UnicodeDecodeError:
        raise UserError(
            f"{path}: line {find_undecodable(path)}: not UTF-8 (convert the file: iconv -f latin1 -t "
            "utf-8, or -f utf-16 for a file of Windows)"
        ) from None
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num}: not CSV: {error} (rewrite the file)") from None


def find_undecodable(path: Path) -> int:
    """The number of the first line, from 1, that is not UTF-8."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    raise AssertionError(f"{path}: every line is UTF-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, keys in the given order."""
    with open_atomically(path) as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")


def read_json(path: Path) -> Any:
    """The value in a JSON file; a UserError names the file if it holds none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        text = shorten(error, 100)
        raise UserError(f"{path}: not JSON: {text} (git checkout or dvc checkout restores it)") from None


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of(value: Any) -> str:
    """The SHA-256 of a value's JSON with sorted keys, as 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
