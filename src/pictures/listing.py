"""The user's list of pictures, CSV `path,label[,split]`, paths relative to the root; none is opened."""

import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from src.ground.errors import UserError, list_some
from src.ground.files import read_csv
from src.pictures.folders import (
    MOST,
    Files,
    Source,
    check_few,
    check_outputs,
    normalise,
    suggest_class,
    warn_of_links,
)
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
        what = "a folder" if place.is_dir() else "no such file"
        raise UserError(f"{place}: {what} (params.yaml: data.list names a CSV in data.root, or none)")
    rows = read_rows(place)
    check_rows(place, root, rows)
    classes = tuple(sorted({row.label for row in rows if row.split in ("", "train")}))
    if len(classes) < 2:
        raise UserError(f"{place}: {len(classes)} classes for train, {list_some(classes)} (list at least 2)")
    known, looks = set(classes), dict[str, str]()
    twins = [(one, looks[key]) for one in classes if looks.setdefault(key := normalise(one), one) != one]
    fail(
        place,
        [
            f"labels {ascii(one)} and {ascii(other)} are one name in two Unicode forms (write one of them)"
            for one, other in twins
        ],
    )
    strange = [row for row in rows if row.label not in known]
    fail(
        place,
        [
            f"line {row.line}: no row of train has label {row.label!r}{suggest_class(row.label, classes)} "
            "(correct it, remove the line or list some for train)"
            for row in strange
        ],
    )
    check_few(Counter(row.label for row in rows), classes, str(place))
    found = {row.split for row in rows}
    missing = [split for split in SPLITS if split not in found and "" not in found]
    if missing:
        raise UserError(
            f"{place}: no row of {' and '.join(missing)} (list some, or leave the split of rows empty: these "
            "are divided)"
        )
    sources = [build_source(split, rows, known) for split in (*SPLITS, "") if split in found]
    return sources, classes, [*warn_of_missing(place, rows, classes), *warn_of_links(root, sources)]


def warn_of_missing(place: Path, rows: Sequence[Row], classes: Sequence[str]) -> Iterator[str]:
    """A warning for val, and one for test, of classes that no row can bring there."""
    for split in SPLITS[1:]:
        there = {row.label for row in rows if row.split in (split, "")}
        missing = [name for name in classes if name not in there]
        if missing:
            yield f"{place}: no row of {split} has label {list_some(missing)}, it is not measured there"


def build_source(split: str, rows: Sequence[Row], labels: Collection[str]) -> Source:
    """The files of the rows of a split, or of those to be divided."""
    chosen = [row for row in rows if row.split == split]
    files = sorted((row.path, row.label) for row in chosen)
    return Source((split,) if split else SPLITS, HERE, Files(files), [], find_subfolders(chosen, labels))


def read_rows(place: Path) -> list[Row]:
    """The rows of a list; a UserError names the lines that are not `path,label[,split]`."""
    lines = read_csv(place)
    header = [name.strip() for name in next(lines, (1, []))[1]]
    if header not in HEADERS:
        raise UserError(
            f"{place}: line 1: must be path,label or path,label,split, got {','.join(header)[:100]!r} "
            "(write it, with commas, as the first line)"
        )
    rows, problems = [], []
    for line, values in lines:
        if len(values) != len(header):
            few = len(values) < len(header)
            remedy = f"write {','.join(header)}, split may be empty" if few else "quote a path with a comma"
            problems.append(f"line {line}: {len(values)} values, not {len(header)} ({remedy})")
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
    reasons = ((row.line, explain_path(root, row.path)) for row in rows)
    problems += [f"line {line}: {reason}" for line, reason in reasons if reason]
    fail(place, problems)


def explain_path(root: Path, path: str) -> str:
    """Why a listed path is no file; empty if it is one, or a link, which is followed later."""
    try:
        if stat.S_ISDIR(os.stat(root / path).st_mode):
            return f"{path!r} is a folder (list the pictures in it)"
        return ""
    except PermissionError as error:
        return f"{root / path}: {error.strerror} (make it and the folders that hold it readable)"
    except (OSError, ValueError):  # no such file, or a name that no file can have
        if os.path.islink(root / path):
            return ""
    for other in (path.strip(), path.replace("\\", "/"), normalise(path), unicodedata.normalize("NFD", path)):
        if other != path and os.path.exists(root / other):
            return f"no such file: {path!a}, but {other!a} (write that)"
    return (
        f"no such file: {root / path} (correct the path, which is relative to data.root, or remove the line)"
    )


def fail(place: Path, problems: Sequence[str]) -> None:
    """Raise a UserError of a line per problem, at most MOST of them."""
    if problems:
        more = [f"{place}: {len(problems) - MOST} more such lines"] * (len(problems) > MOST)
        raise UserError(*(f"{place}: {problem}" for problem in problems[:MOST]), *more)


def find_subfolders(rows: Sequence[Row], labels: Collection[str]) -> dict[str, str]:
    """The name of the folder that holds each picture, but for those that are named like a label."""
    names = {row.path: PurePosixPath(row.path).parent.name for row in rows}
    return {path: name for path, name in names.items() if name and name not in labels}
