"""The tables of networks in the docs and a plot: the cost and the speed of some, the smallest size of each.

reads   metrics/models.csv, benchmarks/models_latency.csv, benchmarks/zoo.csv
writes  plots/models.png
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from src.ground.errors import UserError
from src.results.drawing import save_figure

COSTS = Path("metrics/models.csv")
SPEEDS = Path("benchmarks/models_latency.csv")
ZOO = Path("benchmarks/zoo.csv")
PICTURE = Path("plots/models.png")

PUBLISHED = {"efficientnet_b0": (4.00, 405.31), "efficientnet_b4": (18.04, 4600.46)}  # M parameters, M MACs


def format_zoo() -> str:
    """Which networks take a training step at which smallest size, and which are refused, as markdown."""
    table = pd.read_csv(ZOO)
    large = table["outcome"].str.startswith("too large")
    steps = table[table["outcome"].str.startswith("step")]
    lines = ["| smallest pictures | networks | in |", "|---|--:|---|"]
    for side, rows in steps.groupby("side"):
        families = ", ".join(f"`{name}`" for name in sorted(set(rows["family"])))
        place = "the others" if side == steps["side"].min() else families
        lines.append(f"| {side} x {side} | {len(rows)} | {place} |")
    for reason, rows in table[~large].drop(steps.index).groupby("outcome"):
        names = ", ".join(f"`{name}`" for name in sorted(rows["network"]))
        lines.append(f"| refused: {reason} | {len(rows)} | {names} |")
    return "\n".join([*lines, "", f"{large.sum()} networks of 30 M parameters or more were not tried.", ""])


def read_networks() -> pd.DataFrame:
    """One row per network: its costs, and its speed by mode, threads and batch size."""
    costs, speeds = pd.read_csv(COSTS), pd.read_csv(SPEEDS)
    missing = sorted(set(costs["model"]) - set(speeds["model"]))
    if missing:
        raise UserError(f"{SPEEDS}: has no {missing[0]} (make models)")
    threads = speeds["threads"].max()

    def select_column(mode: str, threads: int, batch: int, name: str) -> pd.Series:
        kind = (speeds["mode"] == mode) & (speeds["threads"] == threads) & (speeds["batch"] == batch)
        return costs["model"].map(speeds[kind].set_index("model")[name])

    batch = speeds["batch"].max()
    return costs.assign(
        threads=threads,
        batch=batch,
        eager=select_column("eager", 1, 1, "ms"),
        script=select_column("torchscript", 1, 1, "ms"),
        script_low=select_column("torchscript", 1, 1, "ms_low"),
        script_high=select_column("torchscript", 1, 1, "ms_high"),
        script_all=select_column("torchscript", threads, 1, "ms"),
        rate=1000 / select_column("torchscript", threads, batch, "ms"),
        training=1000 / select_column("training", threads, batch, "ms"),
        machine=speeds["machine"].iloc[0],
    )


def format_networks() -> str:
    """The table of networks as markdown, with notes where the original's table differs."""
    table = read_networks()
    first = table.iloc[0]
    heads = [
        "network",
        "parameters (M)",
        "multiply-adds (M)",
        "conv + linear alone (M)",
        "activations (M)",
        "file (MB)",
        "one picture, eager (ms)",
        "TorchScript (ms)",
        f"on {first.threads} threads (ms)",
        f"in batches of {first.batch} (pictures/s)",
        "training (pictures/s)",
    ]
    lines = ["| " + " | ".join(heads) + " |", "|---" + "|--:" * (len(heads) - 1) + "|"]
    for row in table.itertuples():
        cells = [
            f"{row.params_m:.2f}",
            f"{row.rule_macs_m:.2f}",
            f"{row.macs_m:.2f}",
            f"{row.activations_m:.2f}",
            f"{row.file_mb:.1f}",
            f"{row.eager:.1f}",
            f"{row.script:.1f} ({row.script_low:.1f} to {row.script_high:.1f})",
            f"{row.script_all:.1f}",
            f"{row.rate:.0f}",
            f"{row.training:.1f}",
        ]
        lines.append(f"| {row.model} | " + " | ".join(cells) + " |")
    notes = [f"- {explain_published(row)}" for row in table.itertuples() if row.model in PUBLISHED]
    return "\n".join([*lines, "", f"Measured on {first.machine}; medians.", "", *notes, ""])


def explain_published(row: Any) -> str:
    """Compare the original's figures of a network, which its author estimated, with the count."""
    params, macs = PUBLISHED[row.model]
    text = (
        f"`{row.model}`: {params:.2f} M and {macs:.2f} M in the original's table, its author's estimate; the "
        f"true count is {row.params_m:.2f} M and {row.rule_macs_m:.2f} M"
    )
    if row.own_rule_macs_m == row.rule_macs_m:
        return f"{text}."
    size = row.own_size.replace("x", " x ")
    return f"{text}. The estimate belongs to its own {size} pixels: {row.own_rule_macs_m:.2f} M there."


def draw() -> None:
    """Plot the latency of one picture against the number of parameters."""
    table = read_networks()
    figure = Figure(figsize=(8, 5), layout="constrained")
    axis = figure.subplots()
    spread = [table["script"] - table["script_low"], table["script_high"] - table["script"]]
    axis.errorbar(table["params_m"], table["script"], spread, fmt="o", capsize=3)
    logs = np.log(table[["params_m", "script"]].to_numpy())
    above = logs[:, 1] > np.polyval(np.polyfit(logs[:, 0], logs[:, 1], 1), logs[:, 0])
    named = zip(table["model"], table["params_m"], table["script"], above, strict=True)
    for name, params, time, slow in named:  # labels go above or below the trend line
        shift = (0, 9 if slow else -16)
        axis.annotate(name, (params, time), shift, textcoords="offset points", fontsize=8, ha="center")
    axis.set(xscale="log", yscale="log", xlabel="parameters (M)")
    axis.set(ylabel="ms for one picture on one thread, TorchScript")
    axis.margins(0.12)
    for line in (axis.xaxis, axis.yaxis):
        line.set_major_locator(LogLocator(subs=(1, 2, 5)))
        line.set_major_formatter(FormatStrFormatter("%g"))
        line.set_minor_formatter(NullFormatter())
    axis.grid(alpha=0.3, which="both")
    axis.set_title(table["machine"].iloc[0], fontsize=9)
    save_figure(PICTURE, figure)
