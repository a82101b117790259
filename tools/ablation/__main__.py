"""Run one table of ablations.yaml, row by row and seed by seed, and compare its rows.

Nothing is run twice: an experiment recorded under the last commit with the same params and inputs is reused,
and for the others DVC's run cache restores every stage that has run before. Failed rows are reported at the
end.

params  all
reads   ablations.yaml
writes  metrics/ablation/TABLE-DATA.csv    one line per row and metric
        metrics/ablation/TABLE-DATA.md     the same as a markdown table
        plots/ablation/TABLE-DATA.png
        .scratch/ablation.log              output of the stages
        .scratch/ablation                  the clone; its experiments are fetched into the project
run     python -m tools.ablation TABLE [DATA] [--set KEY=VALUE ...] [--engine dask://HOST:PORT [--remote URL]]
"""

import signal
from collections.abc import Mapping, Sequence
from functools import partial
from typing import IO

from src.ground.errors import Parser, UserError, run
from tools.ablation.clone import check_committed, prepare_clone, run_git
from tools.ablation.engine import LOCAL, check_engine, start_engine
from tools.ablation.paired import compare_rows
from tools.ablation.power import describe_power
from tools.ablation.recorded import check_metrics, find_recorded, group_reasons
from tools.ablation.report import FOLDER, read_lines, write_report
from tools.ablation.runner import LOG, hold_log, raise_stopped, run_here, run_missing
from tools.ablation.tables import Row, Table, read_table


def main() -> None:
    parser = Parser(prog="python -m tools.ablation")
    parser.add_argument("table")
    parser.add_argument("data", nargs="?", default="demo")
    parser.add_argument("--set", nargs="*", default=[], help="overrides of params.yaml for all rows")
    parser.add_argument("--engine", default=LOCAL, help="dask://host:port of a scheduler: run on its workers")
    parser.add_argument("--remote", default="", help="folder or URL through which an engine's workers share")
    arguments = parser.parse_args()
    check_engine(arguments.engine, arguments.remote)
    table = read_table(arguments.table, arguments.data, arguments.set)
    check_committed()
    signal.signal(signal.SIGTERM, raise_stopped)
    with hold_log() as log:
        commit = run_git("rev-parse", "HEAD").strip()
        prepare_clone(commit)
        before = read_metrics(table, commit)
        missing = [experiment for experiment in table.list_experiments() if experiment[0] not in before]
        if missing:
            print_power(table, before)
        failures = run_on(arguments.engine, arguments.remote, commit, table, missing, log)
        metrics = read_metrics(table, commit)  # not of runs that failed, or whose input changed meanwhile
        check_metrics(table, metrics)
        paths = write_report(table.file_name, compare_rows(table, metrics))
    print(f"\n{paths[1].read_text(encoding='utf-8')}")
    print_power(table, metrics)
    print(f"\n{', '.join(map(str, paths))}")
    if failures:
        raise UserError(*(f"{name}: {reason} (details in {LOG})" for name, reason in failures.items()))


def run_on(
    engine: str,
    remote: str,
    commit: str,
    table: Table,
    missing: Sequence[tuple[str, Row, int]],
    log: IO[str],
) -> dict[str, str]:
    """run_missing here or, if there is something to run, by an engine's workers."""
    if engine == LOCAL or not missing:
        return run_missing(table, missing, partial(run_here, log=log))
    with start_engine(engine, remote, commit) as started:
        return run_missing(table, missing, partial(started.run, log=log), started.at_once)


def read_metrics(table: Table, commit: str) -> dict[str, dict[str, float]]:
    """The metrics of the table's experiments that count, by name; prints why others do not."""
    counted, reasons = find_recorded(table, commit)
    for line in group_reasons(reasons):
        print(line)
    return {name: recorded.metrics for name, recorded in counted.items()}


def print_power(table: Table, metrics: Mapping[str, Mapping[str, float]]) -> None:
    """Print what the table's seeds would show, by these metrics or, if they are too few, by its last CSV."""
    lines, last = compare_rows(table, metrics), FOLDER / f"{table.file_name}.csv"
    if lines["p"].isna().all() and last.exists():
        lines = read_lines(last)
    for text in describe_power(lines, len(table.seeds)):
        print(text)


if __name__ == "__main__":
    run(main)
