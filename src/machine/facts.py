"""What must be the same on every machine that computes a part: Python, libraries, sources, files."""

import hashlib
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from src.ground.errors import UserError
from src.ground.libraries import find_installed

SOURCES = Path("src")


def describe_machine(paths: Iterable[str]) -> dict[str, Any]:
    """The facts of this machine and of `paths` on it, as JSON can hold them; runs in the project's folder."""
    return {
        "python": platform.python_version(),
        "libraries": find_installed(),
        "sources": hash_sources(),
        "paths": {path: measure(Path(path)) for path in paths},
    }


def hash_sources() -> str:
    """The SHA-256 of the names and contents of all sources."""
    digest = hashlib.sha256()
    for path in sorted(SOURCES.rglob("*.py")):
        digest.update(f"{path}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def measure(path: Path) -> int:
    """The size of a file in bytes; -1 of a folder."""
    return -1 if path.is_dir() else path.stat().st_size


def find_difference(wanted: Mapping[str, Any]) -> str:
    """In what this machine differs from the facts of another, with the remedy; empty if in nothing."""
    if (own := platform.python_version()) != wanted["python"]:
        return f"Python {own}, not {wanted['python']} (start it with the same .venv)"
    try:
        installed = find_installed()
    except UserError as error:
        return str(error)
    for name, version in wanted["libraries"].items():
        if installed.get(name) != version:
            return f"{name} {installed.get(name)}, not {version} (start it with the same .venv)"
    if hash_sources() != wanted["sources"]:
        return f"other files in {SOURCES.absolute()} (let all machines share one folder)"
    for path, size in wanted["paths"].items():
        try:
            own_size = measure(Path(path))
        except OSError as error:
            return (
                f"cannot see {Path(path).absolute()}: {error.strerror} (mount it there, under the same path)"
            )
        if own_size != size:
            return f"has another {Path(path).absolute()} (let all machines share it)"
    return ""
