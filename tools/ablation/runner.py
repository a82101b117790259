"""Run the experiments of a table that are not recorded yet: one by one in the clone, or on an engine."""

import fcntl
import os
import re
import shlex
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, NamedTuple

from src.ground.errors import Stopped
from src.teaching.teachers import find_dropped
from tools.ablation.clone import CLONE, publish_experiments, run_git
from tools.ablation.tables import Row, Table
from tools.inputs import TARGET
from tools.tidy import TEACHERS

LOG = Path(".scratch/ablation.log")
RESTORE_HINT = r"; [^;]*git checkout .*metrics plots.*$"  # of a failed stage; does not apply to the clone


class Experiment(NamedTuple):
    """What one `dvc exp run` is told."""

    name: str
    overrides: tuple[str, ...]  # of params.yaml, the seeds last
    teachers: tuple[str, ...]  # knowledge.teachers


class Outcome(NamedTuple):
    """How one `dvc exp run` ended."""

    summary: str  # a line for the terminal, with the reason if it failed
    succeeded: bool
    trained: bool  # as opposed to restored from DVC's cache


@contextmanager
def hold_log() -> Iterator[IO[str]]:
    """The emptied log, locked until this process and all its children have ended, since they write to it."""
    LOG.parent.mkdir(exist_ok=True)
    with open(LOG, "a+", encoding="utf-8", errors="replace") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for the previous experiment to end (tail -f {LOG})", flush=True)
            fcntl.flock(log, fcntl.LOCK_EX)
        log.truncate(0)
        yield log


def run_missing(
    table: Table,
    missing: Sequence[tuple[str, Row, int]],
    run: Callable[[Sequence[Experiment]], Iterator[tuple[str, Outcome, float]]],
    at_once: int = 1,
) -> dict[str, str]:
    """Run these experiments of the table, name, row and seed; returns the reasons of failures by name.

    `run` yields the name, the outcome and the seconds of each, as they end; it runs `at_once` side by side.
    """
    for label in table.left_out:
        print(f"{label}: changes nothing on {table.data}, left out")
    size = f"{len(table.rows)} rows x {len(table.seeds)} seeds"
    recorded = len(table.rows) * len(table.seeds) - len(missing)
    print(f"{table.name} on {table.data}: {size}, {recorded} recorded, {len(missing)} to run", flush=True)
    failures, took, trained = {}, [], 0
    experiments = [describe(name, row, table.list_seeds(row, seed)) for name, row, seed in missing]
    for number, (name, outcome, seconds) in enumerate(run(experiments), start=1):
        took.append(seconds)
        if outcome.succeeded:
            trained += outcome.trained
        else:
            failures[name] = outcome.summary
        left = statistics.median(took) * (len(missing) - number) / at_once / 60
        progress = f"[{number}/{len(missing)}] {name}"
        print(f"{progress}: {outcome.summary} ({seconds:.0f} s; {left:.0f} min left)", flush=True)
    cached = len(missing) - trained - len(failures)
    print(f"{trained} trained, {cached} from DVC's cache, {len(failures)} failed")
    return failures


def describe(name: str, row: Row, seeds: Mapping[str, int]) -> Experiment:
    """The experiment of a row with these seeds."""
    overrides = (*row.overrides.values(), *(f"{key}={seed}" for key, seed in seeds.items()))
    return Experiment(name, overrides, tuple(row.params["knowledge.teachers"]))


def run_here(experiments: Sequence[Experiment], log: IO[str]) -> Iterator[tuple[str, Outcome, float]]:
    """Run these one after the other in CLONE; yields the name, the outcome and the seconds of each."""
    for experiment in experiments:
        began = time.monotonic()
        outcome = run_experiment(experiment, CLONE, log)
        publish_experiments()
        yield experiment.name, outcome, time.monotonic() - began


def run_experiment(experiment: Experiment, clone: Path, log: IO[str]) -> Outcome:
    """Run one experiment up to TARGET; a signal to this process stops it too, with its state saved."""
    run_git("checkout", "--quiet", "HEAD", "--", "params.yaml", cwd=clone)
    for left in find_dropped(clone / TEACHERS, experiment.teachers):  # by the row before
        left.unlink()
    command = ["dvc", "exp", "run", "--name", experiment.name]
    for override in experiment.overrides:
        command += ["-S", override]
    command.append(TARGET)
    begin = log.seek(0, os.SEEK_END)
    log.write(f"$ {shlex.join(command)}\n")
    log.flush()
    process = subprocess.Popen(
        command, cwd=clone, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        code = process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGINT)
        process.wait()
        raise
    log.seek(begin)
    return summarize_output(log.read().splitlines(), succeeded=code == 0)


def raise_stopped(signum: int, frame: FrameType | None) -> None:
    """A handler of signals under which run_experiment stops what it runs."""
    raise Stopped(signum)


def summarize_output(lines: list[str], succeeded: bool) -> Outcome:
    """Parse the outcome from the output lines of one `dvc exp run`."""
    trained = "Running stage 'train_student':" in lines
    if not succeeded:
        errors = [line for line in lines if line.lower().startswith("error: ")]
        reason = re.sub(RESTORE_HINT, "", errors[0][len("error: ") :]) if errors else lines[-1]
        return Outcome(f"failed: {reason}", False, trained)
    results = [line for line in lines if line.startswith("student: ")]
    return Outcome(results[-1].partition(" (")[0] if results else "from DVC's cache", True, trained)
