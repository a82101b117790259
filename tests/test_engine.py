"""Tables on an engine: rows as tasks of Dask's workers, each in a clone; a worker may be lost."""

import io
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import yaml
from conftest import ROOT
from test_ablation import TABLE, commit_all, wait_until

from src.ground.errors import UserError
from tools.ablation import engine
from tools.ablation.clone import name_refs, run_git
from tools.ablation.remotes import OWN, add_remote, choose_remote, push
from tools.ablation.runner import Experiment, Outcome

NEEDS = "Dask is not installed (make cluster, or: pip install -r requirements-cluster.txt)"
WORDS = "dask worker tcp://h:1 --nthreads 1 --resources dojo=1"


class KilledWorker(Exception):
    """As Dask names the error of a task whose workers were lost."""


class FakeClient:
    """Computes a task at once; `answers` by the experiment's name stand for what its worker does."""

    loop = None

    def __init__(self, answers):
        self.answers, self.resources = answers, []

    def submit(self, function, *arguments, resources=None, **options):
        if resources is None:
            return function(*arguments)
        self.resources.append(resources)
        answer = self.answers[arguments[1]["experiment"]["name"]]
        error = answer if isinstance(answer, Exception) else None
        status = "cancelled" if answer is None else "error" if error else "finished"
        return Future(status=status, exception=lambda: error, result=lambda: answer)


class Future(SimpleNamespace):
    __hash__ = object.__hash__


@pytest.fixture
def commit(place, monkeypatch):
    """A repository with one commit; `distributed` is a stand-in whose tasks end in reverse order."""
    commit_all(place)
    fake = SimpleNamespace(as_completed=lambda futures, loop: reversed([*futures]))
    monkeypatch.setitem(sys.modules, "distributed", fake)
    return run_git("rev-parse", "HEAD").strip()


def bundle_experiment(name, commit):
    """An experiment as a worker sends it: a commit after `commit`, which the project then lacks."""
    author = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    new = run_git(*author, "commit-tree", "HEAD^{tree}", "-p", "HEAD", "-m", name).strip()
    ref = name_refs(commit) + name
    run_git("update-ref", ref, new)
    run_git("bundle", "create", "-q", "../one.bundle", ref, f"^{commit}")
    run_git("update-ref", "-d", ref)
    return Path("../one.bundle").read_bytes(), new


def run_all(commit, log=None, **answers):
    """What Engine.run yields if the workers answer like this, by the experiment's name."""
    client = FakeClient(answers)
    experiments = [Experiment(name, (), ()) for name in answers]
    ended = [
        *engine.Engine("dask://h:1", client, 2, {"commit": commit}).run(experiments, log or io.StringIO())
    ]
    assert client.resources == [{"dojo": 1}] * len(answers)
    return ended


def test_experiments_are_published_as_they_end_and_failures_are_told(commit):
    """A lost one has no result; one whose outputs were not pushed is kept, and fails."""
    done, failed = Outcome("student: ...", True, True), Outcome("failed: x", False, True)
    (one, one_rev), log = bundle_experiment("one", commit), io.StringIO()
    ended = run_all(
        commit,
        log,
        one=(done._asdict(), 3.0, "$ dvc exp run\n", one),
        torn=(failed._asdict(), 2.0, "", b""),
        lost=KilledWorker("run_on_worker-1"),
        odd=RuntimeError("git fetch: no\nspace"),
    )
    lost = "failed: the workers that ran it were lost, one after the other (their logs say why)"
    assert ended == [
        ("odd", Outcome("failed: git fetch: no space", False, False), 0.0),
        ("lost", Outcome(lost, False, False), 0.0),
        ("torn", failed, 2.0),
        ("one", done, 3.0),
    ]
    assert run_git("rev-parse", name_refs(commit) + "one").strip() == one_rev
    assert log.getvalue() == "$ dvc exp run\n"


def test_a_scheduler_that_is_lost_is_one_line(commit):
    with pytest.raises(UserError, match=r"^dask://h:1: the scheduler is gone; what ran is recorded \("):
        run_all(commit, one=None)


