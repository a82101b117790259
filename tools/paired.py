"""What comes of a table's experiments: means, differences to the baseline over the same seeds, and a picture.

The 95 % interval of a difference is Student's, of the differences seed by seed: their mean +- t(0.975, n - 1)
sd / sqrt(n) (Student, The Probable Error of a Mean, Biometrika 1908). It holds for each row by itself: of
twenty rows that change nothing one is expected to look different.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from src.ground.files import atomic
from tools.tables import Table

FOLDER = Path("metrics/ablation")
PICTURES = Path("plots/ablation")
LEVEL = 0.95
PARAMETERS = "student.parameters"
NUMBERS = ("mean", "sd", "difference", "low", "high", "parameters", "published")  # or nothing, in the CSV


def compared(table: Table, records: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """A line per row and metric: n, mean, sd, the difference to the row's baseline with its interval.

    `records` holds the metrics of experiments by name; one that is missing leaves its seed out. The values
    stand in the column `values` in the order of `seeds`.
    """
    lines = []
    for metric in table.metrics:
        reached = pd.DataFrame(math.nan, table.seeds, [row.label for row in table.rows])
        parameters = {}
        for name, row, seed in table.experiments():
            record = records.get(name, {})
            reached.loc[seed, row.label] = record.get(metric, math.nan)
            parameters[row.label] = record.get(PARAMETERS, parameters.get(row.label))
        for row in table.rows:
            own = reached[row.label].dropna()
            differences = (own - reached[row.baseline]).dropna()
            if row.label == row.baseline:
                differences = differences[:0]
            difference, low, high = interval(differences.to_numpy())
            lines.append(
                {
                    "row": row.label,
                    "metric": metric,
                    "n": len(own),
                    "mean": own.mean(),
                    "sd": own.std(),
                    "baseline": row.baseline,
                    "pairs": len(differences),
                    "difference": difference,
                    "low": low,
                    "high": high,
                    "parameters": parameters[row.label],
                    "params": " ".join(row.own),
                    "published": row.published,
                    "published_title": table.published,
                    "title": table.title,
                    "seeds": " ".join(map(str, own.index)),
                    "values": " ".join(f"{value:.6f}" for value in own),
                }
            )
    return pd.DataFrame(lines)


def interval(differences: np.ndarray) -> tuple[float, float, float]:
    """Mean of the differences (n,) and the ends of its 95 % interval; NaN where there are too few."""
    n = len(differences)
    mean = differences.mean() if n else math.nan
    if n < 2:
        return mean, math.nan, math.nan
    half = stats.t.ppf((1 + LEVEL) / 2, n - 1) * differences.std(ddof=1) / math.sqrt(n)
    return mean, mean - half, mean + half


def write(table: Table, lines: pd.DataFrame) -> list[Path]:
    """The table as CSV and as markdown, and its picture."""
    name = f"{table.name}-{table.data}"
    csv, markdown, picture = FOLDER / f"{name}.csv", FOLDER / f"{name}.md", PICTURES / f"{name}.png"
    with atomic(csv) as file:
        lines.to_csv(file, index=False, float_format="%.6f")
    lines = read(csv)  # README has its digits from there too
    with atomic(markdown) as file:
        file.write(in_markdown(lines))
    with atomic(picture, "wb") as file:
        drawn(lines, name).savefig(file, dpi=120, metadata={"Software": None})
    return [csv, markdown, picture]


def read(csv: Path) -> pd.DataFrame:
    """The lines that `write` wrote; a row may be called none."""
    return pd.read_csv(csv, keep_default_na=False, na_values={name: [""] for name in NUMBERS})


def in_markdown(lines: pd.DataFrame) -> str:
    """Lines of `compared` as a table; a difference whose interval leaves 0 out is bold."""
    metrics = list(dict.fromkeys(lines["metric"]))
    first = lines[lines["metric"] == metrics[0]]
    whose = first["published_title"].iloc[0]
    heads = ["row", "`-S`", "n"]
    for metric in metrics:
        heads += [f"{metric}, mean ± sd", "difference (95 % interval)"]
    heads += ["parameters", *([whose] if whose else [])]
    text = ["| " + " | ".join(heads) + " |", "|---|---|" + "--:|" * (len(heads) - 2)]
    for label in first["row"]:
        own = lines[lines["row"] == label].set_index("metric")
        row = own.iloc[0]
        cells = [label, " ".join(f"`{word}`" for word in row["params"].split()) or "-", str(row["n"])]
        for metric in metrics:
            cells += [with_spread(own.loc[metric]), in_words(own.loc[metric])]
        cells.append("-" if math.isnan(row["parameters"]) else f"{row['parameters']:,.0f}")
        if whose:
            cells.append("-" if math.isnan(row["published"]) else f"{row['published']:g}")
        text.append("| " + " | ".join(cells) + " |")
    return "\n".join(text) + "\n"


def with_spread(line: pd.Series) -> str:
    """Mean and standard deviation of a line, four digits."""
    return "-" if not line["n"] else f"{line['mean']:.4f}" + ("" if line["n"] < 2 else f" ± {line['sd']:.4f}")


def in_words(line: pd.Series) -> str:
    """The difference of a line to its baseline, bold where its interval leaves 0 out."""
    if line["row"] == line["baseline"]:
        return "baseline"
    if not line["pairs"]:
        return "-"
    text = f"{line['difference']:+.4f}"
    if line["pairs"] < 2:
        return f"{text} (one pair)"
    span = f"{line['low']:+.4f} to {line['high']:+.4f}"
    if line["low"] <= 0 <= line["high"]:
        return f"{text} ({span}), no difference seen"
    return f"**{text}** ({span})"


def drawn(lines: pd.DataFrame, name: str) -> Figure:
    """The first metric of lines of `compared`: a dot per seed with the mean, and the differences."""
    lines = lines[lines["metric"] == lines["metric"].iloc[0]].reset_index(drop=True)
    figure = Figure(figsize=(10, 1.6 + 0.38 * len(lines)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for place, line in lines.iterrows():
        values = [float(value) for value in line["values"].split()]
        left.plot(values, [place] * len(values), "o", color="tab:blue", alpha=0.45, markersize=5)
        left.plot(line["mean"], place, "|", color="black", markersize=16)
        draw_difference(right, place, line)
    left.set_yticks(range(len(lines)), lines["row"])
    left.invert_yaxis()
    left.set(xlabel=f"{lines['metric'][0]}: a dot per seed, a bar at the mean")
    right.axvline(0, color="black", linewidth=0.8)
    right.set(xlabel=f"difference to {' or '.join(dict.fromkeys(lines['baseline']))}, 95 % interval")
    for axis in (left, right):
        axis.grid(axis="x", alpha=0.3)
    figure.suptitle(f"{lines['title'][0]} ({name})", fontsize=11)
    return figure


def draw_difference(axis: Axes, place: int, line: pd.Series) -> None:
    """The difference of a line with its interval, grey where that holds 0."""
    if not line["pairs"] or line["row"] == line["baseline"]:
        return
    seen = not line["low"] <= 0 <= line["high"]
    ends = [[line["difference"] - line["low"]], [line["high"] - line["difference"]]]
    colour = "tab:red" if seen else "grey"
    axis.errorbar(line["difference"], place, xerr=ends, fmt="o", capsize=4, color=colour)
