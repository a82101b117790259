"""The user's list of pictures, CSV `path,label[,split]`, paths relative to the root; none is opened."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from src.ground.errors import UserError, list_some
from src.ground.files import read_csv
from src.pictures.folders import MOST, Source, check_few, check_outputs, normalise
from src.pictures.layouts import HERE, OTHERS, SPELLINGS, explain_root, simplify
from src.pictures.manifest import SPLITS
from src.pictures.settings import DataSettings

HEADERS = (["path", "label"], ["path", "label", "split"])
WORDS = {word: split for words in (SPELLINGS, OTHERS) for split in SPLITS for word in words[split]}


@dataclass(frozen=True)
class Row:
    """A line of the list."""

    line: int
    path: str  # without . and ..
    label: str
    split: str  # empty: to be divided


def scan_list(data: DataSettings) -> tuple[list[Source], tuple[str, ...], list[str]]:
    """The listed files by the splits they go to, the sorted classes, and warnings, as `folders.scan`.

    The classes are the labels of train's rows and of those without a split, which are divided.
    """
    root, place = Path(data.root), Path(data.root, data.list)
    if not root.is_dir():
        raise UserError(explain_root(root))
    check_outputs([root])
    if not place.is_file():
        raise UserError(f"{place}: no such file (params.yaml: data.list names a CSV in data.root, or none)")
    rows = read_rows(place)
    check_rows(place, root, rows)
    classes = tuple(sorted({row.label for row in rows if row.split in ("", "train")}))
    if len(classes) < 2:
        raise UserError(f"{place}: {len(classes)} classes for train, {list_some(classes)} (list at least 2)")
    known, looks = set(classes), dict[str, str]()
    twins = [(one, looks[key]) for one in classes if looks.setdefault(key := normalise(one), one) != one]
    fail(place, [f"labels {ascii(a)} and {ascii(b)} are one name in two Unicode forms" for a, b in twins])
    strange = [row for row in rows if row.label not in known]
    fail(place, [f"line {row.line}: no row of train has label {row.label!r}" for row in strange])
    check_few(Counter(row.label for row in rows), classes, str(place))
    found = {row.split for row in rows}
    missing = [split for split in SPLITS if split not in found and "" not in found]
    if missing:
        raise UserError(f"{place}: no row of {' and '.join(missing)} (rows without a split are divided)")
    return [build_source(split, rows) for split in (*SPLITS, "") if split in found], classes, []


def build_source(split: str, rows: Sequence[Row]) -> Source:
    """The files of the rows of a split, or of those to be divided."""
    chosen = [row for row in rows if row.split == split]
    files = sorted((row.path, row.label) for row in chosen)
    return Source((split,) if split else SPLITS, HERE, files, [], find_subfolders(chosen))


def read_rows(place: Path) -> list[Row]:
    """The rows of a list; a UserError names the lines that are not `path,label[,split]`."""
    lines = read_csv(place)
    header = [name.strip() for name in next(lines, (1, []))[1]]
    if header not in HEADERS:
        raise UserError(
            f"{place}: line 1: must be path,label or path,label,split, got {','.join(header)[:100]!r}"
        )
    rows, problems = [], []
    for line, values in lines:
        if len(values) != len(header):
            problems.append(
                f"line {line}: {len(values)} values, not {len(header)} (quote a path with a comma)"
            )
            continue
        path, label, word = values[0], values[1].strip(), (*values, "")[2].strip()
        split = WORDS.get(simplify(word), "") if word else ""
        if word and not split:
            problems.append(
                f"line {line}: split {word[:50]!r} is none of train, val and test (or leave it empty)"
            )
        elif not label:
            problems.append(f"line {line}: no label (write one, or remove the line)")
        elif not path or path.startswith("/") or os.path.normpath(path).split("/")[0] == "..":
            problems.append(
                f"line {line}: {path[:100]!r} is not inside data.root (write it relative to that)"
            )
        else:
            rows.append(Row(line, os.path.normpath(path), label, split))
    fail(place, problems)
    if not rows:
        raise UserError(f"{place}: no pictures (a line path,label for each)")
    return rows


def check_rows(place: Path, root: Path, rows: Sequence[Row]) -> None:
    """Refuse files that are listed twice or are not there."""
    first: dict[str, int] = {}
    problems = [
        f"line {row.line}: {row.path!r} is in line {first[row.path]} too (remove one of the two)"
        for row in rows
        if first.setdefault(row.path, row.line) != row.line
    ]
    problems += [
        f"line {row.line}: no such file: {root / row.path}"
        for row in rows
        if not os.path.lexists(root / row.path)
    ]
    fail(place, problems)


def fail(place: Path, problems: Sequence[str]) -> None:
    """Raise a UserError of a line per problem, at most MOST of them."""
    if problems:
        more = [f"{place}: {len(problems) - MOST} more such lines"] * (len(problems) > MOST)
        raise UserError(*(f"{place}: {problem}" for problem in problems[:MOST]), *more)


def find_subfolders(rows: Sequence[Row]) -> dict[str, str]:
    """The name of the folder that holds each picture, but for those that are named like the label."""
    names = {row.path: PurePosixPath(row.path).parent.name for row in rows}
    return {row.path: names[row.path] for row in rows if names[row.path] not in ("", row.label)}