def test_the_form_of_an_engine_is_checked():
    engine.check_engine("local", "")
    engine.check_engine("dask://host:8786", "/shared")
    with pytest.raises(UserError, match="^ENGINE=ray://host:1: must be local, or dask://host:port of a Dask"):
        engine.check_engine("ray://host:1", "")
    with pytest.raises(UserError, match="^REMOTE: for the workers of an engine"):
        engine.check_engine("local", "/shared")


def test_without_dask_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError) as caught, engine.connect("dask://h:1", "dask://h:1"):
        pass
    assert str(caught.value) == f"dask://h:1: {NEEDS}"


def make_described(python):
    return {"packages": {"python": f"{python}.7.final.0"}}


def make_cluster(python="3.11", torch="2.1"):
    """A client of two workers that run one experiment each, and one that runs none."""
    workers = {name: {"resources": {"dojo": 1.0}} for name in ("tcp://a", "tcp://b")}
    versions = {"client": make_described("3.11")}
    versions["workers"] = {"tcp://a": make_described("3.11"), "tcp://b": make_described(python)}
    found = {"tcp://a": {"torch": "2.1"}, "tcp://b": {"torch": torch}}
    return SimpleNamespace(
        scheduler_info=lambda n_workers: {"workers": workers | {"tcp://c": {"resources": {}}}},
        get_versions=lambda: versions,
        run=lambda function, names, workers: {name: found[name] for name in workers},
    )


def test_workers_must_have_the_libraries_of_the_project(place):
    (place / "libraries.yaml").write_text('torch: "2.1"\n')
    assert engine.check_workers("dask://h:1", make_cluster()) == 2
    with pytest.raises(UserError, match=r"^dask://h:1: worker tcp://b: torch 2.0, not 2.1 \([^\n]*\)$"):
        engine.check_workers("dask://h:1", make_cluster(torch="2.0"))
    with pytest.raises(UserError, match=r"^dask://h:1: worker tcp://b: Python 3.12, not 3.11 \([^\n]*\)$"):
        engine.check_workers("dask://h:1", make_cluster(python="3.12"))
    nobody = SimpleNamespace(scheduler_info=lambda n_workers: {"workers": {}})
    with pytest.raises(UserError) as caught:
        engine.check_workers("dask://h:1", nobody)
    assert str(caught.value) == f"dask://h:1: no worker has the resource dojo ({WORDS})"


def test_the_remote_is_the_given_one_or_the_committed_default(place):
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["dvc", "init", "-q"], check=True)
    assert choose_remote(Path(), "shared") == (OWN, str(place / "shared"))
    assert choose_remote(Path(), "s3://bucket/x") == (OWN, "s3://bucket/x")
    (place / ".dvc/config.local").write_text("[core]\n    remote = mine\n")
    with pytest.raises(UserError, match=r"^.dvc/config: no default remote in the last commit \(REMOTE=/"):
        choose_remote(Path(), "")
    (place / ".dvc/config").write_text("[core]\n    remote = ours\n")
    assert choose_remote(Path(), "") == ("ours", "")


@pytest.mark.slow
def test_a_remote_that_refuses_is_one_line(place):
    """A folder that nobody can create; the remote of another command's REMOTE is replaced."""
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["dvc", "init", "-q"], check=True)
    (place / "dvc.yaml").write_text("stages: {evaluate: {cmd: echo 1 > out, outs: [out]}}\n")
    subprocess.run(["dvc", "repro", "-q"], check=True)
    add_remote(Path(), "/proc/nothing")
    refused = (
        r"^dvc push: ERROR: [^\n]*/proc/nothing[^\n]* \(check the remote's address and keys; what ran stays"
    )
    with pytest.raises(UserError, match=refused):
        push(Path(), OWN)
    add_remote(Path(), str(place / "store"))
    push(Path(), OWN)
    assert [path.read_text() for path in (place / "store").rglob("*") if path.is_file()] == ["1\n"]


