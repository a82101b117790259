"""Time contestants in turns, so that noise of the machine affects all of them alike; time whole programs."""

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from src.ground.errors import UserError

Name = TypeVar("Name", bound=Hashable)


class Usage(NamedTuple):
    """What a program used, together with the processes that it started and waited for."""

    seconds: float  # of the clock
    cpu: float  # seconds
    memory: int  # kilobytes: the peak of one process


def run_program(folder: Path, *command: str) -> tuple[Usage, str]:
    """What a program that runs in a folder used, and what it wrote; UserError if it fails."""
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)  # the usage of this program alone
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)  # Popen has not seen it
        output.seek(0)
        text = output.read()
    if process.returncode:
        last = text.strip().rpartition("\n")[2]
        raise UserError(f"{' '.join(command)}: exit code {process.returncode}: {last} (run it in {folder})")
    return Usage(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss), text


def add_usages(usages: Sequence[Usage]) -> Usage:
    """What programs used that ran one after another."""
    seconds, cpu, memory = zip(*usages, strict=True)
    return Usage(sum(seconds), sum(cpu), max(memory))


def time_in_turns(
    contestants: Mapping[Name, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Name, list[float]]:
    """Seconds per contestant and round; an additional first round warms up and is not counted."""
    seconds: dict[Name, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, run in contestants.items():
            began = clock()
            run()
            if number:
                seconds[name].append(clock() - began)
    return seconds


def format_table(seconds: Mapping[str, list[float]], reference: str) -> str:
    """One line per contestant: median seconds, and the speed-up over the reference, median and range.

    Speed-ups are computed within each round.
    """
    lines = [f"{'':32} {'seconds':>9} {'times as fast':>14} {'range':>16}"]
    for name, values in seconds.items():
        ratios = [base / value for base, value in zip(seconds[reference], values, strict=True)]
        span = f"{min(ratios):.2f} to {max(ratios):.2f}"
        lines.append(
            f"{name:32} {statistics.median(values):9.4f} {statistics.median(ratios):14.2f} {span:>16}"
        )
    return "\n".join(lines)
