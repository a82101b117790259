"""The import graph of the sources: what each file imports, directly and indirectly.

A room is a folder of `src/`. Data passes through the rooms in the order of ROOMS, and a room imports only
from itself and from earlier ones.
"""

import ast
from collections.abc import Collection
from functools import cache
from pathlib import Path

ROOMS = (
    "ground",
    "machine",
    "pictures",
    "teaching",
    "losses",
    "batches",
    "networks",
    "training",
    "results",
    "export",
    "report",
)
PACKAGE = "stages/__init__.py"  # runs before each of its scripts
OURS = ("src", "stages", "tools", "demos", "benchmarks", "tests")


@cache
def find_imports(path: str) -> frozenset[str]:
    """The full names of all modules that a file imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(Path(path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names.add("." * node.level + (node.module or ""))
    return frozenset(names)


def list_imported_sources(path: str) -> list[str]:
    """The files of `src/` that a file imports."""
    return sorted(name.replace(".", "/") + ".py" for name in find_imports(path) if name.startswith("src."))


def find_closure(path: str, without: Collection[str] = ()) -> set[str]:
    """The file itself and every file of `src/` that it imports, directly or indirectly.

    The files in `without` are left out, and with them what only they import.
    """
    reached: set[str] = set()
    waiting = [path, *([PACKAGE] if path.startswith("stages/") else [])]
    while waiting:
        current = waiting.pop()
        if current not in reached and current not in without:
            reached.add(current)
            waiting.extend(list_imported_sources(current))
    return reached
