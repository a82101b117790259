"""Run a table of ablations.yaml as DVC experiments, row by row and seed by seed, and compare them.

One experiment after the other, in a clone of the project that stays: the workspace is left alone, and DVC
remembers the clone's pictures and packs, which `dvc exp run --temp` copies and hashes anew each time. What
ran is not run again: an experiment that stands under the last commit with the same params is taken as it is,
and DVC's run cache knows the stages of the others. A row that fails is reported at the end.

params  all
reads   ablations.yaml
writes  metrics/ablation/TABLE-DATA.csv    a line per row and metric
        metrics/ablation/TABLE-DATA.md     the same to read
        plots/ablation/TABLE-DATA.png
        .scratch/ablation.log              what the stages print
        .scratch/ablation                  the clone; its experiments become the project's
run     python -m tools.ablation TABLE [DATA] [--set KEY=VALUE ...]
"""

import argparse
import fcntl
import os
import shlex
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, Any, NamedTuple

from src.ground.errors import Stopped, UserError, run
from src.ground.params import flat, nearest
from tools.experiments import merged, params_of, show
from tools.paired import compared, write
from tools.tables import FILE, SEED, Row, Table, read_table

LOG = Path(".scratch/ablation.log")
CLONE = Path(".scratch/ablation")
TARGET = "evaluate"
DECISIVE = ("params.yaml", "dvc.yaml", "dvc.lock", "src", "stages", "demos")


class Recorded(NamedTuple):
    """What DVC keeps of an experiment, by key."""

    params: dict[str, Any]
    metrics: dict[str, float]


class Outcome(NamedTuple):
    """How one `dvc exp run` ended."""

    text: str  # what to say of it
    good: bool
    trained: bool  # rather than taken from DVC's cache


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.ablation")
    parser.add_argument("table")
    parser.add_argument("data", nargs="?", default="demo")
    parser.add_argument("--set", nargs="*", default=[], help="words of -S for every row")
    arguments = parser.parse_args()
    table = read_table(arguments.table, arguments.data, arguments.set)
    check_committed()
    signal.signal(signal.SIGTERM, stop)
    with alone() as log:
        commit = git("rev-parse", "HEAD").strip()
        prepare_clone(commit)
        failed = run_missing(table, commit, log)
        metrics = {name: one.metrics for name, one in standing(table, commit).items()}
        check_metrics(table, metrics)
        paths = write(table, compared(table, metrics))
    print(f"\n{paths[1].read_text(encoding='utf-8')}\n{', '.join(map(str, paths))}")
    if failed:
        raise UserError(*(f"{name}: {why} ({LOG} says more)" for name, why in failed.items()))


def check_committed() -> None:
    """Experiments stand under the last commit: raise UserError if what decides a result differs from it."""
    changed = git("status", "--porcelain", "--", *DECISIVE).split("\n")[0]
    if changed:
        remedy = "a table belongs to a commit: commit it, or take it back"
        raise UserError(f"{changed[3:]}: changed since the last commit ({remedy})")


@contextmanager
def alone() -> Iterator[IO[str]]:
    """The empty log, held until this process and all that it started have ended: they write into it."""
    LOG.parent.mkdir(exist_ok=True)
    with open(LOG, "a+", encoding="utf-8", errors="replace") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for the experiment of before to end (tail -f {LOG})", flush=True)
            fcntl.flock(log, fcntl.LOCK_EX)
        log.truncate(0)
        yield log


