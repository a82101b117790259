"""The format of knowledge of many classes or views: a folder of arrays, which are mapped, never read whole.

    facts.json     what they are: see Facts
    probs.npy      float16 (V, N, k): the k largest probabilities of each row
    classes.npy    uint16 or uint32 (V, N, k): the numbers of their classes; absent if k = C, in their order
    rest.npy       float16 (V, N): the sum of the others, which is spread evenly

V views, N pictures in the order of the training manifest, C classes. 1.28 million pictures with 16 views and
k = 10 take .86 GB.
"""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from src.ground.chunks import list_chunks
from src.ground.errors import UserError, list_some
from src.ground.files import read_json, sha256, sha256_of, write_json
from src.teaching.knowledge import SUMS_TO_ONE
from src.teaching.views import Views, describe

FACTS, PROBS, CLASSES, REST = "facts.json", "probs.npy", "classes.npy", "rest.npy"
FORMAT = 1
REMEDY = "(run dvc repro -f dump_knowledge)"


@dataclass(frozen=True)
class Facts:
    """What an array is knowledge of."""

    base: str
    classes: Sequence[str]  # (C,)
    pictures: str  # SHA-256 of the paths (N,)
    made: Mapping[str, Any]  # by which teacher, from pictures of which size and views; empty: elsewhere


@dataclass(frozen=True)
class ArrayKnowledge:
    """The contents of one folder; rows in the order of the training manifest."""

    base: str
    probs: np.ndarray  # (V, N, k)
    classes: np.ndarray | None  # (V, N, k)
    rest: np.ndarray  # (V, N)
    width: int  # C

    @property
    def shape(self) -> tuple[int, int]:
        return self.probs.shape[1], self.width

    @property
    def views(self) -> int:
        return len(self.probs)

    def take(self, view: int, rows: slice | np.ndarray | list[int]) -> np.ndarray:
        """The probabilities (n, C) float32 of a view, from 0; of a softmax they sum to 1."""
        kept = np.asarray(self.probs[view][rows], np.float32)
        if self.classes is None:
            probs = kept
        else:
            others = self.width - kept.shape[1]
            rest = np.asarray(self.rest[view][rows], np.float32)
            probs = np.repeat(rest[:, None] / others, self.width, axis=1)
            np.put_along_axis(probs, np.asarray(self.classes[view][rows], np.int64), kept, axis=1)
        return probs / probs.sum(axis=1, keepdims=True) if SUMS_TO_ONE[self.base] else probs


class Writer:
    """Writes rows of any number at a time."""

    def __init__(self, folder: Path, views: int, count: int, width: int, top: int):
        self.width, self.top = width, min(top, width)
        shape = (views, count, self.top)
        self.probs = open_array(folder / PROBS, np.float16, shape)
        self.rest = open_array(folder / REST, np.float16, shape[:2])
        kind = np.uint16 if width <= 2**16 else np.uint32
        self.classes = open_array(folder / CLASSES, kind, shape) if self.top < width else None

    def write(self, view: int, rows: slice, probs: np.ndarray) -> None:
        """The probabilities (n, C) of some rows of a view, from 0."""
        if self.classes is None:
            self.probs[view, rows] = probs
            return
        largest = np.argpartition(-probs, self.top - 1, axis=1)[:, : self.top]
        largest.sort(axis=1)
        kept = np.take_along_axis(probs, largest, axis=1)
        self.classes[view, rows], self.probs[view, rows] = largest, kept
        self.rest[view, rows] = (probs.sum(axis=1) - kept.sum(axis=1)).clip(min=0)

    def flush(self) -> None:
        for array in (self.probs, self.rest, self.classes):
            if array is not None:
                array.flush()


def open_array(path: Path, kind: Any, shape: tuple[int, ...]) -> np.memmap:
    return np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape)


