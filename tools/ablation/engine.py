"""Run a table's experiments on the workers of a Dask cluster, each in a clone of its own.

A worker needs git, a Python with this project's libraries, the pictures under the same path as here, and the
DVC remote; the commit is sent to it, and its experiment comes back, as a bundle of git. Dask runs the row of
a worker that is lost elsewhere.
"""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

from src.ground.errors import UserError, shorten
from src.ground.libraries import read_recorded
from src.machine.cluster import connect
from tools.ablation.clone import CLONE, fetch_experiments, read_identity, run_git
from tools.ablation.remotes import add_remote, choose_remote, push
from tools.ablation.runner import Experiment, Outcome

T = TypeVar("T")
LOCAL = "local"
ADDRESS = re.compile(r"dask://([^\s:/]+:\d{1,5})")
RESOURCE = "dojo"  # a worker with `--resources dojo=1` takes one experiment at a time


class Ended(NamedTuple):
    """What a worker sends back."""

    outcome: dict[str, Any]  # the fields of an Outcome
    seconds: float
    log: str
    bundle: bytes  # the experiment for git; empty if there is none


def check_engine(engine: str, remote: str) -> None:
    """Refuse an engine of another form, and a remote that nobody would use."""
    if engine == LOCAL:
        if remote:
            raise UserError("REMOTE: for the workers of an engine (set ENGINE=dask://host:port too)")
    elif not ADDRESS.fullmatch(engine):
        raise UserError(f"ENGINE={engine}: must be local, or dask://host:port of a Dask scheduler")


class Engine:
    """The workers of a cluster, and what they need to know beside the experiment."""

    def __init__(self, address: str, client: Any, at_once: int, common: Mapping[str, Any]):
        self.address, self.client, self.at_once, self.common = address, client, at_once, common

    def run(self, experiments: Sequence[Experiment], log: IO[str]) -> Iterator[tuple[str, Outcome, float]]:
        """Run these on the workers; yields the name, the outcome and the seconds of each, as they end."""
        from distributed import as_completed

        commit = self.client.submit(
            bytes, create_bundle(), pure=False
        )  # computed again if its holder is lost
        futures = {
            self.client.submit(
                by_value(run_on_worker),
                commit,
                {**self.common, "experiment": experiment._asdict()},
                pure=False,
                resources={RESOURCE: 1},
                priority=-number,
            ): experiment.name
            for number, experiment in enumerate(experiments)
        }
        for future in as_completed(futures, loop=self.client.loop):
            yield self.read(futures[future], future, log)

    def read(self, name: str, future: Any, log: IO[str]) -> tuple[str, Outcome, float]:
        """Name, outcome and seconds of an experiment that ended; publishes it and logs its output."""
        if future.status == "cancelled":
            raise UserError(
                f"{self.address}: the scheduler is gone; what ran is recorded (start it and run this again)"
            )
        if error := future.exception():
            return name, Outcome(f"failed: {describe_error(error)}", False, False), 0.0
        ended = Ended(*future.result())
        log.write(ended.log)
        log.flush()
        if ended.bundle:
            with tempfile.NamedTemporaryFile(suffix=".bundle") as file:
                file.write(ended.bundle)
                file.flush()
                fetch_experiments(Path(file.name), self.common["commit"])
        return name, Outcome(**ended.outcome), ended.seconds


@contextmanager
def start_engine(engine: str, remote: str, commit: str) -> Iterator[Engine]:
    """The workers at an address, all checked, with the outputs of the last commit in the remote."""
    with connect(engine, engine) as client:
        send_by_value()
        at_once = check_workers(engine, client)
        name, url = choose_remote(CLONE, remote)
        add_remote(CLONE, url)
        push(CLONE, name)
        common = {
            "commit": commit,
            "identity": read_identity(),
            "project": str(Path.cwd()),
            "remote": name,
            "url": url,
        }
        print(f"{engine}: {at_once} rows at once", flush=True)
        yield Engine(engine, client, at_once, common)


