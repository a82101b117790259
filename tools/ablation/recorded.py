"""The experiments of a table that DVC has recorded, and which of them still count.

One counts if it was recorded under the commit, with the params and from the inputs that a run would have now.
The params hold the hashes of pretrained files, see `overrides.pin_pretrained`; the inputs are compared by the
hashes in the experiment's own dvc.lock, among them the user's pictures.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML

from src.ground.errors import UserError
from src.ground.params import flatten
from src.ground.validating import suggest
from tools.ablation.clone import hash_inputs
from tools.ablation.tables import FILE, Table
from tools.experiments import abbreviate, flatten_metrics, flatten_params, query_experiments
from tools.inputs import read_inputs

SHOWN = 3  # names in a line; the others are counted


class Recorded(NamedTuple):
    """The commit, the params and the metrics of one experiment, both flat."""

    rev: str
    params: dict[str, Any]
    metrics: dict[str, float]


def find_recorded(table: Table, commit: str) -> tuple[dict[str, Recorded], dict[str, str]]:
    """The table's experiments under `commit` that count, and the reasons why others do not, both by name."""
    recorded = read_recorded(commit)
    found = {name: (row, seed) for name, row, seed in table.list_experiments() if name in recorded}
    inputs = {
        name: read_inputs(recorded[name].rev, row.params["knowledge.teachers"])
        for name, (row, _) in found.items()
    }
    hashes = hash_inputs({path for paths in inputs.values() for path in paths})
    counted, reasons = {}, {}
    for name, (row, seed) in found.items():
        params = row.params | table.list_seeds(row, seed) | read_others(recorded[name].params)
        now = {path: hashes[path] for path in inputs[name]}
        reason = explain_params(recorded[name].params, params) or explain_inputs(inputs[name], now)
        if reason:
            reasons[name] = reason
        else:
            counted[name] = recorded[name]
    return counted, reasons


def read_recorded(commit: str) -> dict[str, Recorded]:
    """All experiments recorded under `commit`, by name."""
    shown = next(entry for entry in query_experiments(commits=1, rev=commit) if entry["rev"] != "workspace")
    return {
        experiment["name"]: Recorded(last["rev"], flatten_params(last["data"]), flatten_metrics(last["data"]))
        for experiment in shown["experiments"] or []
        for last in [experiment["revs"][0]]
        if experiment["name"]
    }


def read_others(params: Iterable[str]) -> dict[str, Any]:
    """Those of these params that other files than params.yaml hold, FILE:KEY, as they are there now."""
    paths = [Path(file) for file in {key.partition(":")[0] for key in params if ":" in key}]
    contents = {path: YAML(typ="safe").load(path) or {} for path in paths if path.is_file()}
    now = {f"{path}:{key}": value for path, content in contents.items() for key, value in flatten(content)}
    return {key: now[key] for key in params if key in now}


def explain_params(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first param that differs, with both values; empty if none does."""
    for key in sorted(then.keys() | now.keys()):
        if key not in then or key not in now or then[key] != now[key]:
            was, is_now = abbreviate(then.get(key, "not set")), abbreviate(now.get(key, "not set"))
            return f"{key} was {was}, is {is_now}"
    return ""


def explain_inputs(then: Mapping[str, str], now: Mapping[str, str | None]) -> str:
    """The first input that differs; empty if none does, and no lock file is no input."""
    if not then:
        return "its dvc.lock has no inputs"
    for path, hash in then.items():
        if now[path] != hash:
            return f"{path} has changed since" if now[path] else f"{path} is gone"
    return ""


def group_reasons(reasons: Mapping[str, str]) -> list[str]:
    """A line per reason, with the experiments that it concerns."""
    lines = []
    for reason in dict.fromkeys(reasons.values()):
        names = [name for name, own in reasons.items() if own == reason]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        lines.append(f"recorded, but not counted: {', '.join(names[:SHOWN])}{more}: {reason}")
    return lines


def check_metrics(table: Table, metrics: Mapping[str, Mapping[str, float]]) -> None:
    """Raise UserError for a metric of the table that no experiment has."""
    known = {key: None for reached in metrics.values() for key in reached}
    for metric in table.metrics:
        if known and metric not in known:
            place = f"{FILE}: tables.{table.name}.metrics: {metric}"
            raise UserError(f"{place}: no experiment has it{suggest(metric, list(known))}")
