"""Time contestants in turns, so that noise of the machine affects all of them alike."""

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


def time_in_turns(contestants: Mapping[Name, Callable[[], object]], rounds: int) -> dict[Name, list[float]]:
    """Seconds per contestant and round; an additional first round warms up and is not counted."""
    seconds: dict[Name, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, run in contestants.items():
            began = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - began)
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
