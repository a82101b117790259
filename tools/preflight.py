"""What make repro checks first, and which stages it runs: all, but make_demo only for the demo's pictures.

reads   params.yaml, dvc.yaml
run     python -m tools.preflight            check that this is a git repository, note a relative data.root
        python -m tools.preflight --stages   print the stages for dvc repro
"""

import os
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

from src.ground.errors import UserError, run
from src.ground.params import read

GRAPH = Path("dvc.yaml")
DEMO, DEMO_STAGE = "data/demo", "make_demo"


def main() -> None:
    root = read(str, "data.root")
    if "--stages" in sys.argv[1:]:
        print(*choose_stages(root))
        return
    check_git(Path.cwd())
    if root != DEMO and not Path(root).is_absolute() and Path(root).is_dir():
        print(
            f"note: data.root: {root} is relative: dvc exp run --temp, --queue and make ablation run in "
            f"copies of the project and need {os.path.abspath(root)}"
        )


def choose_stages(root: str) -> list[str]:
    """The stages to name to dvc repro; none stands for all. Those that they depend on run too."""
    if root == DEMO:
        return []
    stages = YAML(typ="safe").load(GRAPH)["stages"]
    return [name for name, stage in stages.items() if name != DEMO_STAGE and "foreach" not in stage]


def check_git(folder: Path) -> None:
    """Refuse a folder that git does not know, as after the download of a ZIP file: DVC needs its history."""
    try:
        command = ["git", "-C", str(folder), "rev-parse", "--verify", "--quiet", "HEAD"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UserError("git: not found (install it: DVC needs it)") from None
    if result.returncode == 0:
        return
    if "dubious ownership" in result.stderr:
        raise UserError(
            f"{folder}: belongs to another user (git config --global --add safe.directory {folder})"
        )
    inside = subprocess.run(["git", "-C", str(folder), "rev-parse"], capture_output=True, check=False)
    start = "git add -A && git commit -m start"
    if inside.returncode == 0:
        raise UserError(f"{folder}: a git repository without a commit ({start})")
    raise UserError(
        f"{folder}: not a git repository, as after the download of a ZIP file (git init && {start})"
    )


if __name__ == "__main__":
    run(main, arguments=["--stages"])
