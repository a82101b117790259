"""Work on this machine and on a Dask cluster: the same results in the same order, whoever is lost."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib.util import find_spec

import numpy as np
import psutil
import pytest
import torch
from conftest import CPU, LIGHT, ROOT, Project, draw_tiny_images, edit_params
from PIL import Image

from src.batches.views import list_views
from src.ground.errors import UserError
from src.machine import cluster, facts
from src.machine.executor import map_items
from src.machine.facts import describe_machine, find_difference
from src.machine.runtime import MachineSettings
from src.machine.workers import map_in_order
from src.networks import predict
from src.networks.asking import Panel, list_batches
from src.networks.checkpoint import Facts, load_model, save_weights
from src.networks.libraries import build_model
from src.pictures.reading import Pack

needs_dask = pytest.mark.skipif(
    find_spec("distributed") is None, reason="Dask is not installed (make cluster installs it)"
)
PARTS = """
import os, time

def double(item):
    time.sleep(0.02)
    return 2 * item

def die(item):
    if item % 30 == 7:
        os._exit(3)
    return item

def refuse(item):
    from src.ground.errors import UserError
    raise UserError(f"pictures/{item}.png: gone (run again)", "and one more")
"""


class Threads:
    """A Host whose executor finishes parts in any order."""

    def __init__(self, pool, ahead):
        self.pool, self.ahead, self.begun, self.lock = pool, ahead, 0, threading.Lock()

    def count_ahead(self):
        return self.ahead

    def submit(self, items):
        return self.pool.submit(self.compute, items)

    def compute(self, items):
        with self.lock:
            self.begun += len(items)
        time.sleep(0.01 * (items[0] % 3))
        return [item * item for item in items]

    def take(self, waiting):
        return waiting.popleft()[1].result()


def test_results_come_in_order_and_no_more_than_a_few_parts_ahead():
    with ThreadPoolExecutor(4) as pool:
        host = Threads(pool, ahead=5)
        results = map_in_order(host, range(100), 3)
        assert next(results) == 0
        time.sleep(0.2)
        assert host.begun == 5 * 3
        assert list(results) == [item * item for item in range(1, 100)]


def test_an_executor_that_is_none_is_refused(place):
    edit_params(place, executor="dask://nowhere")
    with pytest.raises(UserError, match="executor: must be local, or dask://host:port of a Dask scheduler"):
        map_items(abs, [1], 1, print)


def test_dask_that_is_not_installed_is_named_with_the_remedy(place, monkeypatch):
    edit_params(place, executor="dask://localhost:8786")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(
        UserError,
        match=r"executor: dask://localhost:8786: Dask is not installed \(make cluster, or: pip install",
    ):
        list(map_items(abs, [1], 1, print))


@pytest.mark.parametrize(
    "key, value, said",
    [
        ("python", "3.9.1", r"^Python 3\.\d+\.\d+, not 3.9.1 \(start it with the same .venv\)$"),
        ("libraries", {"pillow": "1.0"}, r"^pillow \d+\.\d+\.\d+, not 1.0 \(start it with the same .venv\)$"),
        ("sources", "0", r"^other files in /.*/src \(let all machines share one folder\)$"),
        ("paths", {"gone": -1}, r"^cannot see /.*/gone: No such file or directory \(mount it there, "),
        ("paths", {"params.yaml": 1}, r"^has another /.*/params.yaml \(let all machines share it\)$"),
    ],
)
def test_a_machine_that_differs_says_in_what(monkeypatch, key, value, said):
    monkeypatch.chdir(ROOT)
    wanted = describe_machine(["params.yaml", "src"])
    assert find_difference(wanted) == ""
    difference = find_difference(wanted | {key: value})
    assert re.search(said, difference), difference


def test_another_source_is_another_hash(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "src/a").mkdir(parents=True)
    (tmp_path / "src/a/b.py").write_text("x = 1\n")
    before = facts.hash_sources()
    (tmp_path / "src/a/b.py").write_text("x = 2\n")
    assert facts.hash_sources() != before


class Dask:
    """A scheduler and workers on this machine, of one thread each."""

    def __init__(self, folder):
        self.folder, self.processes, self.workers = folder, [], []
        file = folder / "scheduler.json"
        options = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
        self.scheduler = self.start("scheduler", *options)
        wait_until(file.exists)
        self.address = json.loads(file.read_text())["address"].replace("tcp://", "dask://")

    def start(self, what, *arguments):
        log = open(self.folder / f"{what}{len(self.processes)}.log", "w")
        process = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{what}", *arguments],
            cwd=self.folder, stdout=log, stderr=log,
        )  # fmt: skip
        self.processes.append(process)
        return process

    def add_worker(self):
        address = self.address.replace("dask://", "tcp://")
        options = ("--no-nanny", "--nthreads", "1", "--no-dashboard", "--local-directory", str(self.folder))
        self.workers.append(self.start("worker", address, *options))

    def close(self):
        for process in reversed(self.processes):
            process.kill()
            process.wait()


@contextmanager
def start_dask(folder, workers):
    folder.mkdir()
    dask = Dask(folder)
    try:
        for _ in range(workers):
            dask.add_worker()
        wait_until(lambda: count_workers(dask.address) == workers)
        yield dask
    finally:
        dask.close()


def count_workers(address):
    with cluster.connect(address, address) as client:
        return len(client.nthreads())


def wait_until(claim, timeout=60):
    end = time.monotonic() + timeout
    while not claim():
        assert time.monotonic() < end, "took too long"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def dask(tmp_path_factory):
    """Two workers; tests must not end them."""
    with start_dask(tmp_path_factory.mktemp("dask") / "two", 2) as dask:
        yield dask


@pytest.fixture
def parts(place, monkeypatch):
    """A working folder with the project's sources and functions that its helpers can import."""
    (place / "src").symlink_to(ROOT / "src")
    (place / "parts.py").write_text(PARTS)
    shutil.copy(ROOT / "libraries.yaml", place)
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.delitem(sys.modules, "parts", raising=False)
    import parts

    return parts


