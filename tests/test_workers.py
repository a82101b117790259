"""Processes that check pictures: how many, how far ahead of the writer, what is left of one that dies."""

import os
import subprocess
import sys
import time
from functools import partial

import psutil
import pytest
from conftest import ROOT

from src.machine import cores, workers
from src.machine.cores import count_cores, find_quotas
from src.machine.workers import AHEAD, map_in_processes


def count_calls(file, item):
    """Twice the item; each call appends a byte to `file`, which all processes share."""
    with open(file, "ab") as calls:
        calls.write(b"x")
    return 2 * item


def fail(item, why):
    raise AssertionError(f"{item}: {why}")


def test_a_slow_reader_of_the_results_holds_the_processes_back(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "count_cores", lambda: 2)
    file = tmp_path / "calls"
    results = map_in_processes(partial(count_calls, file), range(2000), 10, fail)
    assert next(results) == 0
    time.sleep(0.5)
    assert file.stat().st_size <= (2 * AHEAD + 1) * 10
    assert list(results) == list(range(2, 4000, 2))


def die(item):
    if item % 30 == 7:
        os._exit(3)
    return item


@pytest.mark.slow
def test_items_that_end_their_process_are_lost_alone(monkeypatch):
    monkeypatch.setattr(workers, "count_cores", lambda: 2)
    results = list(map_in_processes(die, range(100), 16, lambda item, why: (item, why)))
    expected = [(item, "exit code 3") if item % 30 == 7 else item for item in range(100)]
    assert results == expected


@pytest.mark.slow
def test_if_every_item_ends_its_process_all_are_lost_and_the_call_ends(monkeypatch):
    monkeypatch.setattr(workers, "count_cores", lambda: 2)
    assert list(map_in_processes(os._exit, [1, 2, 3, 4, 5], 1, lambda item, why: why)) == [
        f"exit code {code}" for code in range(1, 6)
    ]


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    "lines, files, quotas",
    [
        ("0::/job/step\n", {"job/step/cpu.max": "150000 100000", "job/cpu.max": "max 100000"}, [1.5]),
        ("0::/job/step\n", {"job/cpu.max": "400000 100000", "cpu.max": "800000 100000"}, [4.0, 8.0]),
        ("0::/\n", {"cpu.max": "max 100000"}, []),
        ("0::/elsewhere\n", {}, []),
        ("4:memory:/m\n3:cpu,cpuacct:/docker/x\n0::/\n",
         {"cpu/docker/x/cpu.cfs_quota_us": "300000", "cpu/docker/x/cpu.cfs_period_us": "100000",
          "cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, [3.0]),
    ],
)  # fmt: skip
def test_quotas_of_control_groups(tmp_path, lines, files, quotas):
    write(tmp_path / "cgroup", lines)
    for name, text in files.items():
        write(tmp_path / "mount" / name, f"{text}\n")
    assert list(find_quotas(tmp_path / "cgroup", tmp_path / "mount")) == quotas


def test_the_fewest_cores_count(monkeypatch, tmp_path):
    write(tmp_path / "cgroup", "0::/\n")
    write(tmp_path / "cpu.max", "250000 100000")
    monkeypatch.setattr(cores, "GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(cores, "MOUNT", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert count_cores() == 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5})
    assert count_cores() == 1


SLEEPERS = """
import os, time
from src.machine.workers import map_in_processes

def work(item):
    os.write(1, b"%d\\n" % os.getpid())  # one write, so that the lines of two workers do not mix
    time.sleep(60)

next(map_in_processes(work, range(2), 1, print))
"""


def test_workers_end_with_a_process_that_is_killed():
    process = subprocess.Popen([sys.executable, "-c", SLEEPERS], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    workers = [psutil.Process(int(process.stdout.readline())) for _ in range(2)]
    process.kill()
    process.wait()
    assert not psutil.wait_procs(workers, timeout=10)[1]
    process.stdout.close()


LOADING = """
import os, signal, sys, time
from multiprocessing import set_start_method
import torch
from src.batches.loader import Loader

class Views:
    def __getitem__(self, task):
        time.sleep(60 if task == "long" else 0)
        return torch.tensor(os.getpid())

if __name__ == "__main__":
    set_start_method(sys.argv[1])
    loader = Loader(Views(), 2)
    before = [int(pid) for pid in loader.load(["short"] * 4)]
    STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    for signum in STOPPING:
        signal.signal(signum, signal.SIG_IGN)
    for signum in STOPPING:
        os.killpg(0, signum)
    results = loader.load(["short"] * 2 + ["long"] * 2)
    print(*before, int(next(results)), int(next(results)), flush=True)
    sys.stdin.read()
"""
SLOW_METHODS = [pytest.param(method, marks=pytest.mark.slow) for method in ("spawn", "forkserver")]


@pytest.mark.parametrize("method", ["fork", *SLOW_METHODS])
@pytest.mark.parametrize("end", ["exit", "kill"])
@pytest.mark.slow
def test_a_training_keeps_its_workers_through_signals_to_the_group_and_takes_them_along(
    tmp_path, method, end
):
    (tmp_path / "loading.py").write_text(LOADING)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "loading.py", method], env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0,
    )  # fmt: skip
    pids = [int(word) for word in process.stdout.readline().split()]
    assert pids == pids[:2] * 3 and len(set(pids)) == 2, pids
    workers = [psutil.Process(pid) for pid in pids[:2]]
    helpers = [child for child in psutil.Process(process.pid).children() if child not in workers]
    if end == "kill":
        process.kill()
    output, _ = process.communicate(timeout=20)
    assert not psutil.wait_procs([*workers, *helpers], timeout=10)[1]
    told = [line for line in output.splitlines() if "resource_tracker" not in line]  # of what a kill leaves
    assert (process.returncode, told) == (-9 if end == "kill" else 0, [])
