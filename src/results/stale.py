"""Figures in metrics/, plots/ and data/ that belong to another data root, found with dvc.lock.

DVC removes the results of a stage only when it runs that stage. Until then, and if an earlier stage fails,
the figures of the pictures before would stand beside those of this run.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src.ground.strict_yaml import parse_yaml

LOCK = Path("dvc.lock")
FIGURES = ("metrics/", "plots/", "data/predictions.csv", "data/classes.csv", "data/suspects.csv",
           "data/calibration.json")  # fmt: skip
MANIFESTS = "data/manifest/"
SOURCE = "check_images"  # the stage that writes the manifests


def find_stale_figures(root: str) -> list[Path]:
    """The figures that dvc.lock records for other pictures than those of the manifests, of another data root.

    With the same root none: an earlier run's figures stay until their stage runs again.
    """
    lock = parse_yaml(LOCK.read_bytes(), str(LOCK)) if LOCK.exists() else None
    stages = (lock or {}).get("stages", {})
    recorded = stages.get(SOURCE, {}).get("params", {}).get("params.yaml", {}).get("data", {})
    if recorded.get("root", root) == root:
        return []
    paths = [
        Path(out["path"])
        for name in find_outdated(stages)
        for out in stages[name].get("outs", [])
        if out["path"].startswith(FIGURES)
    ]
    return [path for path in paths if path.exists()]


def find_outdated(stages: Mapping[str, Any]) -> list[str]:
    """The stages that depend on a manifest that has changed, and those that depend on their outputs."""
    outdated: list[str] = []
    made: list[str] = []  # what they write
    for _ in stages:  # the lock is in no order
        for name, stage in stages.items():
            deps = stage.get("deps", [])
            if name != SOURCE and name not in outdated and any(is_changed(dep, made) for dep in deps):
                outdated.append(name)
                made += [out["path"] for out in stage.get("outs", [])]
    return outdated


def is_changed(dep: Mapping[str, Any], made: list[str]) -> bool:
    """Whether a dependency is a manifest with other contents, is in `made`, or is a folder of one that is."""
    path = dep["path"]
    if path.startswith(MANIFESTS):
        return not Path(path).exists() or md5(Path(path)) != dep["md5"]
    return any(one == path or one.startswith(f"{path}/") for one in made)


def md5(path: Path) -> str:
    """The hash of a file as in dvc.lock."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
