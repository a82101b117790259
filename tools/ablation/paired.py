"""Paired statistics: the metrics of each row, and its differences to the baseline over the same seeds.

The 95 % confidence interval is Student's t interval of the n per-seed differences, widened by the resolution
r of the metric: mean +- t(0.975, n - 1) sqrt((sd^2 + r^2 / 6) / n) (Student, The Probable Error of a Mean,
Biometrika 1908). A share of N pictures moves in steps of r = 1 / N, and a value that is read in steps has a
variance of r^2 / 12 beside the one that is seen (JCGM 100:2008, F.2.2.1; W. F. Sheppard, 1898), a difference
twice that. Without it, equal differences of one picture in two pairs would look certain.

The interval is not corrected for multiple comparisons: of twenty rows without an effect, one is expected to
look different.
"""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

from tools.ablation.tables import Table

LEVEL = 0.95
PARAMETERS = "student.parameters"
SPLITS = ("val", "test")  # whose numbers of pictures are metrics of check_images: data.val, data.test
COUNTED = ("accuracy", "top5", "macro_f1")  # shares of pictures; macro F1 moves in steps of about one


def compare_rows(table: Table, metrics: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """One line per row and metric: n, mean, sd, and the difference to the row's baseline with its interval.

    `metrics` maps names of experiments to their metrics; the seed of a missing experiment is left out. The
    column `values` holds the metric per seed, in the order of the column `seeds`.
    """
    lines = []
    for metric in table.metrics:
        reached = pd.DataFrame(math.nan, table.seeds, [row.label for row in table.rows])  # seeds x rows
        parameters: dict[str, float] = {}
        steps: dict[str, float] = {}  # the resolution by row
        for name, row, seed in table.list_experiments():
            experiment = metrics.get(name, {})
            reached.loc[seed, row.label] = experiment.get(metric, math.nan)
            parameters[row.label] = experiment.get(PARAMETERS, parameters.get(row.label, math.nan))
            steps[row.label] = max(steps.get(row.label, 0.0), find_resolution(metric, experiment))
        for row in table.rows:
            values = reached[row.label].dropna()
            differences = (values - reached[row.baseline]).dropna()
            if row.label == row.baseline:
                differences = differences[:0]
            resolution = max(steps[row.label], steps[row.baseline])
            difference, low, high = estimate_mean(differences.to_numpy(), resolution)
            lines.append(
                {
                    "row": row.label,
                    "metric": metric,
                    "n": len(values),
                    "mean": values.mean(),
                    "sd": values.std(),
                    "baseline": row.baseline,
                    "pairs": len(differences),
                    "difference": difference,
                    "low": low,
                    "high": high,
                    "resolution": resolution,
                    "parameters": parameters[row.label],
                    "params": " ".join(row.own),
                    "published": row.published,
                    "published_title": table.published_title,
                    "title": table.title,
                    "seeds": " ".join(map(str, values.index)),
                    "values": " ".join(f"{value:.6f}" for value in values),
                }
            )
    return pd.DataFrame(lines)


def find_resolution(metric: str, experiment: Mapping[str, float]) -> float:
    """The step of a metric that counts pictures: the share of one in the split it was measured on; else 0."""
    *words, last = metric.split(".")
    split = next((word for word in words if word in SPLITS), "")
    pictures = experiment.get(f"data.{split}", 0)
    return 1 / pictures if last in COUNTED and pictures else 0.0


def estimate_mean(differences: np.ndarray, resolution: float = 0.0) -> tuple[float, float, float]:
    """Mean of the differences (n,) and the bounds of its 95 % interval; NaN where n is too small.

    `resolution` is the step of the values whose differences these are, 0 if they are continuous.
    """
    n = len(differences)
    mean = differences.mean() if n else math.nan
    if n < 2:
        return mean, math.nan, math.nan
    variance = differences.var(ddof=1) + resolution**2 / 6
    half = stats.t.ppf((1 + LEVEL) / 2, n - 1) * math.sqrt(variance / n)
    return mean, mean - half, mean + half
