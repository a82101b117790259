"""How many seeds a difference takes: the power of the paired t test that `paired` makes.

The power is that of the noncentral t distribution (J. Cohen, Statistical Power Analysis for the Behavioral
Sciences, 1988). The level is that of Holm's first step, 0.05 over the number of rows that are compared: what
shows there shows whatever the other rows do.
"""

import math
from bisect import bisect_left

import pandas as pd
from scipy import optimize, stats

from tools.ablation.paired import LEVEL

POWER = 0.8
MOST = 1000  # seeds; more are not counted


def describe_power(lines: pd.DataFrame, seeds: int) -> list[str]:
    """What `seeds` seeds and more would show, judged by these lines: three lines of text per metric."""
    text = []
    for metric, own in lines.groupby("metric", sort=False):
        rows = int((own["row"] != own["baseline"]).sum())
        own = own[own["p"].notna()]
        if own.empty:
            continue
        level = LEVEL / rows
        spreads = own.apply(find_spread, axis=1)
        effects = own["difference"].abs() / spreads
        spread, sizes = spreads.median(), [n for n in (seeds, 2 * seeds, 4 * seeds, 8 * seeds) if n > 1]
        shown = ", ".join(f"{n} seeds {spread * find_effect(n, level):.4f}" for n in sizes)
        counts = [format_count(count_seeds(effect, level)) for effect in effects]
        needed = ", ".join(f"{row} {count}" for row, count in zip(own["row"], counts, strict=True))
        text += [
            f"{metric}: the smallest difference that would be seen four times out of five: {shown}",
            f"  (p < {LEVEL} after Holm's adjustment for {rows} rows; "
            f"median sd of the paired differences {spread:.4f})",
            f"  seeds to see the difference of each row as often, were it the true one: {needed}",
        ]
    return text


def find_spread(line: pd.Series) -> float:
    """The sd of a line's paired differences, widened by the resolution, from its interval."""
    half = (line["high"] - line["low"]) / 2
    return half * math.sqrt(line["pairs"]) / stats.t.isf(LEVEL / 2, line["pairs"] - 1)


def find_power(effect: float, n: int, level: float) -> float:
    """The chance that n paired differences whose mean is `effect` of their sd have a p below `level`."""
    critical, shift = stats.t.isf(level / 2, n - 1), effect * math.sqrt(n)
    opposite = stats.nct.cdf(-critical, n - 1, shift)  # NaN where it is too small to compute
    return stats.nct.sf(critical, n - 1, shift) + (0.0 if math.isnan(opposite) else opposite)


def find_effect(n: int, level: float) -> float:
    """The smallest mean of n paired differences that shows with a chance of POWER, as a share of their sd."""
    most = (3 * stats.t.isf(level / 2, n - 1) + 3) / math.sqrt(n)
    return optimize.brentq(lambda effect: find_power(effect, n, level) - POWER, 0, most)


def count_seeds(effect: float, level: float) -> int:
    """The fewest seeds that show this effect with a chance of POWER, MOST + 1 if more than MOST."""
    return bisect_left(range(MOST + 1), POWER, lo=2, key=lambda n: find_power(effect, n, level))


def format_count(seeds: int) -> str:
    """A number of seeds, as counted up to MOST."""
    return str(seeds) if seeds <= MOST else f"over {MOST:,}"