def check_workers(engine: str, client: Any) -> int:
    """How many experiments the workers run at once; refuses those whose Python or libraries differ."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    slots = {address: int(worker["resources"].get(RESOURCE, 0)) for address, worker in workers.items()}
    fit = [address for address, count in slots.items() if count]
    if not fit:
        start = f"dask worker {engine.replace('dask://', 'tcp://')} --nthreads 1 --resources {RESOURCE}=1"
        raise UserError(f"{engine}: no worker has the resource {RESOURCE} ({start})")
    own, pythons = read_python(client.get_versions()["client"]), client.get_versions()["workers"]
    check_equal(engine, {"Python": own}, {name: {"Python": read_python(pythons[name])} for name in fit})
    recorded = read_recorded()
    check_equal(engine, recorded, client.run(by_value(find_versions), list(recorded), workers=fit))
    return sum(slots.values())


def read_python(described: Mapping[str, Any]) -> str:
    """Python's version without the last number, in an entry of Client.get_versions()."""
    return ".".join(described["packages"]["python"].split(".")[:2])


def check_equal(engine: str, wanted: Mapping[str, str], found: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse workers that have other versions than these, each in one line."""
    problems = []
    for worker, versions in found.items():
        others = [
            f"{name} {versions[name]}, not {own}" for name, own in wanted.items() if versions[name] != own
        ]
        if others:
            remedy = "install there what requirements.txt names, or stop it"
            problems.append(f"{engine}: worker {worker}: {', '.join(others)} ({remedy})")
    if problems:
        raise UserError(*problems)


def create_bundle() -> bytes:
    """The last commit and all before it, as a file that git can fetch from."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "commit.bundle"
        run_git("bundle", "create", "--quiet", str(path), "HEAD")
        return path.read_bytes()


def send_by_value() -> None:
    """A worker has no file of the project yet."""
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    warnings.filterwarnings("ignore", "Sending large graph", UserWarning)  # the commit


def by_value(function: Callable[..., T]) -> Callable[..., T]:
    """The function in a form that Dask sends whole: what pickle can name, it would send as a name."""
    return lambda *arguments: function(*arguments)


def describe_error(error: BaseException) -> str:
    """Why a worker did not answer, on one line."""
    if type(error).__name__ == "KilledWorker":
        return "the workers that ran it were lost, one after the other (their logs say why)"
    return shorten(error, 200)


# What follows is sent to the workers by value, and uses nothing but the standard library and Dask.


def find_versions(names: Sequence[str]) -> dict[str, str]:
    """The installed version of each package, without the name of a build such as +cpu."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            found[name] = "none"
    return found


def run_on_worker(commit: bytes, job: dict[str, Any]) -> tuple[dict[str, Any], float, str, bytes]:
    """Run one experiment in this worker's clone, with the clone's sources; returns the fields of Ended."""
    from distributed import get_worker

    began = time.monotonic()
    folder = Path(get_worker().local_directory) / f"dojo-{threading.get_ident()}"  # one per thread
    clone = folder / "clone"
    prepare_clone(clone, commit, job["commit"])
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    files = [folder / name for name in ("result.json", "experiments.bundle", "experiment.log")]
    for file in files:
        file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tools.ablation.alone", "../job.json"]
    path = os.pathsep.join((os.path.dirname(sys.executable), os.environ.get("PATH", "")))
    process = subprocess.Popen(
        command,
        cwd=clone,
        env={**os.environ, "PATH": path},
        stdin=subprocess.PIPE,  # it ends when this process does
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    said = process.stdout.read().decode(errors="replace").strip()
    process.wait()
    result, bundle, log = (file.read_bytes() if file.exists() else b"" for file in files)
    failed = {"summary": f"failed: {said.splitlines()[-1] if said else 'it ended'}"}
    outcome = json.loads(result) if result else {**failed, "succeeded": False, "trained": False}
    return (outcome, time.monotonic() - began, log.decode(errors="replace"), bundle)


def prepare_clone(clone: Path, bundle: bytes, commit: str) -> None:
    """Create the clone, or bring it to `commit`; at that commit it stays as the row before left it."""

    def git(*arguments: str, check: bool = True) -> str:
        done = subprocess.run(["git", *arguments], cwd=clone, capture_output=True, text=True)
        if check and done.returncode:
            raise RuntimeError(f"git {arguments[0]}: {done.stderr.strip()}")
        return done.stdout.strip()

    clone.mkdir(parents=True, exist_ok=True)
    if not (clone / ".git").exists():
        git("init", "--quiet")
    if git("rev-parse", "--verify", "--quiet", "HEAD", check=False) != commit:
        (clone.parent / "commit.bundle").write_bytes(bundle)
        git("fetch", "--quiet", "../commit.bundle", "HEAD")
        git("checkout", "--quiet", "--force", "-B", "table", commit)
