"""Run one experiment in the clone of an engine's worker: started there by `engine`, as the clone has it.

reads   JOB.json                the experiment, and the DVC remote through which it gets its inputs
writes  beside it               result.json, experiments.bundle for git, experiment.log
run     python -m tools.ablation.alone JOB.json    in the clone; ends when its stdin does
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src.ground.errors import UserError, run
from tools.ablation.clone import (
    IGNORED,
    copy_ignored,
    name_refs,
    remove_experiments,
    run_git,
    run_program,
    set_identity,
)
from tools.ablation.remotes import add_remote, push
from tools.ablation.runner import Experiment, raise_stopped, run_experiment
from tools.inputs import TARGET

CLONE = Path()


def main() -> None:
    path = Path(sys.argv[1])
    job = json.loads(path.read_text(encoding="utf-8"))
    signal.signal(signal.SIGTERM, raise_stopped)
    threading.Thread(target=stop_with_worker, daemon=True).start()
    experiment = Experiment(**job["experiment"])
    prepare(job, path.with_name("prepared"))
    with open(path.with_name("experiment.log"), "w+", encoding="utf-8", errors="replace") as log:
        outcome = run_experiment(experiment, CLONE, log)
    if outcome.succeeded:
        bundle = path.with_name("experiments.bundle").absolute()
        ref = name_refs(job["commit"]) + experiment.name
        run_git("bundle", "create", "--quiet", str(bundle), ref, f"^{job['commit']}")
        try:
            push(CLONE, job["remote"])
        except UserError as error:  # the experiment counts all the same: its metrics are in git
            outcome = outcome._replace(summary=f"failed: {error}", succeeded=False)
    path.with_name("result.json").write_text(json.dumps(outcome._asdict()), encoding="utf-8")


def prepare(job: Mapping[str, Any], marker: Path) -> None:
    """Bring a clone that is new to the job's commit to what the project has: inputs and finished stages."""
    remove_experiments(CLONE)
    add_remote(CLONE, job["url"])
    if marker.exists() and marker.read_text() == job["commit"]:
        return
    set_identity(CLONE, job["identity"])
    project = Path(job["project"])
    for folder in IGNORED if (project / ".git").exists() else ():
        copy_ignored(folder, project, CLONE)
    pull = ("pull", "--allow-missing", "--with-deps", "--remote", job["remote"], TARGET)
    run_program("dvc", *pull, remedy="check the remote's address and keys on this worker")
    marker.write_text(job["commit"])


def stop_with_worker() -> None:
    """Stop the run when the worker that holds the other end of stdin is gone."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    run(main)
