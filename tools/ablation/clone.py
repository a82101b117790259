"""The clone of the project in which experiments run, so that the workspace stays untouched.

It is kept between tables: `dvc exp run --temp` would copy and hash the packed pictures again for every
experiment, whereas in the clone DVC already knows their hashes.
"""

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from dvc.dependency import Dependency
from dvc.repo import Repo
from dvc.stage import Stage

from src.ground.errors import UserError
from src.ground.weights import FOLDER as PRETRAINED

CLONE = Path(".scratch/ablation")
EXTERNAL = "data/external"  # knowledge from elsewhere: the only input inside the project that a user writes
IGNORED = (EXTERNAL, str(PRETRAINED))  # folders of inputs that a clone lacks
DECISIVE = ("params.yaml", "libraries.yaml", "dvc.yaml", "dvc.lock", "src", "stages", "demos", EXTERNAL)


def check_committed() -> None:
    """Raise UserError if a file that affects results has uncommitted changes: experiments start from HEAD."""
    changed = run_git("status", "--porcelain", "-z", "--", *DECISIVE).split("\0")[0]  # -z: names as they are
    if changed:
        remedy = "a table belongs to a commit: commit the change or undo it"
        raise UserError(f"{changed[3:]}: changed since the last commit ({remedy})")


def prepare_clone(commit: str) -> None:
    """Create or reuse the clone, at `commit` and with this project's cache; publish leftover experiments."""
    if not (CLONE / ".git").exists():
        run_git("clone", "--quiet", "--shared", ".", str(CLONE))
    for key in ("user.name", "user.email"):
        if value := subprocess.run(["git", "config", key], capture_output=True, text=True).stdout.strip():
            run_git("config", key, value, cwd=CLONE)
    cache = run_program("dvc", "cache", "dir").strip()
    run_program("dvc", "config", "--local", "cache.dir", cache, cwd=CLONE)
    publish_experiments()
    run_git("reset", "--quiet", "--hard", commit, cwd=CLONE)
    for folder in IGNORED:
        copy_ignored(folder)


def copy_ignored(folder: str) -> None:
    """Make the files of `folder` that git ignores, such as those that DVC tracks, the same in the clone."""
    listing = ("ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--", folder)
    for path in set(run_git(*listing, cwd=CLONE).split("\0")) - {""}:
        (CLONE / path).unlink()  # also if it stays: it may be a link, and writing would change DVC's cache
    for path in set(run_git(*listing).split("\0")) - {""}:
        (CLONE / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, CLONE / path)


def hash_inputs(paths: Iterable[str]) -> dict[str, str | None]:
    """The hash that DVC takes of each file or folder of the clone now, None if it is gone."""
    with Repo(str(CLONE)) as repo:
        hashes: dict[str, str | None] = {}
        for path in paths:
            dependency = Dependency(Stage(repo), str(CLONE.absolute() / path))
            hashes[path] = dependency.get_hash().value if dependency.exists else None
    return hashes


def publish_experiments() -> None:
    """Move the clone's experiments into the project, replacing those of the same name."""
    commit = run_git("rev-parse", "HEAD", cwd=CLONE).strip()
    experiments = f"refs/exps/{commit[:2]}/{commit[2:]}/*"
    run_git("fetch", "--quiet", str(CLONE), f"+{experiments}:{experiments}")
    for ref in run_git("for-each-ref", "--format=%(refname)", "refs/exps", cwd=CLONE).split():
        run_git("update-ref", "-d", ref, cwd=CLONE)


def run_git(*arguments: str, cwd: Path = Path()) -> str:
    """Run git; see `run_program`."""
    return run_program("git", *arguments, cwd=cwd)


def run_program(program: str, *arguments: str, cwd: Path = Path()) -> str:
    """Run a program and return its stdout; raise UserError with its first error line if it fails."""
    done = subprocess.run([program, *arguments], cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        reason = done.stderr.strip().partition("\n")[0]
        raise UserError(f"{program} {arguments[0]}: {reason} (if it concerns {CLONE}, remove that folder)")
    return done.stdout
