"""The clone of the project in which experiments run, so that the workspace stays untouched.

It is kept between tables: `dvc exp run --temp` would copy and hash the packed pictures again for every
experiment, whereas in the clone DVC already knows their hashes.
"""

import subprocess
from pathlib import Path

from src.ground.errors import UserError

CLONE = Path(".scratch/ablation")
DECISIVE = ("params.yaml", "dvc.yaml", "dvc.lock", "src", "stages", "demos")


def check_committed() -> None:
    """Raise UserError if a file that affects results has uncommitted changes: experiments start from HEAD."""
    changed = run_git("status", "--porcelain", "--", *DECISIVE).split("\n")[0]
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
    cache = subprocess.run(["dvc", "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
    subprocess.run(["dvc", "config", "--local", "cache.dir", cache], cwd=CLONE, check=True)
    publish_experiments()
    run_git("reset", "--quiet", "--hard", commit, cwd=CLONE)


def publish_experiments() -> None:
    """Move the clone's experiments into the project, replacing those of the same name."""
    commit = run_git("rev-parse", "HEAD", cwd=CLONE).strip()
    experiments = f"refs/exps/{commit[:2]}/{commit[2:]}/*"
    run_git("fetch", "--quiet", str(CLONE), f"+{experiments}:{experiments}")
    for ref in run_git("for-each-ref", "--format=%(refname)", "refs/exps", cwd=CLONE).split():
        run_git("update-ref", "-d", ref, cwd=CLONE)


def run_git(*arguments: str, cwd: Path = Path()) -> str:
    """Run git and return its stdout; raise UserError with its first error line if it fails."""
    done = subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        reason = done.stderr.strip().partition("\n")[0]
        raise UserError(f"git {arguments[0]}: {reason} (if it concerns {CLONE}, remove that folder)")
    return done.stdout
