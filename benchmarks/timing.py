"""Contestants timed in turns, so that a noisy machine is unfair to none of them."""

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


def in_turns(contestants: Mapping[Name, Callable[[], object]], rounds: int) -> dict[Name, list[float]]:
    """Seconds of each contestant in each round; one more round before them warms up and is not counted."""
    seconds: dict[Name, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, run in contestants.items():
            began = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def table(seconds: Mapping[str, list[float]], reference: str) -> str:
    """A line per contestant: median seconds, and how many times as fast as the reference, median and range.

    The ratios are those within a round.
    """
    lines = [f"{'':32} {'seconds':>9} {'times as fast':>14} {'range':>16}"]
    for name, values in seconds.items():
        ratios = [base / value for base, value in zip(seconds[reference], values, strict=True)]
        span = f"{min(ratios):.2f} to {max(ratios):.2f}"
        lines.append(
            f"{name:32} {statistics.median(values):9.4f} {statistics.median(ratios):14.2f} {span:>16}"
        )
    return "\n".join(lines)
