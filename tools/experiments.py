"""A table of DVC's experiments: the params that differ from the last commit's, and their metrics.

run     python -m tools.experiments [--seeds] [--commits N]
"""

import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from src.ground.errors import Parser, UserError, run, shorten
from src.ground.files import sha256_of
from src.ground.params import PARAMS, flatten
from tools.inputs import read_inputs

METRICS = ["student.val.accuracy", "test.accuracy", "test.macro_f1"]
SEED = "seed"
TEACHERS = "knowledge.teachers"
SCOPE = (
    "Within a row teachers, splits and test pictures are the same: sd is over the student's seeds alone.\n"
    "Whether two rows differ, this does not say: make ablation TABLE=NAME compares them."
)


def main() -> None:
    parser = Parser(prog="python -m tools.experiments")
    parser.add_argument(
        "--seeds", action="store_true", help="mean, sd and n over runs that differ only by the student's seed"
    )
    parser.add_argument("--commits", type=int, default=1, help="number of last commits to include")
    arguments = parser.parse_args()
    table = build_table(query_experiments(arguments.commits))
    table = average_over_seeds(table) if arguments.seeds else add_seed_to_params(table)
    print(drop_equal_inputs(table).to_string(index=False))
    if arguments.seeds:
        print(SCOPE)


def query_experiments(commits: int, rev: str = "HEAD") -> list[dict[str, Any]]:
    """The output of `dvc exp show` for the last `commits` commits up to `rev`."""
    command = ["dvc", "exp", "show", "--json", "--rev", rev, "--num", str(commits)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        reason = shorten(result.stderr, 200) or "failed"
        raise UserError(f"dvc exp show: {reason} (run it by hand for details)")
    return json.loads(result.stdout)


def build_table(
    shown: list[dict[str, Any]], read: Callable[[str, Sequence[str]], Mapping[str, str]] = read_inputs
) -> pd.DataFrame:
    """One row per commit and experiment: name, params that differ from the first commit's, seed, METRICS.

    The column `inputs` is a hash of what `read` returns for a run, its sources and pictures; empty if none.
    Rows with the same number in the column `key` have the same inputs and params, but for the seed.
    """
    rows: list[dict[str, Any]] = []
    keys: dict[Any, int] = {}
    baseline: dict[str, Any] | None = None
    for name, rev, data in list_runs(shown):
        params, metrics = flatten_params(data), flatten_metrics(data)
        baseline = params if baseline is None else baseline
        hashes = read(rev, params.get(TEACHERS) or [])
        inputs = sha256_of(hashes) if hashes else ""
        differing = {
            key: params.get(key)
            for key in sorted(params.keys() | baseline.keys())
            if params and key != SEED and params.get(key) != baseline.get(key)
        }
        rows.append(
            {
                "experiment": name,
                "params": " ".join(f"{key}={abbreviate(value)}" for key, value in differing.items()),
                SEED: params.get(SEED),
                "inputs": abbreviate(inputs),
                "key": keys.setdefault((str(differing), inputs or rev), len(keys)),
                **{metric: metrics.get(metric, float("nan")) for metric in METRICS},
            }
        )
    return pd.DataFrame(rows)


def list_runs(shown: list[dict[str, Any]]) -> Iterator[tuple[str, str, dict[str, Any] | None]]:
    """Name, commit and data of every commit, each followed by its experiments; not of the workspace."""
    for commit in shown:
        if commit["rev"] == "workspace":
            continue
        yield commit["name"] or commit["rev"][:7], commit["rev"], commit["data"]
        for experiment in commit["experiments"] or []:
            last = experiment["revs"][0]
            yield experiment["name"] or last["rev"][:7], last["rev"], last["data"]


def abbreviate(value: Any) -> Any:
    """The value, of a SHA-256 its first seven digits."""
    is_hash = isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value)
    return value[:7] if is_hash else value


def add_seed_to_params(table: pd.DataFrame) -> pd.DataFrame:
    """The table to print: a seed other than the first row's is listed among the differing params."""
    first = table[SEED].iloc[0]
    seeds = [f"seed={seed:g}" if pd.notna(seed) and seed != first else "" for seed in table[SEED]]
    words = [" ".join(filter(None, pair)) or "-" for pair in zip(table["params"], seeds, strict=True)]
    return table.drop(columns=[SEED, "key"]).assign(params=words)


def average_over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation of the METRICS over rows that differ only by seed."""
    groups = table.dropna().drop_duplicates(["key", SEED]).groupby("key", sort=False)
    averages = pd.DataFrame(
        {
            "params": [words or "-" for words in groups["params"].first()],
            "inputs": groups["inputs"].first().to_list(),
            "seeds": groups.size().to_list(),
        }
    )
    for name in METRICS:
        spread = zip(groups[name].mean(), groups[name].std(), strict=True)
        averages[name] = [f"{mean:.4f}" + ("" if pd.isna(sd) else f" sd {sd:.4f}") for mean, sd in spread]
    return averages


def drop_equal_inputs(table: pd.DataFrame) -> pd.DataFrame:
    """The table to print: without the column `inputs` if all runs have the same."""
    return table if len(set(table["inputs"]) - {""}) > 1 else table.drop(columns="inputs")


def flatten_params(data: dict[str, Any] | None) -> dict[str, Any]:
    """All params of one run by dotted key; those of other files than params.yaml as FILE:KEY."""
    files = (data or {}).get("params") or {}
    return {
        key if file == str(PARAMS) else f"{file}:{key}": value
        for file, content in files.items()
        for key, value in flatten(content.get("data") or {})
    }


def flatten_metrics(data: dict[str, Any] | None) -> dict[str, Any]:
    """The metrics of one run, of all files, by dotted key."""
    files = (data or {}).get("metrics") or {}
    return {key: value for file in files.values() for key, value in flatten(file.get("data") or {})}


if __name__ == "__main__":
    run(main)
