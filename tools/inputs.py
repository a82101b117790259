"""What a recorded run was made from, read from the dvc.lock of its commit."""

import subprocess
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import yaml

TARGET = "evaluate"  # the stage whose metrics are compared


def read_inputs(rev: str, teachers: Sequence[str]) -> dict[str, str]:
    """The hash of every input of a run, by path, from the dvc.lock of its commit; empty if there is none.

    An input is a dependency that no stage wrote: sources, the user's pictures, knowledge from elsewhere. Only
    TARGET and the stages before it count: dvc.lock keeps what others were last run with, and stages of
    teachers that are not listed any more.
    """
    shown = subprocess.run(["git", "show", f"{rev}:./dvc.lock"], capture_output=True, check=False)
    lock = (yaml.load(shown.stdout, yaml.CSafeLoader) or {}) if shown.returncode == 0 else {}
    stages = {
        name: stage
        for name, stage in lock.get("stages", {}).items()
        if name.partition("@")[2] in ("", *teachers)
    }
    hashes: dict[str, str] = {}
    waiting, reached = [TARGET], set()
    while waiting:
        name = waiting.pop()
        if name in reached or name not in stages:
            continue
        reached.add(name)
        for dependency in stages[name].get("deps", []):
            path = dependency["path"]
            writers = [other for other, stage in stages.items() if writes(stage, path)]
            waiting += writers
            if not writers:
                hashes[path] = dependency.get("md5", "")
    return dict(sorted(hashes.items()))


def writes(stage: dict[str, Any], path: str) -> bool:
    """Whether a stage of dvc.lock writes a file or folder, something in it, or a folder that it is in."""
    outs = [PurePosixPath(out["path"]) for out in stage.get("outs", [])]
    wanted = PurePosixPath(path)
    return any(out.is_relative_to(wanted) or wanted.is_relative_to(out) for out in outs)