def ask(place, dask, function, items, chunk=4, needs=()):
    edit_params(place, executor=dask.address, distributed__timeout=3.0)
    return map_items(function, items, chunk, lambda item, why: (item, why), needs)


@pytest.mark.slow
@needs_dask
def test_results_of_a_cluster_are_those_of_one_process(place, parts, dask):
    assert list(ask(place, dask, parts.double, range(50))) == list(range(0, 100, 2))


@pytest.mark.slow
@needs_dask
def test_items_that_end_their_helper_are_lost_alone_as_on_this_machine(place, parts, dask):
    expected = [(item, "exit code 3") if item % 30 == 7 else item for item in range(100)]
    assert list(ask(place, dask, parts.die, range(100), 16)) == expected
    edit_params(place, executor="local")
    assert list(map_items(parts.die, range(100), 16, lambda item, why: (item, why))) == expected


@pytest.mark.slow
@needs_dask
def test_an_error_of_the_function_is_one_of_the_run(place, parts, dask):
    with pytest.raises(UserError) as error:
        list(ask(place, dask, parts.refuse, [3]))
    assert str(error.value) == "pictures/3.png: gone (run again)\nand one more"


@pytest.mark.slow
@needs_dask
@pytest.mark.parametrize(
    "key, value, said",
    [
        ("libraries", {"pillow": "1.0"}, "pillow .*, not 1.0"),
        ("sources", "0", "other files in "),
        ("paths", {"pictures": -1}, "cannot see .*/pictures: No such file or directory"),
    ],
)
def test_each_worker_that_differs_is_named_in_one_line(place, parts, dask, monkeypatch, key, value, said):
    monkeypatch.setattr(cluster, "describe_machine", lambda needs: describe_machine(needs) | {key: value})
    with pytest.raises(UserError) as error:
        list(ask(place, dask, parts.double, [1]))
    lines = str(error.value).splitlines()
    assert len(lines) == 2 and len(set(lines)) == 2
    for line in lines:
        pattern = rf"^params.yaml: executor: {dask.address}: worker tcp://127.0.0.1:\d+: {said}"
        assert re.search(pattern, line), line