@contextmanager
def write_arrays(
    folder: Path,
    base: str,
    paths: Sequence[str],
    classes: Sequence[str],
    views: int,
    top: int,
    made: Mapping[str, Any],
) -> Iterator[Writer]:
    """Within the context rows of the pictures in `paths` (N,) may be written; then the folder appears."""
    facts = Facts(base, list(classes), sha256_of(list(paths)), made)
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        writer = Writer(unfinished, views, len(paths), len(classes), top)
        yield writer
        writer.flush()
        write_json(unfinished / FACTS, {"format": FORMAT, **asdict(facts)})
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def describe_making(teachers: Path, name: str, size: tuple[int, int], views: Views | None) -> dict[str, Any]:
    """What `Facts.made` is of a teacher whose weights are in the folder `teachers`; H and W in pixels."""
    return {
        "teacher": sha256(teachers / f"{name}.safetensors"),
        "size": list(size),
        "views": describe(views),
    }


def read_arrays(
    folder: Path, paths: Sequence[str], classes: Sequence[str], made: Mapping[str, Any] | None = None
) -> ArrayKnowledge:
    """The knowledge in a folder; a UserError says in what it differs from what is asked for.

    It must be of the pictures in `paths` (N,) and of `classes` (C,) and, if given, have been `made` so.
    """
    found = read_json(folder / FACTS)
    if not isinstance(found, dict) or found.get("format") != FORMAT or found.get("base") not in SUMS_TO_ONE:
        raise UserError(f"{folder / FACTS}: not knowledge of format {FORMAT} {REMEDY}")
    if found.get("classes") != list(classes):
        listed = found.get("classes")
        names = list_some(listed) if isinstance(listed, list) else listed
        raise UserError(f"{folder}: of the classes {names}, train has {list_some(classes)} {REMEDY}")
    if found.get("pictures") != sha256_of(list(paths)):
        raise UserError(f"{folder}: of other pictures than train's {REMEDY}")
    own = found.get("made") or {}
    for key, value in (made or {}).items():
        if own.get(key) != value:
            raise UserError(f"{folder}: made with {WORDS[key]} than asked for {REMEDY}")
    knowledge = load_knowledge(folder, found["base"], len(classes))
    if knowledge.shape[0] != len(paths):
        raise UserError(f"{folder}: {knowledge.shape[0]} rows for {len(paths)} pictures {REMEDY}")
    return knowledge


WORDS = {"teacher": "another teacher's weights", "size": "pictures of another size", "views": "other views"}


def load_knowledge(folder: Path, base: str, width: int) -> ArrayKnowledge:
    """The arrays, mapped, after all their values have been looked at once."""
    probs, rest = load_array(folder / PROBS, 3), load_array(folder / REST, 2)
    classes = load_array(folder / CLASSES, 3) if probs.shape[2] < width else None
    fit = rest.shape == probs.shape[:2] and (classes is None or classes.shape == probs.shape)
    if not fit or not 0 < probs.shape[2] <= width:
        raise UserError(f"{folder}: its arrays do not fit each other {REMEDY}")
    for view in range(len(probs)):
        for rows in list_chunks(*probs.shape[1:]):
            values = np.asarray(probs[view, rows], np.float32)
            sound = bool(((values >= 0) & (values <= 1)).all() and (rest[view, rows] >= 0).all())
            if not sound or (classes is not None and classes[view, rows].max(initial=0) >= width):
                raise UserError(f"{folder}: holds values that are no probabilities {REMEDY}")
    return ArrayKnowledge(base, probs, classes, rest, width)


def load_array(path: Path, dimensions: int) -> np.ndarray:
    """A mapped array; a UserError if the file is cut, none or of another kind."""
    try:
        array = np.load(path, mmap_mode="r")
    except (ValueError, EOFError, OSError):
        raise UserError(f"{path}: damaged or not an array {REMEDY}") from None
    if array.ndim != dimensions or array.dtype not in (np.float16, np.uint16, np.uint32):
        raise UserError(f"{path}: holds {array.dtype} {array.shape}, no knowledge {REMEDY}")
    return array
