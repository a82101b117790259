"""The folder of all knowledge, data/distill: text or arrays of each teacher, and of each from elsewhere.

N pictures, C classes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from src.teaching.knowledge_array import FACTS, read_arrays
from src.teaching.knowledge_file import PATTERN, read_knowledge
from src.teaching.targets import AnyKnowledge

FOREIGN = "distill_external_"  # begins the names of what is from elsewhere; no teacher is called so


def name_text(folder: Path, teacher: str) -> Path:
    """The file of a teacher's knowledge as text."""
    return folder / f"distill_{teacher}.txt"


def name_arrays(folder: Path, teacher: str) -> Path:
    """The folder of a teacher's knowledge as arrays."""
    return folder / f"distill_{teacher}"


def read_folder(
    folder: Path,
    paths: Sequence[str],
    classes: Sequence[str],
    made: Mapping[str, Mapping[str, Any]] | None = None,
    without: Sequence[str] = (),
) -> list[AnyKnowledge]:
    """The knowledge of all teachers but those `without`, sorted by name, for `paths` (N,) and `classes` (C,).

    `made` says how arrays of each teacher must have been made; None: in any way.
    """
    left_out = [name(folder, teacher) for teacher in without for name in (name_text, name_arrays)]
    texts = [path for path in folder.glob(PATTERN) if path not in left_out]
    arrays = [path.parent for path in folder.glob(f"distill*/{FACTS}") if path.parent not in left_out]
    found: list[AnyKnowledge] = []
    for path in sorted([*texts, *arrays]):
        if path in texts:
            found.append(read_knowledge(path, paths, classes))
        else:
            asked = {name_arrays(folder, name): how for name, how in (made or {}).items()}
            found.append(read_arrays(path, paths, classes, asked.get(path)))
    return found