@pytest.mark.slow
@needs_dask
def test_a_worker_that_is_killed_costs_no_result_and_one_that_comes_later_helps(place, parts, tmp_path):
    with start_dask(tmp_path / "own", 2) as dask:
        results = ask(place, dask, parts.double, range(400))
        first = [next(results) for _ in range(20)]
        dask.workers[0].kill()
        more = [next(results) for _ in range(60)]
        dask.add_worker()
        dask.workers[1].kill()
        assert [*first, *more, *results] == list(range(0, 800, 2))


@pytest.mark.slow
@needs_dask
def test_a_worker_that_comes_later_and_differs_is_warned_of_and_gets_no_work(place, parts, tmp_path, capsys):
    with start_dask(tmp_path / "own", 1) as dask:
        results = ask(place, dask, parts.double, range(300))
        first = [next(results) for _ in range(4)]
        shutil.copytree(ROOT / "src", place / "edited", ignore=shutil.ignore_patterns("__pycache__"))
        (place / "edited/machine/memory.py").open("a").write("# edited\n")
        (place / "src").unlink()
        (place / "edited").rename(place / "src")
        dask.add_worker()
        assert [*first, *results] == list(range(0, 600, 2))
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(warnings) == 1 and "other files in " in warnings[0] and "worker tcp://" in warnings[0]


@pytest.mark.slow
@needs_dask
@pytest.mark.parametrize("lost, said", [("workers", "no worker is left for 3 seconds"), ("scheduler", "")])
def test_a_cluster_that_is_lost_ends_the_run_with_one_line(place, parts, tmp_path, lost, said):
    with start_dask(tmp_path / "own", 1) as dask:
        results = ask(place, dask, parts.double, range(400))
        next(results)
        for process in dask.workers if lost == "workers" else [dask.scheduler]:
            process.kill()
        with pytest.raises(UserError, match=f"^params.yaml: executor: {dask.address}: .*{said}.*$"):
            list(results)


