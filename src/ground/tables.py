"""What one stage wrote and another reads, checked: CSV of known columns, and numbers in JSON."""

import math
import os
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from src.ground.errors import UserError, shorten
from src.ground.files import read_csv, read_json

REMEDY = "(run dvc repro)"
LARGEST = 1e15  # a number that no stage reaches
Rows = Iterator[tuple[int, list[str]]]


def read_table(path: Path, columns: Sequence[str], prefix: str = "") -> tuple[list[str], Rows]:
    """The header of a CSV file, and of each row its line number and its texts, as many as the header's.

    The header is `columns` or, with a prefix, these and then one or more names that begin with it. A
    UserError names the line of what is otherwise, also of a row that has no end: the file is cut off.
    """
    rows = read_csv(path)
    line, header = next(rows, (1, []))
    more = header[len(columns) :]
    named = bool(more) == bool(prefix) and all(name.startswith(prefix) for name in more)
    if header[: len(columns)] != [*columns] or not named:
        wanted = ",".join([*columns, *([f"{prefix}<class>,..."] if prefix else [])])
        raise UserError(f"{path}: line {line}: must be {wanted} {REMEDY}")
    return header, check_rows(path, rows, len(header))


def check_rows(path: Path, rows: Rows, count: int) -> Rows:
    """The rows of a CSV file; a UserError if one has not `count` texts, or if the last one has no end."""
    line = 1
    for line, row in rows:
        if len(row) != count:
            raise UserError(f"{path}: line {line}: {len(row)} values, not {count} {REMEDY}")
        yield line, row
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        if file.read() != b"\n":
            raise UserError(f"{path}: line {line}: cut off, it has no end {REMEDY}")


def parse_numbers(
    path: Path, line: int, texts: Sequence[str], least: float = -math.inf, most: float = math.inf
) -> np.ndarray:
    """The numbers (n,) float64 that texts (n,) of a row are; a UserError if one is not in [least, most]."""
    try:
        numbers = np.fromiter(map(float, texts), np.float64, len(texts))
    except ValueError:
        numbers = np.array([parse_number(text) for text in texts])
    wrong = ~((numbers >= least) & (numbers <= most))  # as NaN is
    if wrong.any():
        text = shorten(texts[int(wrong.argmax())], 50)
        rule = f"must be a number in [{least:g}, {most:g}]"
        raise UserError(f"{path}: line {line}: {rule}, got {text!r} {REMEDY}")
    return numbers


class Places:
    """The place of each of N different names in their list; a mapping is made only once it is needed.

    It is not for names that come in the order of the list, and would take a hundred bytes for each.
    """

    def __init__(self, names: Sequence[str]):
        self.names, self.following = names, 0

    @cached_property
    def place_of(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names)}

    def find(self, name: str) -> int | None:
        """Its place, from 0; None if it is not in the list."""
        following = self.following
        in_order = following < len(self.names) and self.names[following] == name
        place = following if in_order else self.place_of.get(name)
        if place is not None:
            self.following = place + 1
        return place


def parse_number(text: str) -> float:
    """The number, NaN for what is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def read_numbers(path: Path, place: Sequence[str], keys: Collection[str]) -> dict[str, Any]:
    """The mapping at a place in a JSON file, after the check that each of `keys` in it is a finite number."""
    value = read_json(path)
    for key in place:
        value = value.get(key) if isinstance(value, dict) else None
    found = value if isinstance(value, dict) else {}
    for key in keys:
        number: Any = found.get(key)
        if type(number) not in (int, float) or not abs(number) <= LARGEST:
            what = f"must be a number, got {shorten(repr(number), 50)}" if key in found else "is missing"
            raise UserError(f"{path}: {'.'.join([*place, key])} {what} {REMEDY}")
    return found
