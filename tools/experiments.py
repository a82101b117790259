"""A table of DVC's experiments: the params that differ from their base commit, and their metrics.

run     python -m tools.experiments [--seeds] [--commits N]
"""

import argparse
import json
import subprocess
from typing import Any

import pandas as pd

from src.ground.errors import UserError, run
from src.ground.params import flatten

METRICS = ["student.val.accuracy", "test.accuracy", "test.macro_f1"]
SEED = "seed"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.experiments")
    parser.add_argument(
        "--seeds", action="store_true", help="mean, sd and n over experiments that differ only by seed"
    )
    parser.add_argument("--commits", type=int, default=1, help="number of last commits to include")
    arguments = parser.parse_args()
    table = build_table(query_experiments(arguments.commits))
    table = average_over_seeds(table) if arguments.seeds else add_seed_to_params(table)
    print(table.to_string(index=False))


def query_experiments(commits: int, rev: str = "HEAD") -> list[dict[str, Any]]:
    """The output of `dvc exp show` for the last `commits` commits up to `rev`."""
    command = ["dvc", "exp", "show", "--json", "--rev", rev, "--num", str(commits)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise UserError(f"dvc exp show: {result.stderr.strip() or 'failed'} (run it by hand for details)")
    return json.loads(result.stdout)


def build_table(shown: list[dict[str, Any]]) -> pd.DataFrame:
    """One row per commit and experiment: name, params that differ from the commit's, seed, METRICS."""
    rows = []
    for commit in shown:
        baseline = flatten_params(commit["data"])
        if commit["rev"] == "workspace":
            continue
        rows.append(
            {"experiment": commit["name"] or commit["rev"][:7], **build_row(commit["data"], baseline)}
        )
        for experiment in commit["experiments"] or []:
            last = experiment["revs"][0]
            rows.append(
                {"experiment": experiment["name"] or last["rev"][:7], **build_row(last["data"], baseline)}
            )
    return pd.DataFrame(rows)


def build_row(data: dict[str, Any] | None, baseline: dict[str, Any]) -> dict[str, Any]:
    """The differing params of a run, as overrides (`-S KEY=VALUE`), and its metrics; NaN if it has none."""
    params, metrics = flatten_params(data), dict(flatten(merge_files(data, "metrics")))
    keys = sorted(set(params) | set(baseline))
    differing = {key: params.get(key) for key in keys if params and params.get(key) != baseline.get(key)}
    overrides = " ".join(f"{key}={value}" for key, value in differing.items() if key != SEED)
    return {
        "params": overrides,
        SEED: params.get(SEED),
        **{name: metrics.get(name, float("nan")) for name in METRICS},
    }


def add_seed_to_params(table: pd.DataFrame) -> pd.DataFrame:
    """The table to print: a seed other than the first row's is listed among the differing params."""
    first = table[SEED].iloc[0]
    seeds = [f"seed={seed:g}" if pd.notna(seed) and seed != first else "" for seed in table[SEED]]
    words = [" ".join(filter(None, pair)) or "-" for pair in zip(table["params"], seeds, strict=True)]
    return table.drop(columns=SEED).assign(params=words)


def average_over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation of the METRICS over rows whose params differ only by seed."""
    unique = table.dropna().drop_duplicates(["params", SEED])
    groups = unique.groupby("params", sort=False)
    table = pd.DataFrame(
        {"params": [name or "-" for name in groups.groups], "seeds": groups.size().to_list()}
    )
    for name in METRICS:
        spread = zip(groups[name].mean(), groups[name].std(), strict=True)
        table[name] = [f"{mean:.4f} sd {sd:.4f}" for mean, sd in spread]
    return table


def flatten_params(data: dict[str, Any] | None) -> dict[str, Any]:
    """All params of one run, by dotted key."""
    return dict(flatten(merge_files(data, "params")))


def merge_files(data: dict[str, Any] | None, kind: str) -> dict[str, Any]:
    """The contents of all params or metrics files of one run, merged."""
    files = (data or {}).get(kind) or {}
    return {key: value for file in files.values() for key, value in (file.get("data") or {}).items()}


if __name__ == "__main__":
    run(main)
