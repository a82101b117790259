"""Paired statistics: the metrics of each row, and its differences to the baseline over the same seeds.

The 95 % confidence interval is Student's t interval of the per-seed differences: their mean
+- t(0.975, n - 1) sd / sqrt(n) (Student, The Probable Error of a Mean, Biometrika 1908). It is not corrected
for multiple comparisons: of twenty rows without an effect, one is expected to look different.
"""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

from tools.ablation.tables import Table

LEVEL = 0.95
PARAMETERS = "student.parameters"


def compare_rows(table: Table, metrics: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """One line per row and metric: n, mean, sd, and the difference to the row's baseline with its interval.

    `metrics` maps names of experiments to their metrics; the seed of a missing experiment is left out. The
    column `values` holds the metric per seed, in the order of the column `seeds`.
    """
    lines = []
    for metric in table.metrics:
        reached = pd.DataFrame(math.nan, table.seeds, [row.label for row in table.rows])  # seeds x rows
        parameters: dict[str, float | None] = {}
        for name, row, seed in table.list_experiments():
            experiment = metrics.get(name, {})
            reached.loc[seed, row.label] = experiment.get(metric, math.nan)
            parameters[row.label] = experiment.get(PARAMETERS, parameters.get(row.label))
        for row in table.rows:
            values = reached[row.label].dropna()
            differences = (values - reached[row.baseline]).dropna()
            if row.label == row.baseline:
                differences = differences[:0]
            difference, low, high = estimate_mean(differences.to_numpy())
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


def estimate_mean(differences: np.ndarray) -> tuple[float, float, float]:
    """Mean of the differences (n,) and the bounds of its 95 % interval; NaN where n is too small."""
    n = len(differences)
    mean = differences.mean() if n else math.nan
    if n < 2:
        return mean, math.nan, math.nan
    half = stats.t.ppf((1 + LEVEL) / 2, n - 1) * differences.std(ddof=1) / math.sqrt(n)
    return mean, mean - half, mean + half