def prepare_clone(commit: str) -> None:
    """A clone at `commit` that shares this project's cache; what it still held is published."""
    if not (CLONE / ".git").exists():
        git("clone", "--quiet", "--shared", ".", str(CLONE))
    for key in ("user.name", "user.email"):
        if value := subprocess.run(["git", "config", key], capture_output=True, text=True).stdout.strip():
            git("config", key, value, within=CLONE)
    cache = subprocess.run(["dvc", "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
    subprocess.run(["dvc", "config", "--local", "cache.dir", cache], cwd=CLONE, check=True)
    publish()
    git("reset", "--quiet", "--hard", commit, within=CLONE)


def publish() -> None:
    """Make the clone's experiments the project's own, in place of any of the same name."""
    commit = git("rev-parse", "HEAD", within=CLONE).strip()
    experiments = f"refs/exps/{commit[:2]}/{commit[2:]}/*"
    git("fetch", "--quiet", str(CLONE), f"+{experiments}:{experiments}")
    for ref in git("for-each-ref", "--format=%(refname)", "refs/exps", within=CLONE).split():
        git("update-ref", "-d", ref, within=CLONE)


def git(*arguments: str, within: Path = Path()) -> str:
    """What git prints; raises UserError with what it complains of."""
    done = subprocess.run(["git", *arguments], cwd=within, capture_output=True, text=True)
    if done.returncode:
        why = done.stderr.strip().partition("\n")[0]
        raise UserError(f"git {arguments[0]}: {why} (if it is about {CLONE}, remove that folder)")
    return done.stdout


def run_missing(table: Table, commit: str, log: IO[str]) -> dict[str, str]:
    """Run the experiments that are not recorded yet; returns why the failed ones failed, by name."""
    known = standing(table, commit)
    missing = [(name, row, seed) for name, row, seed in table.experiments() if name not in known]
    for label in table.without:
        print(f"{label}: changes nothing on {table.data}, left out")
    size = f"{len(table.rows)} rows x {len(table.seeds)} seeds"
    print(f"{table.name} on {table.data}: {size}, {len(known)} recorded, {len(missing)} to run", flush=True)
    failed, seconds, trained = {}, [], 0
    for number, (name, row, seed) in enumerate(missing, start=1):
        began = time.monotonic()
        outcome = run_one(name, row, seed, log)
        seconds.append(time.monotonic() - began)
        if outcome.good:
            trained += outcome.trained
        else:
            failed[name] = outcome.text
        left = statistics.median(seconds) * (len(missing) - number) / 60
        place = f"[{number}/{len(missing)}] {name}"
        print(f"{place}: {outcome.text} ({seconds[-1]:.0f} s; {left:.0f} min left)", flush=True)
    cached = len(missing) - trained - len(failed)
    print(f"{trained} trained, {cached} from DVC's cache, {len(failed)} failed")
    return failed


def run_one(name: str, row: Row, seed: int, log: IO[str]) -> Outcome:
    """Run one experiment up to TARGET; a signal that ends this process ends it too, its state saved."""
    words = [*row.words.values(), f"{SEED}={seed}"]
    git("checkout", "--quiet", "HEAD", "--", "params.yaml", within=CLONE)
    command = ["dvc", "exp", "run", "--name", name]
    command += [part for word in words for part in ("-S", word)] + [TARGET]
    begin = log.seek(0, os.SEEK_END)
    log.write(f"$ {shlex.join(command)}\n")
    log.flush()
    process = subprocess.Popen(
        command, cwd=CLONE, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        code = process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGINT)
        process.wait()
        raise
    publish()
    log.seek(begin)
    lines = log.read().splitlines()
    trained = "Running stage 'train_student':" in lines
    if code:
        errors = [line for line in lines if line.lower().startswith("error: ")]
        why = errors[0][len("error: ") :].partition("; the outs of before")[0] if errors else lines[-1]
        return Outcome(f"failed: {why}", False, trained)
    said = [line for line in lines if line.startswith("student: ")]
    return Outcome(said[-1].partition(" (")[0] if said else "from DVC's cache", True, trained)


def standing(table: Table, commit: str) -> dict[str, Recorded]:
    """The table's experiments that are recorded under `commit` with the params of today."""
    found = existing(commit)
    return {
        name: found[name]
        for name, row, seed in table.experiments()
        if name in found and found[name].params == row.params | {SEED: seed}
    }


def existing(commit: str) -> dict[str, Recorded]:
    """All experiments under `commit` by name."""
    shown = next(one for one in show(commits=1, rev=commit) if one["rev"] != "workspace")
    return {
        one["name"]: Recorded(params_of(data), dict(flat(merged(data, "metrics"))))
        for one in shown["experiments"] or []
        for data in [one["revs"][0]["data"]]
        if one["name"]
    }


def check_metrics(table: Table, metrics: Mapping[str, Mapping[str, float]]) -> None:
    """Raise UserError for a metric of the table that no experiment has."""
    known = {key: None for one in metrics.values() for key in one}
    for metric in table.metrics:
        if known and metric not in known:
            where = f"{FILE}: tables.{table.name}.metrics: {metric}"
            raise UserError(f"{where}: no experiment has it{nearest(metric, list(known))}")


def stop(signum: int, frame: FrameType | None) -> None:
    raise Stopped(signum)


if __name__ == "__main__":
    run(main)
