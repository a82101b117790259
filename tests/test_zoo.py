"""Which networks take a training step: the committed table, and a sample of it tried again."""

import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT

from benchmarks import zoo
from benchmarks.zoo import HANGS, LARGE, MOST, STEP, Row, read_table, try_all
from src.ground.names import list_architectures


@pytest.fixture(scope="module")
def table():
    before = os.getcwd()
    os.chdir(ROOT)
    yield read_table()
    os.chdir(before)


def test_the_table_has_every_network_and_none_crashes_or_hangs(table):
    """After another version of timm or torchvision: python -m benchmarks.zoo."""
    assert {row.network for row in table} == set(list_architectures())
    for row in table:
        assert (row.outcome == LARGE) == (row.parameters >= MOST), row
        assert row.outcome != HANGS and not row.outcome.startswith("ends "), row
        assert not row.outcome.startswith(STEP) or row.side > 0, row


def find_smallest(table):
    """The smallest network of every family that takes a step."""
    smallest = {}
    for row in sorted(table, key=lambda row: row.parameters, reverse=True):
        if row.outcome.startswith(STEP):
            smallest[row.family] = row.network
    return sorted(smallest.values())


@pytest.mark.slow
def test_the_smallest_network_of_every_family_takes_its_step(table):
    """In a process of its own each, in the conditions of a training, with the committed outcome."""
    names = find_smallest(table)
    assert len(names) > 80
    command = [sys.executable, "-m", "benchmarks.zoo", *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count("\n") == len(names), done.stderr


def act(arch, parameters):
    """What a network does in its process, in place of a training step."""
    if arch == "resnet18":
        os.kill(os.getpid(), signal.SIGSEGV)
    while arch == "resnet34":  # never ends, and takes the CPU
        pass
    if arch == "resnet50":  # never ends, and waits
        time.sleep(1000)
    return parameters, 32, STEP


@pytest.mark.slow
def test_a_crash_and_a_hang_are_one_networks_failure(monkeypatch):
    monkeypatch.setattr(zoo, "try_network", act)
    monkeypatch.setattr(zoo, "CPU_SECONDS", 1)
    monkeypatch.setattr(zoo, "SECONDS", 3)
    names = ["resnet18", "timm/resnet18", "resnet34", "timm/resnet34", "resnet50", "timm/resnet50"]
    rows = {row.network: row for row in try_all(names, dict.fromkeys(names, 7))}
    assert [rows[name].outcome for name in names] == ["ends by SIGSEGV", STEP, HANGS, STEP, HANGS, STEP]
    assert rows["timm/resnet50"] == Row("timm/resnet50", "timm/resnet", 7, 32, STEP)
    assert rows["resnet50"] == Row("resnet50", "torchvision/resnet", 7, 0, HANGS)
