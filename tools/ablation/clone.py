"""The clones of the project in which experiments run, so that the workspace stays untouched.

CLONE is that of this machine; each worker of an engine has its own. A clone is kept between tables: `dvc exp
run --temp` would copy and hash the packed pictures again for every experiment, whereas in the clone DVC
already knows their hashes.
"""

import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from dvc.dependency import Dependency
from dvc.repo import Repo
from dvc.stage import Stage

from src.ground.errors import UserError
from src.ground.weights import FOLDER as PRETRAINED

CLONE = Path(".scratch/ablation")
REMOVE = f"if it concerns {CLONE}, remove that folder"
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
    set_identity(CLONE, read_identity())
    cache = run_program("dvc", "cache", "dir").strip()
    run_program("dvc", "config", "--local", "cache.dir", cache, cwd=CLONE)
    publish_experiments()
    run_git("reset", "--quiet", "--hard", commit, cwd=CLONE)
    for folder in IGNORED:
        copy_ignored(folder, Path(), CLONE)


def read_identity() -> dict[str, str]:
    """Who git says makes a commit here, by the key of git's settings; empty where it is not set."""
    keys = ("user.name", "user.email")
    values = {key: subprocess.run(["git", "config", key], capture_output=True, text=True) for key in keys}
    return {key: done.stdout.strip() for key, done in values.items() if done.stdout.strip()}


def set_identity(clone: Path, identity: Mapping[str, str]) -> None:
    """Let the clone's commits be made by whom `read_identity` found."""
    for key, value in identity.items():
        run_git("config", key, value, cwd=clone)


def copy_ignored(folder: str, project: Path, clone: Path) -> None:
    """Make the files of `folder` that git ignores, such as those that DVC tracks, the same in the clone."""
    listing = ("ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--", folder)
    for path in set(run_git(*listing, cwd=clone).split("\0")) - {""}:
        (clone / path).unlink()  # also if it stays: it may be a link, and writing would change DVC's cache
    for path in set(run_git(*listing, cwd=project).split("\0")) - {""}:
        (clone / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(project / path, clone / path)


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
    fetch_experiments(CLONE, commit)
    remove_experiments(CLONE)


def fetch_experiments(source: Path, commit: str) -> None:
    """Fetch the experiments under `commit` from a clone or a bundle, replacing those of the same name."""
    experiments = f"{name_refs(commit)}*"
    run_git("fetch", "--quiet", str(source), f"+{experiments}:{experiments}")


def remove_experiments(clone: Path) -> None:
    for ref in run_git("for-each-ref", "--format=%(refname)", "refs/exps", cwd=clone).split():
        run_git("update-ref", "-d", ref, cwd=clone)


def name_refs(commit: str) -> str:
    """How the references of DVC's experiments under `commit` begin; the name follows."""
    return f"refs/exps/{commit[:2]}/{commit[2:]}/"


def run_git(*arguments: str, cwd: Path = Path()) -> str:
    """Run git; see `run_program`."""
    return run_program("git", *arguments, cwd=cwd)


def run_program(program: str, *arguments: str, cwd: Path = Path(), remedy: str = REMOVE) -> str:
    """Run a program and return its stdout; raise UserError with its first error line if it fails."""
    done = subprocess.run([program, *arguments], cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["failed"]
        reason = next((line for line in lines if line.startswith("ERROR: ")), lines[0])  # after warnings
        raise UserError(f"{program} {arguments[0]}: {reason} ({remedy})")
    return done.stdout