def test_a_clone_is_made_once_and_follows_the_commit(commit, place, tmp_path):
    clone = tmp_path / "worker/clone"
    engine.prepare_clone(clone, engine.create_bundle(), commit)
    (clone / "params.yaml").write_text("left by a row")
    engine.prepare_clone(clone, b"", commit)
    assert (clone / "params.yaml").read_text() == "left by a row"
    (place / "new.txt").write_text("new")
    commit_all(place)
    engine.prepare_clone(clone, engine.create_bundle(), run_git("rev-parse", "HEAD").strip())
    assert (clone / "new.txt").exists()
    assert (clone / "params.yaml").read_bytes() == (place / "params.yaml").read_bytes()


ROWS = {"plain": ["distill.share=0"], "bce": ["distill.share=0", "loss=bce"]}


@pytest.fixture
def laboratory(copy):
    """A project with a table of two rows and one seed, which share the teacher."""
    shutil.copy(ROOT / "ablations.schema.json", copy.folder)
    table = TABLE | {"rows": ROWS, "seeds": [1], "metrics": ["test.accuracy", "test.log_loss"]}
    file = {"data": {"own": {"set": []}}, "tables": {"losses": table}}
    (copy.folder / "ablations.yaml").write_text(yaml.safe_dump(file, sort_keys=False))
    copy.commit("table")
    return copy


@pytest.fixture
def cluster(laboratory, tmp_path):
    """A scheduler, and two workers by their folders, as separate processes."""
    pytest.importorskip("distributed", reason=NEEDS)
    file, started = tmp_path / "scheduler.json", []

    def start(*words):
        with open(tmp_path / f"dask-{len(started)}.log", "w") as log:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "dask", *words, "--scheduler-file", str(file), "--no-dashboard"],
                    cwd=tmp_path,
                    env=laboratory.environment(),
                    stdout=log,
                    stderr=log,
                )  # fmt: skip
            )
        return started[-1]

    start("scheduler", "--host", "127.0.0.1", "--port", "0")
    wait_until(lambda: file.exists() and file.read_text().endswith("}"))
    one_row = ("--no-nanny", "--nthreads", "1", "--resources", "dojo=1")
    workers = {
        folder: start("worker", *one_row, "--local-directory", str(folder))
        for folder in (tmp_path / "first", tmp_path / "second")
    }
    wait_until(lambda: all([*folder.rglob("*.dirlock")] or [*folder.rglob("worker-*")] for folder in workers))
    address = json.loads(file.read_text())["address"].replace("tcp://", "dask://")
    yield address, workers
    for process in reversed(started):
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_table_of_two_workers_is_that_of_the_loop_though_one_is_killed(laboratory, cluster, tmp_path):
    """The lost row runs elsewhere; what the killed worker had started ends too."""
    (address, workers), csv = cluster, laboratory.folder / "metrics/ablation/losses-own.csv"
    command = ["python", "-m", "tools.ablation", "losses", "own"]
    away = [*command, "--engine", address, "--remote", str(tmp_path / "remote")]
    printed = tmp_path / "printed.txt"
    with open(printed, "w") as file:
        process = subprocess.Popen(
            away, cwd=laboratory.folder, env=laboratory.environment(), stdout=file, stderr=file
        )
    victim = [*workers][0]
    wait_until(lambda: any("epoch 1/" in path.read_text() for path in victim.rglob("experiment.log")), 300)
    children = psutil.Process(workers[victim].pid).children(recursive=True)
    workers[victim].send_signal(signal.SIGKILL)
    assert process.wait(timeout=500) == 0, printed.read_text()
    assert "2 rows at once" in printed.read_text()
    assert "2 trained, 0 from DVC's cache, 0 failed" in printed.read_text()
    assert children and not psutil.wait_procs(children, timeout=30)[1]
    of_workers = csv.read_bytes()
    names = laboratory.run("dvc", "exp", "list", "--name-only").split()
    assert names == ["losses-own-bce-1", "losses-own-plain-1"]
    assert "2 recorded, 0 to run" in laboratory.run(*away)
    laboratory.run("dvc", "exp", "remove", *names)
    assert "2 trained, 0 from DVC's cache, 0 failed" in laboratory.run(*command)
    assert csv.read_bytes() == of_workers
