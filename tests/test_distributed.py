"""Several processes: the same results as one, complete files, and all stop when one of them stops."""

import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest
import torch
import workers
from conftest import ROOT, edit_params

from src.ground.errors import UserError
from src.machine.collectives import (
    all_max,
    all_rows,
    all_sum,
    broadcast_from_main,
    is_main,
    own_slice,
    run_on_main,
)
from src.machine.launching import check_gpus, launch

TIMEOUT = 20.0  # seconds, of distributed.timeout in these tests


@pytest.fixture
def two(place):
    """A folder whose params.yaml asks for two processes."""
    edit_params(place, processes=2, threads=1, distributed__timeout=TIMEOUT)
    return place


def build_command(case, file):
    return [sys.executable, str(ROOT / "tests/workers.py"), case, str(file)]


def begin(folder, case, file, **environment):
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    return subprocess.Popen(
        build_command(case, file), cwd=folder, env=environment, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip


def end(process):
    """Wait for the end; returns exit code and error lines, and checks that no process is left."""
    children = psutil.Process(process.pid).children(recursive=True)
    _, errors = process.communicate(timeout=120)
    gone, alive = psutil.wait_procs(children, timeout=5)
    assert not alive
    return process.returncode, [line for line in errors.splitlines() if line.startswith("error: ")]


def test_collectives_of_one_process_change_nothing():
    rows = torch.arange(6.0).view(3, 2)
    assert all_rows(rows) is rows and all_sum(rows) is rows and all_max(rows) is rows
    assert run_on_main(lambda: 3) == 3
    assert own_slice(8) == slice(0, 8) and broadcast_from_main(b"abc") == b"abc" and is_main()


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    check_gpus(1, torch.device("cuda"))
    check_gpus(2, torch.device("cpu"))
    with pytest.raises(UserError, match="^params.yaml: processes: 2 on this machine, but it has 1 GPUs"):
        check_gpus(2, torch.device("cuda"))


def test_processes_must_divide_evenly_among_machines(place):
    edit_params(place, processes=3, distributed__nodes=2)
    with pytest.raises(
        UserError, match="^params.yaml: processes: must be a multiple of distributed.nodes, got 3 and 2"
    ):
        launch(3, 1, torch.device("cpu"))


@pytest.mark.slow
def test_two_processes_match_one_and_see_each_picture_once(two):
    found = []
    for processes in (1, 2):
        edit_params(two, processes=processes)
        assert end(begin(two, "compute", two / f"{processes}.pt")) == (0, [])
        found.append(torch.load(two / f"{processes}.pt", weights_only=True))
    alone, both = found
    assert set(alone) == set(both)
    close = {*workers.RECIPES, workers.FROZEN}
    for name in close:
        assert alone[name].isfinite().all() and (alone[name] - both[name]).abs().max() < 1e-5, name
    for name in set(alone) - close:
        assert torch.equal(alone[name], both[name]), name
    assert len(both["7 rows in batches of 2"]) == 7


@pytest.mark.slow
def test_two_machines_match_two_processes(two):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    one_machine = begin(two, "compute", two / "one.pt")
    assert end(one_machine) == (0, [])
    edit_params(
        two, distributed__nodes=2, distributed__rendezvous=f"localhost:{port}", distributed__timeout=60.0
    )
    machines = [begin(two, "compute", two / f"two{n}.pt", NODE_RANK=str(n)) for n in (0, 1)]
    assert [end(machine) for machine in machines] == [(0, []), (0, [])]
    assert not (two / "two1.pt").exists()  # only the first machine writes
    one, other = (torch.load(two / name, weights_only=True) for name in ("one.pt", "two0.pt"))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize(
    "signum, cause",
    [
        (signal.SIGKILL, "process 1: killed by SIGKILL (run the same command"),
        (signal.SIGSTOP, "process 0: no response from another process within distributed.timeout"),
    ],
)
def test_a_lost_process_stops_the_others(two, signum, cause):
    process = begin(two, "work_until_the_end", two / "pid")
    deadline = time.monotonic() + 60
    while not all((two / f"pid.{n}").exists() for n in (0, 1)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(int((two / "pid.1").read_text()), signum)
    began = time.monotonic()
    code, errors = end(process)
    assert code == 1 and len(errors) == 1 and errors[0].startswith(f"error: {cause}"), errors
    assert time.monotonic() - began < TIMEOUT + (10 if signum == signal.SIGKILL else 45)


@pytest.mark.slow
def test_the_others_wait_for_the_first_however_long_it_takes(two):
    edit_params(two, distributed__timeout=3.0)
    assert end(begin(two, "save_and_read_slowly", two / "found")) == (0, [])
    assert [(two / f"found.{n}").read_text() for n in (0, 1)] == ["5", "5"]  # both have what was saved


@pytest.mark.slow
def test_a_first_process_that_hangs_is_not_waited_for(two):
    edit_params(two, distributed__timeout=3.0)
    process = begin(two, "hang_while_others_wait", two / "pid")
    deadline = time.monotonic() + 60
    while not all((two / f"pid.{n}").exists() for n in (0, 1)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(1)
    os.kill(int((two / "pid.0").read_text()), signal.SIGSTOP)
    code, errors = end(process)
    assert code == 1 and len(errors) == 1 and errors[0].startswith("error: process 1: no response"), errors


@pytest.mark.slow
def test_two_processes_that_are_stopped_resume_to_the_same_bits(two):
    """The curves too: each process has losses of its own."""
    assert end(begin(two, "stop_and_resume", two / "found.pt")) == (0, [])
    found = torch.load(two / "found.pt", weights_only=True)
    assert torch.equal(found["quiet"], found["resumed"])
    assert found["quiet rows"].shape == (4, 3) and torch.equal(found["quiet rows"], found["resumed rows"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "file, expected",
    [
        ("user", "error: process 1: pictures/1.png: gone (bring it back)"),
        ("bug", "error: process 1: KeyError: 'bug'"),
    ],
)
def test_an_error_in_one_process_is_reported_once(two, file, expected):
    code, errors = end(begin(two, "raise_in_the_second", two / file))
    assert code == 1 and errors == [expected]


@pytest.mark.slow
def test_an_infinite_loss_in_one_process_stops_all_at_that_step_with_one_line(two):
    code, errors = end(begin(two, "become_infinite", two / "found"))
    line = "params.yaml: student.lr: the loss became nan in batch 2 of epoch 2 "
    line += "(try a lower lr or a longer warmup)"
    assert [(two / f"found.{n}").read_text() for n in (0, 1)] == [f"5 {line}"] * 2
    assert code == 1 and len(errors) == 1 and errors[0].endswith(line)


@pytest.mark.slow
def test_a_port_in_use_is_one_line(two):
    with socket.socket() as used:
        used.bind(("localhost", 0))
        used.listen()
        port = used.getsockname()[1]
        edit_params(two, distributed__nodes=2, distributed__rendezvous=f"localhost:{port}")
        code, errors = end(begin(two, "compute", two / "x"))
    expected = (
        f"params.yaml: distributed.rendezvous: localhost:{port}: the port is already in use (choose another)"
    )
    assert code == 1 and errors == [f"error: {expected}"]
