"""Run a table of ablations.yaml as DVC experiments, row by row and seed by seed, and compare them.

One experiment after the other, each in a copy of the project (`dvc exp run --temp`): the workspace stays as
it is. What ran is not run again: an experiment that stands under the last commit with the same params is
taken as it is, and DVC's run cache knows the stages of the others. A row that fails is reported at the end.

params  all
reads   ablations.yaml
writes  metrics/ablation/TABLE-DATA.csv    a line per row and metric
        metrics/ablation/TABLE-DATA.md     the same to read
        plots/ablation/TABLE-DATA.png
        .scratch/ablation.log              what the stages print
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

from src.errors import Stopped, UserError, run
from src.params import flat, nearest
from tools.experiments import merged, params_of, show
from tools.paired import compared, write
from tools.tables import FILE, SEED, Row, Table, read_table

LOG = Path(".scratch/ablation.log")
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
        failed = run_missing(table, log)
        metrics = {name: one.metrics for name, one in standing(table).items()}
        check_metrics(table, metrics)
        paths = write(table, compared(table, metrics))
    print(f"\n{paths[1].read_text(encoding='utf-8')}\n{', '.join(map(str, paths))}")
    if failed:
        raise UserError(*(f"{name}: {why} ({LOG} says more)" for name, why in failed.items()))


def check_committed() -> None:
    """Experiments stand under the last commit: raise UserError if what decides a result differs from it."""
    command = ["git", "status", "--porcelain", "--", *DECISIVE]
    changed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[0]
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


def run_missing(table: Table, log: IO[str]) -> dict[str, str]:
    """Run the experiments that are not recorded yet; returns why the failed ones failed, by name."""
    names, known = existing(), standing(table)
    missing = [(name, row, seed) for name, row, seed in table.experiments() if name not in known]
    for label in table.without:
        print(f"{label}: changes nothing on {table.data}, left out")
    size = f"{len(table.rows)} rows x {len(table.seeds)} seeds"
    print(f"{table.name} on {table.data}: {size}, {len(known)} recorded, {len(missing)} to run", flush=True)
    failed, seconds, trained = {}, [], 0
    for number, (name, row, seed) in enumerate(missing, start=1):
        began = time.monotonic()
        if name in names:
            subprocess.run(["dvc", "exp", "remove", "--quiet", name], check=True)
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
    command = ["dvc", "exp", "run", "--temp", "--name", name]
    command += [part for word in words for part in ("-S", word)] + [TARGET]
    begin = log.seek(0, os.SEEK_END)
    log.write(f"$ {shlex.join(command)}\n")
    log.flush()
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        code = process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGINT)
        process.wait()
        raise
    log.seek(begin)
    lines = log.read().splitlines()
    trained = "Running stage 'train_student':" in lines
    if code:
        errors = [line for line in lines if line.lower().startswith("error: ")]
        why = errors[0][len("error: ") :].partition("; the outs of before")[0] if errors else lines[-1]
        return Outcome(f"failed: {why}", False, trained)
    said = [line for line in lines if line.startswith("student: ")]
    return Outcome(said[-1].partition(" (")[0] if said else "from DVC's cache", True, trained)


def standing(table: Table) -> dict[str, Recorded]:
    """The table's experiments that are recorded under the last commit with the params of today."""
    found = existing()
    return {
        name: found[name]
        for name, row, seed in table.experiments()
        if name in found and found[name].params == row.params | {SEED: seed}
    }


def existing() -> dict[str, Recorded]:
    """All experiments under the last commit by name."""
    commit = next(one for one in show(commits=1) if one["rev"] != "workspace")
    return {
        one["name"]: Recorded(params_of(data), dict(flat(merged(data, "metrics"))))
        for one in commit["experiments"] or []
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
