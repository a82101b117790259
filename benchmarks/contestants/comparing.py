"""Contestants take turns, seed by seed; a peer gets as many epochs as fit into the time."""

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from benchmarks.students import format_values
from benchmarks.timing import Usage
from src.ground.errors import UserError

SPLITS = ("val", "test")


class Task(NamedTuple):
    """What every peer gets."""

    data: Path  # a folder of train, val and test; absolute, like the next
    weights: Path
    arch: str  # timm's name
    size: int  # pixels
    batch_size: int


class Contestant(Protocol):
    name: str
    takes_epochs: bool  # whether its epochs are chosen to fit into the time

    def describe(self, epochs: int) -> str:
        """Its settings, for a reader."""
        ...

    def train(self, epochs: int, seed: int, folder: Path) -> Usage:
        """Train, and leave what `measure` needs in an empty folder."""
        ...

    def measure(self, folder: Path) -> tuple[float, float]:
        """Accuracy in [0, 1] on val and test."""
        ...


class Result(NamedTuple):
    """Accuracy in [0, 1], and what the training took."""

    val: float
    test: float
    usage: Usage


def compare(
    contestants: Sequence[Contestant], seeds: int, seconds: float | None, folder: Path
) -> dict[str, list[Result]]:
    """Train and measure all; without `seconds`, what the first one took with the first seed is the time."""
    results: dict[str, list[Result]] = {one.name: [] for one in contestants}
    epochs: dict[str, int] = {}
    for seed in range(1, seeds + 1):
        for one in contestants:
            if one.name not in epochs:
                epochs[one.name] = choose_epochs(one, seconds, folder) if one.takes_epochs else 0
                print(f"{one.name}: {one.describe(epochs[one.name])}", flush=True)
            with tempfile.TemporaryDirectory(dir=folder) as name:
                usage = one.train(epochs[one.name], seed, Path(name))
                val, test = one.measure(Path(name))
            results[one.name].append(Result(val, test, usage))
            seconds = seconds or usage.seconds
            took = f"{usage.seconds:.0f} s, {usage.cpu:.0f} s of CPU"
            print(f"seed {seed}, {one.name:28} val {val:.4f}, test {test:.4f}, {took}", flush=True)
    return results


def choose_epochs(contestant: Contestant, seconds: float | None, folder: Path) -> int:
    """How many epochs of a contestant fit into the seconds, by trainings of one and of two."""
    if seconds is None:
        raise UserError("--seconds: needed where Dojo's own time is not measured (or choose other --rows)")
    took = []
    for epochs in (1, 2):
        with tempfile.TemporaryDirectory(dir=folder) as name:
            took.append(contestant.train(epochs, 1, Path(name)).seconds)
    one, two = took
    chosen = fit_epochs(one, two, seconds)
    print(
        f"{contestant.name}: 1 and 2 epochs took {one:.0f} and {two:.0f} s, {chosen} fit into {seconds:.0f} s"
    )
    return chosen


def fit_epochs(one: float, two: float, seconds: float) -> int:
    """The most epochs, at least 1, that fit into the seconds if trainings of one and of two took so many.

    What comes before and after the epochs is counted once; if two did not take longer than one, with each.
    """
    each = two - one if two > one else one
    return max(1, 1 + int((seconds - one) // each))


def print_summary(results: Mapping[str, Sequence[Result]]) -> None:
    """Mean, sd and every value of each contestant, and by how much the first one is ahead on test."""
    mean = {name: statistics.mean(one.test for one in found) for name, found in results.items()}
    for name, found in results.items():
        for split in SPLITS:
            print(f"{name:28} {split:4} {format_values([getattr(one, split) for one in found])}")
        seconds = statistics.mean(one.usage.seconds for one in found)
        cpu = statistics.mean(one.usage.cpu for one in found)
        memory = max(one.usage.memory for one in found) / 1024
        print(f"{name:28} took {seconds:.0f} s on average, {cpu:.0f} s of CPU, {memory:.0f} MB")
    first, *others = results
    for name in others:
        print(f"{first}'s mean accuracy on test less that of {name}: {mean[first] - mean[name]:+.4f}")
