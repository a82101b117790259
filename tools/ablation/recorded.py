"""The experiments of a table that DVC has recorded."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from src.ground.errors import UserError
from src.ground.params import flatten
from src.ground.validating import suggest
from tools.ablation.overrides import SEED
from tools.ablation.tables import FILE, Table
from tools.experiments import flatten_params, merge_files, query_experiments


class Recorded(NamedTuple):
    """The params and metrics of one experiment, both flat."""

    params: dict[str, Any]
    metrics: dict[str, float]


def find_recorded(table: Table, commit: str) -> dict[str, Recorded]:
    """The table's experiments that are recorded under `commit` with the current params, by name."""
    recorded = read_recorded(commit)
    return {
        name: recorded[name]
        for name, row, seed in table.list_experiments()
        if name in recorded and recorded[name].params == row.params | {SEED: seed}
    }


def read_recorded(commit: str) -> dict[str, Recorded]:
    """All experiments recorded under `commit`, by name."""
    shown = next(entry for entry in query_experiments(commits=1, rev=commit) if entry["rev"] != "workspace")
    return {
        experiment["name"]: Recorded(flatten_params(data), dict(flatten(merge_files(data, "metrics"))))
        for experiment in shown["experiments"] or []
        for data in [experiment["revs"][0]["data"]]
        if experiment["name"]
    }


def check_metrics(table: Table, metrics: Mapping[str, Mapping[str, float]]) -> None:
    """Raise UserError for a metric of the table that no experiment has."""
    known = {key: None for reached in metrics.values() for key in reached}
    for metric in table.metrics:
        if known and metric not in known:
            place = f"{FILE}: tables.{table.name}.metrics: {metric}"
            raise UserError(f"{place}: no experiment has it{suggest(metric, list(known))}")
