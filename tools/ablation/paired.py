"""Paired statistics: the metrics of each row, and its differences to the baseline over the same seeds.

The 95 % confidence interval is Student's t interval of the n per-seed differences, widened by the resolution
r of the metric: mean +- t(0.975, n - 1) sqrt((sd^2 + r^2 / 6) / n) (Student, The Probable Error of a Mean,
Biometrika 1908). A share of N pictures moves in steps of r = 1 / N, and a value that is read in steps has a
variance of r^2 / 12 beside the one that is seen (JCGM 100:2008, F.2.2.1; W. F. Sheppard, 1898), a difference
twice that. Without it, equal differences of one picture in two pairs would look certain.

Interval and p, which is below 0.05 where the interval excludes 0, are of one row: of twenty rows without an
effect, one is expected to look different. `p_holm` is p adjusted for all comparisons of a table by one metric
(S. Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics, 1979):
whichever rows have an effect, the chance that any without one is below 0.05 is at most 0.05.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from tools.ablation.tables import Table

LEVEL = 0.05  # of p and p_holm; 1 - LEVEL is the confidence of an interval
PARAMETERS = "student.parameters"
SPLITS = ("val", "test")  # whose numbers of pictures are metrics of check_images: data.val, data.test
COUNTED = ("accuracy", "top5", "macro_f1")  # shares of pictures; macro F1 moves in steps of about one
COLUMNS = (
    "row", "metric", "n", "mean", "sd", "baseline", "pairs", "difference", "low", "high", "p", "p_holm",
    "resolution", "parameters", "params", "published", "published_title", "title", "teacher_seeds", "seeds",
    "values",
)  # fmt: skip


class Estimate(NamedTuple):
    """The mean of n paired differences, the bounds of its 95 % interval, and its two-sided p."""

    difference: float
    low: float
    high: float
    p: float


def compare_rows(table: Table, metrics: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """One line per row and metric, with the comparison to the row's baseline; see `add_statistics`.

    `metrics` maps names of experiments to their metrics; the seed of a missing experiment is left out. The
    column `values` holds the metric per seed, in the order of the column `seeds`.
    """
    lines = []
    for metric in table.metrics:
        reached: dict[str, dict[int, float]] = {row.label: {} for row in table.rows}  # by row and seed
        parameters: dict[str, float] = {}
        steps: dict[str, float] = {}  # the resolution by row
        for name, row, seed in table.list_experiments():
            experiment = metrics.get(name, {})
            if metric in experiment:
                reached[row.label][seed] = experiment[metric]
            parameters[row.label] = experiment.get(PARAMETERS, parameters.get(row.label, math.nan))
            steps[row.label] = max(steps.get(row.label, 0.0), find_resolution(metric, experiment))
        for row in table.rows:
            values = reached[row.label]
            lines.append(
                {
                    "row": row.label,
                    "metric": metric,
                    "baseline": row.baseline,
                    "resolution": round(max(steps[row.label], steps[row.baseline]), 6),  # as in the CSV
                    "parameters": parameters[row.label],
                    "params": " ".join(row.own),
                    "published": row.published,
                    "published_title": table.published_title,
                    "title": table.title,
                    "teacher_seeds": table.teacher_seeds,
                    "seeds": " ".join(map(str, values)),
                    "values": " ".join(f"{value:.6f}" for value in values.values()),
                }
            )
    return add_statistics(pd.DataFrame(lines))


def add_statistics(lines: pd.DataFrame) -> pd.DataFrame:
    """The lines with n, mean, sd and the comparison to the baseline, from their `seeds` and `values`."""
    reached = {
        (metric, row): pd.Series([*map(float, values.split())], seeds.split(), dtype=float)
        for metric, row, seeds, values in zip(
            lines["metric"], lines["row"], lines["seeds"], lines["values"], strict=True
        )
    }
    found = []
    for _, line in lines.iterrows():
        values = reached[line["metric"], line["row"]]
        differences = (values - reached[line["metric"], line["baseline"]]).dropna().to_numpy()
        if line["row"] == line["baseline"]:
            differences = differences[:0]
        found.append(
            {"n": len(values), "mean": values.mean(), "sd": values.std(), "pairs": len(differences)}
            | estimate_mean(differences, line["resolution"])._asdict()
        )
    lines = lines.assign(**pd.DataFrame(found, lines.index))
    lines["p_holm"] = lines.groupby("metric")["p"].transform(adjust_by_holm)
    return lines[[*COLUMNS]]


def find_resolution(metric: str, experiment: Mapping[str, float]) -> float:
    """The step of a metric that counts pictures: the share of one in the split it was measured on; else 0."""
    *words, last = metric.split(".")
    split = next((word for word in words if word in SPLITS), "")
    pictures = experiment.get(f"data.{split}", 0)
    return 1 / pictures if last in COUNTED and pictures else 0.0


def estimate_mean(differences: np.ndarray, resolution: float = 0.0) -> Estimate:
    """The mean of the differences (n,) with its 95 % interval and p; NaN where n is too small.

    `resolution` is the step of the values whose differences these are, 0 if they are continuous. Without
    steps, equal differences have no spread to estimate from: an interval of one point, and no p.
    """
    differences = differences.round(9)  # of values of six digits: the rest is rounding
    n = len(differences)
    mean = differences.mean() if n else math.nan
    if n < 2:
        return Estimate(mean, math.nan, math.nan, math.nan)
    if not resolution and np.ptp(differences) == 0:
        return Estimate(mean, mean, mean, math.nan)
    error = math.sqrt((differences.var(ddof=1) + resolution**2 / 6) / n)
    half = stats.t.isf(LEVEL / 2, n - 1) * error
    return Estimate(mean, mean - half, mean + half, 2 * stats.t.sf(abs(mean) / error, n - 1))


def adjust_by_holm(p: pd.Series) -> pd.Series:
    """The Holm-adjusted values of a family of p, each in [0, 1]; NaN stays NaN and is not of the family."""
    ordered = p.dropna().sort_values()
    factors = np.arange(len(ordered), 0, -1)
    return (ordered * factors).cummax().clip(upper=1).reindex(p.index)
