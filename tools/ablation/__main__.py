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
run     python -m tools.ablation TABLE [DATA] [--set KEY=VALUE ...]
"""

import signal
from types import FrameType

from src.ground.errors import Parser, Stopped, UserError, run
from tools.ablation.clone import check_committed, prepare_clone, run_git
from tools.ablation.paired import compare_rows
from tools.ablation.recorded import check_metrics, find_recorded, group_reasons
from tools.ablation.report import write_report
from tools.ablation.runner import LOG, hold_log, run_missing
from tools.ablation.tables import read_table


def main() -> None:
    parser = Parser(prog="python -m tools.ablation")
    parser.add_argument("table")
    parser.add_argument("data", nargs="?", default="demo")
    parser.add_argument("--set", nargs="*", default=[], help="overrides of params.yaml for all rows")
    arguments = parser.parse_args()
    table = read_table(arguments.table, arguments.data, arguments.set)
    check_committed()
    signal.signal(signal.SIGTERM, raise_stopped)
    with hold_log() as log:
        commit = run_git("rev-parse", "HEAD").strip()
        prepare_clone(commit)
        failures = run_missing(table, commit, log)
        counted, reasons = find_recorded(table, commit)
        metrics = {name: recorded.metrics for name, recorded in counted.items()}
        check_metrics(table, metrics)
        paths = write_report(table, compare_rows(table, metrics))
    for line in group_reasons(reasons):  # their runs failed, or an input changed meanwhile
        print(line)
    print(f"\n{paths[1].read_text(encoding='utf-8')}\n{', '.join(map(str, paths))}")
    if failures:
        raise UserError(*(f"{name}: {reason} (details in {LOG})" for name, reason in failures.items()))


def raise_stopped(signum: int, frame: FrameType | None) -> None:
    raise Stopped(signum)


if __name__ == "__main__":
    run(main)
