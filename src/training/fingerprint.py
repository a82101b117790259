"""What determines a stage's result: params, dependencies as dvc.yaml lists them, versions of libraries."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from src.ground.errors import UserError
from src.ground.files import read_json, sha256
from src.ground.libraries import FILE, find_installed
from src.ground.params import find_value, flatten
from src.training.snapshot import NEWEST

GRAPH = Path("dvc.yaml")
INPUTS = "inputs.json"
SAMPLE = 256  # pictures of a pack that are hashed; the manifest has the hash of every one


def collect_inputs(stage: str, item: str) -> dict[str, Any]:
    """Everything that determines a stage's result, by name: values of params, hashes of files, versions."""
    entry = yaml.safe_load(GRAPH.read_text(encoding="utf-8"))["stages"][stage]
    entry = entry.get("do", entry)
    params = [key.replace("${item}", item) for key in entry["params"] if isinstance(key, str)]
    values = {key: value for word in params for key, value in flatten(find_value(word), word)}
    weights = [Path(v) for k, v in values.items() if k.endswith(".pretrained") and Path(v).is_file()]
    files = [path for dep in entry["deps"] for path in list_files(Path(dep))]
    used = [key for key in entry["params"] if not isinstance(key, str)]
    names = [name for files in used for name in files[str(FILE)]]
    libraries = {name: version for name, version in find_installed().items() if name in names}
    return values | {str(path): hash_file(path) for path in files + weights} | libraries


def list_files(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def hash_file(path: Path) -> str:
    """The hash of a file; of a pack only some pictures are hashed, since it may be larger than memory."""
    if path.suffix != ".npy":
        return sha256(path)
    pack = np.load(path, mmap_mode="r")
    rows = np.linspace(0, max(len(pack) - 1, 0), min(len(pack), SAMPLE)).astype(int)
    return hashlib.sha256(repr(pack.shape).encode() + pack[rows].tobytes()).hexdigest()


def print_differences(folder: Path, inputs: Mapping[str, Any]) -> None:
    """Print what prevents resuming the newest unfinished run of the stage, if its inputs can be read."""
    others = [path for path in folder.parent.glob(f"*/{INPUTS}") if (path.parent / NEWEST).exists()]
    if not others:
        return
    newest = max(others, key=lambda path: path.stat().st_mtime)
    try:
        old = read_json(newest)
    except (UserError, OSError):
        return
    if not isinstance(old, dict):
        return
    keys = [key for key in sorted(old.keys() | inputs.keys()) if old.get(key) != inputs.get(key)]
    first = ", ".join(describe_change(key, old, inputs) for key in keys[:3])
    first += f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    print(f"{newest.parent}: an unfinished run, but {first} changed since: starting from scratch")


def describe_change(key: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """A param with its old and new value, or the name of a file."""
    if Path(key).exists() or key not in old or key not in new:
        return key
    return f"{key} ({old[key]}, now {new[key]})"
