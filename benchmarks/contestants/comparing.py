"""Contestants take turns, seed by seed; a peer gets as many epochs as fit into the time."""

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from benchmarks.students import format_values
from benchmarks.timing import Usage, add_usages
from src.ground.errors import UserError

SPLITS = ("val", "test")
TOLERANCE = 0.1  # of the time that a peer gets


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
    epochs: dict[str, int] = {one.name: 0 for one in contestants}
    for seed in range(1, seeds + 1):
        for one in contestants:
            if seed == 1 and one.takes_epochs:
                if seconds is None:
                    raise UserError(
                        "--seconds: needed where Dojo's own time is not measured (or other --rows)"
                    )
                epochs[one.name], result = fit_into(one, seconds, folder)
            else:
                result = train_once(one, epochs[one.name], seed, folder)
            if seed == 1:
                print(f"{one.name}: {one.describe(epochs[one.name])}")
            results[one.name].append(result)
            seconds = seconds or result.usage.seconds
            accuracies = f"val {result.val:.4f}, test {result.test:.4f}"
            print(f"seed {seed}, {one.name:28} {accuracies}, {format_usage(result.usage)}", flush=True)
    return results


def fit_into(contestant: Contestant, seconds: float, folder: Path) -> tuple[int, Result]:
    """How many epochs a contestant gets, and its result with seed 1.

    Trainings of one and of two epochs tell how many fit into the seconds, and that training tells it better:
    this goes on until one takes the seconds, give or take TOLERANCE of them, or the number has been tried.
    """
    tried = {1: train_once(contestant, 1, 1, folder)}
    first = tried[1].usage.seconds
    epochs = 2 if first < seconds else 1
    while epochs not in tried:
        tried[epochs] = train_once(contestant, epochs, 1, folder)
        took = tried[epochs].usage.seconds
        if abs(took - seconds) > TOLERANCE * seconds:
            epochs = fit_epochs(first, epochs, took, seconds)
    times = ", ".join(f"{number}: {result.usage.seconds:.0f} s" for number, result in tried.items())
    print(f"{contestant.name}: epochs to fit into {seconds:.0f} s: {epochs} (tried {times})")
    return epochs, tried[epochs]


def fit_epochs(one: float, epochs: int, took: float, seconds: float) -> int:
    """The most epochs, at least 1, that fit into the seconds if one took `one` and `epochs` took `took`.

    What comes before and after the epochs is counted once; if more did not take longer than one, with each.
    """
    each = (took - one) / (epochs - 1) if took > one else one
    return max(1, 1 + int((seconds - one) // each))


def train_once(contestant: Contestant, epochs: int, seed: int, folder: Path) -> Result:
    """What a contestant reaches; its files are removed."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        usage = contestant.train(epochs, seed, Path(name))
        return Result(*contestant.measure(Path(name)), usage)


def print_summary(results: Mapping[str, Sequence[Result]]) -> None:
    """Mean, sd and every value of each contestant, and by how much the first one is ahead on test."""
    mean = {name: statistics.mean(one.test for one in found) for name, found in results.items()}
    for name, found in results.items():
        for split in SPLITS:
            print(f"{name:28} {split:4} {format_values([getattr(one, split) for one in found])}")
        usage = add_usages([one.usage for one in found])
        average = Usage(usage.seconds / len(found), usage.cpu / len(found), usage.memory)
        print(f"{name:28} took {format_usage(average)} on average")
    first, *others = results
    for name in others:
        print(f"{first}'s mean accuracy on test less that of {name}: {mean[first] - mean[name]:+.4f}")


def format_usage(usage: Usage) -> str:
    return f"{usage.seconds:.0f} s, {usage.cpu:.0f} s of CPU, {usage.memory / 1024:.0f} MB"
