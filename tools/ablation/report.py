"""Write the lines of `paired.compare_rows` to files: a CSV, a markdown table and a plot."""

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from src.ground.files import open_atomically
from src.results.drawing import save_figure
from src.results.lettering import letter_names
from tools.ablation.paired import COLUMNS, LEVEL, add_statistics
from tools.ablation.tables import FIXED, FOLLOW

FOLDER = Path("metrics/ablation")
PICTURES = Path("plots/ablation")
TEXTS = (  # all other columns are numbers, empty in the CSV if NaN
    "row", "metric", "baseline", "params", "published_title", "title", "teacher_seeds", "seeds", "values",
)  # fmt: skip
NOTE = (
    f"Bold: p below {LEVEL} after Holm's adjustment for all rows compared here; intervals are not adjusted."
)
SCOPES = {  # by teacher_seeds
    FIXED: "Teachers, splits and test pictures are fixed: this speaks of the student's seeds alone.",
    FOLLOW: "Splits and test pictures are fixed: this speaks of the seeds of student and teachers alone.",
}


def write_report(name: str, lines: pd.DataFrame) -> list[Path]:
    """Write the CSV, the markdown and the plot of a table; returns their paths in this order."""
    csv, markdown, picture = FOLDER / f"{name}.csv", FOLDER / f"{name}.md", PICTURES / f"{name}.png"
    with open_atomically(csv) as file:
        lines.to_csv(file, index=False, float_format="%.6f")
    lines = read_lines(csv)  # as rounded there, so that format_table prints the same digits later
    with open_atomically(markdown) as file:
        file.write(format_table(lines))
    save_figure(picture, draw_table(lines, name))
    return [csv, markdown, picture]


def rewrite_reports() -> None:
    """Write every table again, its statistics computed anew from the values per seed in its CSV."""
    for csv in sorted(FOLDER.glob("*.csv")):
        write_report(csv.stem, add_statistics(read_lines(csv)))


def read_lines(csv: Path) -> pd.DataFrame:
    """The lines of a CSV written by `write_report`; labels such as none or 3 stay text."""
    empty = {name: [""] for name in COLUMNS if name not in TEXTS}
    lines = pd.read_csv(csv, keep_default_na=False, na_values=empty, dtype=dict.fromkeys(TEXTS, str))
    return lines if "teacher_seeds" in lines else lines.assign(teacher_seeds=FIXED)  # older than this column


def format_table(lines: pd.DataFrame) -> str:
    """A markdown table of the lines, metrics side by side; a difference that is seen is bold."""
    metrics = list(dict.fromkeys(lines["metric"]))
    first = lines[lines["metric"] == metrics[0]]
    published_title = first["published_title"].iloc[0]
    heads = ["row", "`-S`", "n"]
    for metric in metrics:
        resolution = lines.loc[lines["metric"] == metric, "resolution"].max()
        picture = f"; one picture is {resolution:.2g}" if resolution else ""
        heads += [f"{metric}, mean ± sd", f"difference (95 % interval{picture})", "p (Holm-adjusted)"]
    heads += ["parameters", *([published_title] if published_title else [])]
    text = [join_cells(heads), "|---|---|" + "--:|" * (len(heads) - 2)]
    for label in first["row"]:
        measured = lines[lines["row"] == label]
        line = measured.iloc[0]
        own = " ".join(f"`{override}`" for override in line["params"].split())
        cells = [label, own or "-", str(line["n"])]
        for _, by_metric in measured.iterrows():
            cells += [format_mean(by_metric), format_difference(by_metric), format_p(by_metric)]
        cells.append("-" if math.isnan(line["parameters"]) else f"{line['parameters']:,.0f}")
        if published_title:
            cells.append("-" if math.isnan(line["published"]) else f"{line['published']:g}")
        text.append(join_cells(cells))
    return "\n".join([*text, "", NOTE, SCOPES[first["teacher_seeds"].iloc[0]]]) + "\n"


def join_cells(cells: Sequence[str]) -> str:
    """A line of a markdown table; a bar or a line break within a cell does not end it."""
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def format_mean(line: pd.Series) -> str:
    """Mean and standard deviation of a line, to four decimals."""
    return "-" if not line["n"] else f"{line['mean']:.4f}" + ("" if line["n"] < 2 else f" ± {line['sd']:.4f}")


def format_difference(line: pd.Series) -> str:
    """The difference of a line to its baseline, bold if it is seen, with its number of pairs."""
    if line["row"] == line["baseline"]:
        return "baseline"
    pairs, text = line["pairs"], f"{line['difference']:+.4f}"
    if not pairs:
        return "-"
    if pairs < 2:
        return f"{text} (one pair)"
    if line["low"] == line["high"]:  # nothing to estimate a spread from
        return f"{text} ({pairs} equal pairs)"
    span = f"{line['low']:+.4f} to {line['high']:+.4f}"
    span += f", {pairs} pairs" if pairs != line["n"] else ""
    return f"**{text}** ({span})" if is_seen(line) else f"{text} ({span}), no difference seen"


def is_seen(line: pd.Series) -> bool:
    """Whether the difference of a line is one by the Holm-adjusted p of its table and metric."""
    return line["p_holm"] < LEVEL


def format_p(line: pd.Series) -> str:
    """The p of a line, with the adjusted one in brackets."""
    if math.isnan(line["p"]):
        return "-"
    own, adjusted = (f"{p:.4f}" if p >= 0.0001 else "<0.0001" for p in (line["p"], line["p_holm"]))
    return f"{own} ({adjusted})"


def draw_table(lines: pd.DataFrame, name: str) -> Figure:
    """Plot the first metric of the lines: a dot per seed with the mean, and beside it the differences."""
    lines = lines[lines["metric"] == lines["metric"].iloc[0]].reset_index(drop=True)
    figure = Figure(figsize=(10, 1.6 + 0.38 * len(lines)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for place, (_, line) in enumerate(lines.iterrows()):
        values = [float(value) for value in line["values"].split()]
        left.plot(values, [place] * len(values), "o", color="tab:blue", alpha=0.45, markersize=5)
        left.plot(line["mean"], place, "|", color="black", markersize=16)
        draw_difference(right, place, line)
    left.set_yticks(range(len(lines)), letter_names(lines["row"].to_list()))
    left.invert_yaxis()
    left.set(xlabel=f"{lines['metric'][0]}: a dot per seed, a bar at the mean")
    right.axvline(0, color="black", linewidth=0.8)
    right.locator_params(axis="x", nbins=6)  # more labels would overlap
    baselines = " or ".join(letter_names(list(dict.fromkeys(lines["baseline"]))))
    right.set(xlabel=f"difference to {baselines}, 95 % interval\nred: Holm-adjusted p < {LEVEL}")
    for axis in (left, right):
        axis.grid(axis="x", alpha=0.3)
    figure.suptitle(f"{lines['title'][0]} ({name})", fontsize=11, parse_math=False)
    return figure


def draw_difference(axis: Axes, place: int, line: pd.Series) -> None:
    """Draw the difference of a line with its interval, red if it is seen."""
    if not line["pairs"] or line["row"] == line["baseline"]:
        return
    ends = [[line["difference"] - line["low"]], [line["high"] - line["difference"]]]
    axis.errorbar(
        line["difference"], place, xerr=ends, fmt="o", capsize=4, color="tab:red" if is_seen(line) else "grey"
    )
