"""The clone of the project in which experiments run, so that the workspace is left alone.

It stays between tables: DVC remembers its packed pictures, which `dvc exp run --temp` would copy and hash
anew for every experiment.
"""

import subprocess
from pathlib import Path

from src.ground.errors import UserError

CLONE = Path(".scratch/ablation")
DECISIVE = ("params.yaml", "dvc.yaml", "dvc.lock", "src", "stages", "demos")


def check_committed() -> None:
    """Raise UserError if what decides a result differs from the last commit: experiments start there."""
    changed = run_git("status", "--porcelain", "--", *DECISIVE).split("\n")[0]
    if changed:
        remedy = "a table belongs to a commit: commit the change or undo it"
        raise UserError(f"{changed[3:]}: changed since the last commit ({remedy})")


def prepare_clone(commit: str) -> None:
    """Make or reuse the clone, at `commit` and with this project's cache; publish what it still holds."""
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
    """Move the clone's experiments into the project, in place of any of the same name."""
    commit = run_git("rev-parse", "HEAD", cwd=CLONE).strip()
    experiments = f"refs/exps/{commit[:2]}/{commit[2:]}/*"
    run_git("fetch", "--quiet", str(CLONE), f"+{experiments}:{experiments}")
    for ref in run_git("for-each-ref", "--format=%(refname)", "refs/exps", cwd=CLONE).split():
        run_git("update-ref", "-d", ref, cwd=CLONE)


def run_git(*arguments: str, cwd: Path = Path()) -> str:
    """What git prints; its first error line as a UserError if it fails."""
    done = subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        reason = done.stderr.strip().partition("\n")[0]
        raise UserError(f"git {arguments[0]}: {reason} (if it concerns {CLONE}, remove that folder)")
    return done.stdout
