"""The folder of all knowledge, data/distill: text or arrays of each teacher, and of each from elsewhere.

N pictures, C classes.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from src.teaching.knowledge_array import FACTS, read_arrays, write_arrays
from src.teaching.knowledge_file import (
    PATTERN,
    check_knowledge,
    iterate_rows,
    read_knowledge,
    write_knowledge,
)
from src.teaching.targets import AnyKnowledge

PREFIX = "distill_"
FOREIGN = f"{PREFIX}external_"  # begins the names of what is from elsewhere; no teacher is called so


def name_text(folder: Path, teacher: str) -> Path:
    """The file of a teacher's knowledge as text."""
    return folder / f"{PREFIX}{teacher}.txt"


def name_arrays(folder: Path, teacher: str) -> Path:
    """The folder of a teacher's knowledge as arrays."""
    return folder / f"{PREFIX}{teacher}"


def take_over(source: Path, folder: Path, paths: Sequence[str], classes: Sequence[str], top: int) -> None:
    """Write what a file from elsewhere says of `paths` (N,): as text or, of more classes than `top`, arrays.

    Arrays are written row by row, so that no matrix of N x C is in memory.
    """
    if len(classes) <= top:
        write_knowledge(
            folder / f"{FOREIGN}{source.name}", read_knowledge(source, paths, classes), paths, classes
        )
        return
    base, place = check_knowledge(source, paths, classes), folder / f"{FOREIGN}{source.stem}"
    with write_arrays(place, base, paths, classes, views=1, top=top, made={}) as writer:
        with redirect_stdout(io.StringIO()):  # its warnings have been printed
            for number, probs in iterate_rows(source, paths, classes):
                writer.write(0, slice(number, number + 1), probs[None])


def read_folder(
    folder: Path,
    paths: Sequence[str],
    classes: Sequence[str],
    made: Callable[[str], Mapping[str, Any]] | None = None,
    without: Sequence[str] = (),
) -> list[AnyKnowledge]:
    """The knowledge of all teachers but those `without`, sorted by name, for `paths` (N,) and `classes` (C,).

    `made` says how arrays of a teacher must have been made; None: in any way.
    """
    left_out = [name(folder, teacher) for teacher in without for name in (name_text, name_arrays)]
    texts = [path for path in folder.glob(PATTERN) if path not in left_out]
    arrays = [path.parent for path in folder.glob(f"distill*/{FACTS}") if path.parent not in left_out]
    found: list[AnyKnowledge] = []
    for path in sorted([*texts, *arrays]):
        if path in texts:
            found.append(read_knowledge(path, paths, classes))
        else:
            own = not path.name.startswith(FOREIGN)
            asked = made(path.name.removeprefix(PREFIX)) if made and own else None
            found.append(read_arrays(path, paths, classes, asked))
    return found