@pytest.mark.slow
@needs_dask
def test_no_scheduler_and_no_workers_are_one_line_each(place, parts, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT", 2.0)
    with start_dask(tmp_path / "own", 0) as dask:
        with pytest.raises(
            UserError, match=r"executor: dask://.*: has no workers \(start some: dask worker tcp"
        ):
            list(ask(place, dask, parts.double, [1]))
    with pytest.raises(
        UserError, match=r"executor: dask://.*: no scheduler answers: .*\(start one there: dask"
    ):
        list(ask(place, dask, parts.double, [1]))


def draw_noise(root):
    """Pictures that take a while: noise of 1000 x 800 pixels, each eight times, and one that is broken."""
    generator = np.random.default_rng(0)
    for number in range(120):
        folder = root / "train" / ("red", "green", "blue")[number % 3]
        pixels = generator.integers(0, 256, (800, 1000, 3), dtype=np.uint8)
        file = folder / f"noise{number}.jpg"
        Image.fromarray(pixels).save(file, quality=90)
        for copy in range(7):
            os.link(file, folder / f"noise{number} {copy}.jpg")
    (root / "train/red/broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")


def read_outputs(folder):
    """The bytes of all that the stages have written in data and metrics."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for name in ("data", "metrics")
        for path in (folder / name).rglob("*")
        if path.is_file() and "external" not in path.parts
    }


@pytest.mark.slow
@needs_dask
def test_check_images_over_two_workers_one_killed_in_the_middle_writes_the_same_bytes(tmp_path):
    draw_noise(draw_tiny_images(tmp_path / "pictures", 8))
    project = Project(tmp_path / "dojo", tmp_path / "pictures")
    edit_params(project.folder, data__on_bad="skip")
    project.run(sys.executable, "-m", "stages.check_images")
    expected = read_outputs(project.folder)
    assert (
        b"broken.png" in expected["data/bad_images.csv"] and len(expected["data/packed/train.npy"]) > 400_000
    )
    for name in ("data", "metrics"):
        shutil.rmtree(project.folder / name)
    with start_dask(tmp_path / "dask", 2) as dask:
        edit_params(project.folder, executor=dask.address)
        stage = subprocess.Popen(
            [sys.executable, "-m", "stages.check_images"], cwd=project.folder, env=project.environment(),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        worker = psutil.Process(dask.workers[0].pid)
        wait_until(lambda: count_seconds(worker) > 0.8)
        assert stage.poll() is None
        worker.kill()
        output, _ = stage.communicate(timeout=120)
    assert stage.returncode == 0, output
    assert "2 workers" in output
    assert read_outputs(project.folder) == expected


def count_seconds(worker):
    """The CPU time that a worker's helpers have used."""
    with suppress(psutil.NoSuchProcess):
        return sum(child.cpu_times().user for child in worker.children())
    return 0


def make_panel(folder, batch_size=5):
    """Two networks of random weights, and their files."""
    torch.manual_seed(0)
    networks = [build_model("timm/test_resnet", 3, "").eval() for _ in range(2)]
    files = [folder / f"{number}.safetensors" for number in range(2)]
    half, none = (0.5,) * 3, ("none", "", "", "cpu")
    for file, network in zip(files, networks, strict=True):
        save_weights(
            file, network, Facts("timm/test_resnet", "softmax", ("a", "b", "c"), 32, 32, half, half, *none)
        )
    networks = [load_model(file)[0] for file in files]
    machine = MachineSettings(threads=1, cpu_isa="auto", device="auto", tf32=False, processes=1)
    return Panel(files, networks, "softmax", batch_size, CPU, machine)


def draw_asked(pictures):
    return np.random.default_rng(1).integers(0, 2, len(pictures))


def test_the_batches_of_a_cluster_are_those_of_one_process(place, pack, monkeypatch):
    """Two networks that are asked in turns, in parts of 10 pictures, by batches of 5."""
    monkeypatch.setattr(predict, "MOST_PROBABILITIES", 30)
    sizes = []
    original = predict.scale_to_unit
    monkeypatch.setattr(
        predict, "scale_to_unit", lambda images: sizes.append(len(images)) or original(images)
    )
    panel, asked = make_panel(place), draw_asked(pack[0])
    rows, parts = zip(*panel.ask(asked, pack[0], 3), strict=True)
    assert [(part.start, part.stop) for part in rows] == [(0, 10), (10, 20), (20, 30)]
    batches = [batch for part in rows for batch in list_batches(asked, part, 5)]
    assert [len(numbers) for _, numbers in batches] == sizes
    assert sorted(np.concatenate([numbers for _, numbers in batches]).tolist()) == list(range(30))
    assert np.concatenate(parts).sum(axis=1) == pytest.approx(np.ones(30))


@pytest.mark.slow
@needs_dask
def test_networks_answer_the_same_over_a_cluster_from_a_pack_and_from_augmented_views(
    place, parts, dask, pack, monkeypatch
):
    monkeypatch.setattr(predict, "MOST_PROBABILITIES", 30)
    np.save(place / "pack.npy", pack[0])
    (place / "pictures").mkdir()
    panel, pictures = make_panel(place), Pack(place / "pack.npy")
    asked = draw_asked(pictures)
    views = list_views(pictures, dataclasses.asdict(LIGHT), 0, 1, (32, 32), CPU)
    edit_params(place, data__root="pictures")
    here = [list(panel.ask(asked, seen, 3)) for seen in (pictures, views[0])]
    edit_params(place, executor=dask.address, distributed__timeout=60.0)
    there = [list(panel.ask(asked, seen, 3)) for seen in (pictures, views[0])]
    assert len(here[0]) == 3
    for own, other in zip(here, there, strict=True):
        assert [rows for rows, _ in own] == [rows for rows, _ in other]
        assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(own, other, strict=True))
    assert not np.array_equal(here[0][0][1], here[1][0][1])
