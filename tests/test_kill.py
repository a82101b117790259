"""A demo training that is killed repeatedly under DVC ends with the bits of an undisturbed one. Slow."""

import os
import random
import re
import signal
import subprocess
import time

import psutil
import pytest
from conftest import Project, edit_params

from src.ground.files import sha256

pytestmark = pytest.mark.slow

OUTS = ("data/models/student.safetensors", "metrics/student.json", "plots/student.csv")
TEACHER = "data/models/teachers/big.safetensors"
REPRO = ("dvc", "repro", "-s", "--force", "--no-run-cache", "train_student")
RESUMED = r"resuming from epoch ([1-9]|0 and [1-9])"  # with something done
WAYS = ["kill -9 trainer", "kill -9 dvc", "TERM trainer", "TERM dvc", "Ctrl-C"] * 2


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The digits with a barely trained teacher, and the outs of an undisturbed training."""
    project = Project(tmp_path_factory.mktemp("demo") / "dojo", "data/demo")
    edit_params(
        project.folder, teacher__big__epochs=3, knowledge__min_accuracy=0.05, student__epochs=100,
        student__batch_size=50, student__warmup=12,
    )  # fmt: skip
    project.run("dvc", "repro", "train_student")
    project.quiet = hash_outs(project)
    return project


def hash_outs(project):
    return {name: sha256(project.folder / name) for name in OUTS}


def find_trainer(dvc):
    """The process of the stage itself, a descendant of dvc."""
    children = psutil.Process(dvc.pid).children(recursive=True)
    return next(p for p in children if {"stages.train_student", "stages.train_teacher"} & {*p.cmdline()})


def begin(project, command=REPRO):
    """Start DVC in its own process group, as a terminal does: Ctrl-C reaches the whole group."""
    return subprocess.Popen(
        command, cwd=project.folder, env=project.environment(), text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, process_group=0, restore_signals=True,
    )  # fmt: skip


def hit(dvc, way):
    """Stop a run in one of the WAYS; returns its output."""
    trainer = find_trainer(dvc)
    if way == "Ctrl-C":
        os.killpg(dvc.pid, signal.SIGINT)
    else:
        signum = signal.SIGKILL if way.startswith("kill -9") else signal.SIGTERM
        os.kill(dvc.pid if way.endswith("dvc") else trainer.pid, signum)
    output = dvc.communicate(timeout=60)[0]
    gone, alive = psutil.wait_procs([trainer], timeout=20)
    assert not alive, f"{way}: the trainer is still running\n{output}"
    return output


def read_until(dvc, pattern):
    """The lines of dvc's output up to the first match."""
    lines = []
    for line in dvc.stdout:
        lines.append(line)
        if re.search(pattern, line):
            return "".join(lines)
    raise AssertionError(f"no {pattern} in:\n{''.join(lines)}")


def test_a_training_killed_ten_times_ends_with_the_same_bits(demo):
    dice = random.Random(0)
    for number, way in enumerate(WAYS):
        dvc = begin(demo)
        before = read_until(dvc, r"^epoch \d+/100")
        assert (re.search(RESUMED, before) is None) == (number == 0), before
        time.sleep(dice.uniform(0.05, 0.5))
        output = before + hit(dvc, way)
        assert "epoch 100/100" not in output, "too fast: nothing is left to kill"
        if way in ("TERM trainer", "Ctrl-C"):
            name, codes = ("SIGTERM", "143") if way == "TERM trainer" else ("SIGINT", "130|-2")  # dash's: -2
            assert f"error: stopped by {name} (run the same command to continue)" in output, output
            assert re.search(f"exited with ({codes})$", output, re.M), output
            assert "Traceback" not in output
    output = demo.run(*REPRO)
    assert re.search(RESUMED, output)
    assert hash_outs(demo) == demo.quiet
    assert not list((demo.folder / ".scratch/train_student").iterdir())


def test_workers_that_are_signalled_or_killed_cost_one_line_and_no_work(demo):
    edit_params(demo.folder, workers=2)
    dice, command = random.Random(0), ("python", "-m", "stages.train_student")
    ways = [None, signal.SIGTERM, None, signal.SIGHUP, None, signal.SIGINT, None, None]  # None: a worker dies
    for number, signum in enumerate(ways):
        trainer = begin(demo, command)
        before = read_until(trainer, r"^epoch \d+/100")
        assert (re.search(RESUMED, before) is None) == (number == 0), before
        time.sleep(dice.uniform(0.05, 0.5))
        workers = psutil.Process(trainer.pid).children(recursive=True)
        os.killpg(trainer.pid, signum) if signum else dice.choice(workers).kill()
        output = trainer.communicate(timeout=60)[0]
        assert len(workers) == 2 and not psutil.wait_procs(workers, timeout=20)[1]
        assert "epoch 100/100" not in output, "too fast: nothing is left to kill"
        assert trainer.returncode == (128 + signum if signum else 1)
        lines = [line for line in output.splitlines() if not line.startswith("epoch ")]
        start = f"stopped by {signum.name} (" if signum else "params.yaml: workers: a process that augments"
        assert len(lines) == 1 and lines[0].startswith(f"error: {start}"), output
    assert re.search(RESUMED, demo.run(*command))
    edit_params(demo.folder, workers=0)
    assert hash_outs(demo) == demo.quiet


def test_a_changed_param_restarts_training_and_is_reported(demo):
    dvc = begin(demo)
    read_until(dvc, r"^epoch \d+/100")
    hit(dvc, "kill -9 trainer")
    edit_params(demo.folder, student__lr=0.002, student__epochs=2000)
    dvc = begin(demo)
    output = read_until(dvc, r"^epoch 1/2000")
    changed = (
        "student.epochs (100, now 2000), student.lr (0.01, now 0.002) changed since: starting from scratch"
    )
    assert f"an unfinished run, but {changed}" in output
    second = demo.run("dvc", "repro", "-s", "train_student", code=255)  # DVC's own lock
    assert "is busy" in second or "Unable to acquire lock" in second, second
    by_hand = demo.run("python", "-m", "stages.train_student", code=1)
    assert f"another training (process {find_trainer(dvc).pid}) is writing this run" in by_hand
    hit(dvc, "TERM trainer")
    edit_params(demo.folder, student__lr=0.01, student__epochs=100)
    assert re.search(RESUMED, demo.run(*REPRO))
    assert hash_outs(demo) == demo.quiet


def test_a_teacher_resumes_too(demo):
    quiet, command = sha256(demo.folder / TEACHER), (*REPRO[:-1], "train_teacher@big")
    dvc = begin(demo, command)
    read_until(dvc, r"^epoch 1/3")
    hit(dvc, "kill -9 trainer")
    assert re.search(RESUMED, demo.run(*command))
    assert sha256(demo.folder / TEACHER) == quiet
