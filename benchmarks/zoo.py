"""Which networks take a training step: every one of timm and torchvision with fewer than 30 M parameters.

Each has a process of its own, forked from this one, so that a crash or a hang is one network's failure. It is
built and takes a training step on two pictures, with the checks that precede a training, at the smallest of
the sizes of `list_sides` that it takes. The table is updated after every network; --rest goes on.

writes  benchmarks/zoo.csv    network, family, parameters, pixels a side, outcome
run     python -m benchmarks.zoo           all of them
        python -m benchmarks.zoo --rest    those that the table lacks
        python -m benchmarks.zoo NAME ...  these, without writing the table; fails if one differs from it
"""

import argparse
import csv
import faulthandler
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from functools import cache
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from torch import nn

from src.ground.errors import UserError, run, shorten
from src.ground.files import open_atomically
from src.ground.names import ALIASES, REGISTERED, find_library
from src.networks.checks import check_sizes, check_step, fits, list_sides
from src.networks.libraries import build_model
from tools.models import build_without_values

TABLE = Path("benchmarks/zoo.csv")
MOST = 30e6  # parameters; larger networks take no step
CLASSES = 6
AT_ONCE = 2  # processes
CPU_SECONDS, SECONDS = 120, 900  # after which a network hangs: of its own CPU time, and on the clock
STEP, LARGE, HANGS = "step", "too large to try", "hangs"


@dataclass(frozen=True)
class Row:
    """What became of one network."""

    network: str
    family: str  # the library's file that defines it
    parameters: int
    side: int  # pixels; 0 if it takes no size
    outcome: str  # STEP, LARGE, or what went wrong


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo")
    parser.add_argument("networks", nargs="*")
    parser.add_argument("--rest", action="store_true", help="only those that the table lacks")
    arguments = parser.parse_args()
    table = {row.network: row for row in read_table()}
    names = arguments.networks or [n for n in find_families() if n not in table or not arguments.rest]
    known = {name: row.parameters for name, row in table.items()}
    torch.set_num_threads(1)
    other = []
    for number, row in enumerate(try_all(names, known), 1):
        print(f"{number}/{len(names)} {row.network}: {row.parameters / 1e6:.2f} M, {row.side}: {row.outcome}")
        sys.stdout.flush()
        if arguments.networks:
            other += [row.network] if row != table.get(row.network) else []
        else:
            table[row.network] = row
            write_table(list(table.values()))
    if other:
        raise UserError(f"{TABLE}: other results than now: {', '.join(other)} (python -m benchmarks.zoo)")


def read_table() -> list[Row]:
    if not TABLE.exists():
        return []
    with TABLE.open(encoding="utf-8", newline="") as file:
        return [Row(r[0], r[1], int(r[2]), int(r[3]), r[4]) for r in list(csv.reader(file))[1:]]


def write_table(rows: Sequence[Row]) -> None:
    with open_atomically(TABLE) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(Row))
        writer.writerows(astuple(row) for row in sorted(rows, key=lambda row: (row.family, row.network)))


@cache
def find_families() -> dict[str, str]:
    """The file that defines each network, LIBRARY/FILE, or alias; as `list_architectures` names them."""
    families = {}
    for library, prefix in (("torchvision", ""), ("timm", "timm/")):
        for path in sorted((find_library(library) / "models").glob("*.py")):
            for name in REGISTERED.findall(path.read_text(encoding="utf-8")):
                families[prefix + name] = f"{library}/{path.stem}"
    return families | dict.fromkeys(ALIASES, "alias")


def try_all(names: Sequence[str], known: Mapping[str, int]) -> Iterator[Row]:
    """Try each network in a process of its own, `AT_ONCE` of them at a time; in the order of their ends.

    `known` are numbers of parameters by network.
    """
    context, waiting = get_context("fork"), list(reversed(names))
    running: dict[Connection, tuple] = {}
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            mine, theirs = context.Pipe(duplex=False)
            process = context.Process(target=report, args=(theirs, waiting[-1], known.get(waiting[-1], 0)))
            process.start()
            theirs.close()
            running[mine] = waiting.pop(), process, time.monotonic() + SECONDS
        first = min(end for _, _, end in running.values())
        ready = wait(list(running), max(0, first - time.monotonic()))
        for mine, (name, process, end) in list(running.items()):
            if mine in ready or end <= time.monotonic():
                del running[mine]
                sent = collect(mine, process)
                found = (known.get(name, 0), 0, sent) if isinstance(sent, str) else sent
                yield Row(name, find_families()[name], *found)


def collect(pipe: Connection, process: BaseProcess) -> tuple[int, int, str] | str:
    """What the process of a network has sent, or how it ended without."""
    hung = not pipe.poll()
    if hung:
        process.kill()
    try:
        return pipe.recv()
    except EOFError:
        process.join()
        code = process.exitcode or 0
        if hung or code == -signal.SIGXCPU:
            return HANGS
        return f"ends by {signal.Signals(-code).name}" if code < 0 else f"ends with {code}"
    finally:
        process.join()
        pipe.close()


def report(pipe: Connection, arch: str, parameters: int) -> None:
    """Send what `try_network` returns; nothing else is printed."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # of a crash and of warnings
    pipe.send(try_network(arch, parameters))


def try_network(arch: str, parameters: int) -> tuple[int, int, str]:
    """The number of parameters, if 0 is given, the smallest side that the network takes, and the outcome."""
    side = 0
    try:
        parameters = parameters or count_parameters(build_without_values(arch, CLASSES))
        if parameters >= MOST:
            return parameters, 0, LARGE
        network = build_model(arch, CLASSES, "student")
        sides = list_sides(network.expected)
        side = next((side for side in sides if fits(network, side)), 0)
        check_sizes(network, [(side or sides[-1],) * 2], CLASSES, "student")
        check_step(network, (side, side), CLASSES, "student")
        left = [name for name, one in network.named_parameters() if one.requires_grad and one.grad is None]
        return parameters, side, f"{STEP}, no gradient of {', '.join(left)}" if left else STEP
    except Exception as error:
        return parameters, side, describe(error)


def count_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def describe(error: Exception) -> str:
    """The refusal without key and remedy."""
    kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    return kind + shorten(error, 400).removeprefix("params.yaml: student.arch: ").rpartition(" (")[0]


if __name__ == "__main__":
    run(main)
