"""A killed training resumes to the same bits; changed inputs, damage and a second writer are reported."""

import dataclasses
import errno
import fcntl
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from conftest import (
    CPU,
    EACH_OPTIMIZER,
    LIGHT,
    ROOT,
    NoCurves,
    edit_params,
    make_job,
    make_settings,
    make_training_set,
    wrap_network,
)

import src.training.fit
import tools.clean_runs
from src.batches.mixing import build_transforms
from src.ground.errors import Stopped, UserError
from src.ground.params import flatten
from src.losses.bases import BASES
from src.losses.loss import DistillSettings, Loss
from src.losses.weightings import Ghm, GhmSettings
from src.networks.libraries import build_model
from src.training.fingerprint import collect_inputs, hash_file
from src.training.fit import fit
from src.training.listening import Listening, Teacher
from src.training.resume import hold_lock, open_state, remove_runs
from src.training.snapshot import BEFORE, NEWEST, SPARE, SnapshotWriter, parse, read_file, write_file
from src.training.state import Saved, State
from src.training.validation import Validation


@pytest.fixture(autouse=True)
def save_every_epoch(monkeypatch):
    monkeypatch.setattr("src.training.state.COST", float("inf"))


def test_saving_waits_until_it_is_cheap(tmp_path, monkeypatch):
    """A save takes 1 s and an epoch 10 s on a fake clock: at a cost of 2 %, a save every 50 s."""
    monkeypatch.setattr("src.training.state.COST", 0.02)
    clock, saved = [100.0], []
    monkeypatch.setattr("src.training.state.time.monotonic", lambda: clock[0])
    state = Saved(tmp_path)

    def write(_):
        saved.append(clock[0])
        clock[0] += 1

    monkeypatch.setattr(state.writer, "write", write)
    for _ in range(12):
        clock[0] += 10
        state.save_if_cheap()
    assert saved == [110, 161, 212]


class Killed(BaseException):
    """Simulates kill -9: nothing in the run may clean up after it."""


class KilledAfter(NoCurves):
    """Curves whose writer is killed while it writes a row, which is then not saved."""

    def __init__(self, rows):
        super().__init__()
        self.last = rows

    def add(self, row):
        if len(self.rows) == self.last:
            raise Killed
        super().add(row)


def train(
    pack,
    state,
    curves,
    ghm=False,
    mixed=False,
    dropout=0.0,
    scales=(1.0,),
    transforms=(),
    live=False,
    device=CPU,
    **changes,
):
    torch.manual_seed(0)
    chosen = make_settings(**changes)
    teachers = [Teacher(build_model(chosen.arch, 3, "teacher").eval(), BASES["softmax"])] if live else []
    for teacher in teachers:
        teacher.network.to(device)
    model = build_model(chosen.arch, 3, "student")
    if dropout:
        model.net.fc = torch.nn.Sequential(torch.nn.Dropout(dropout), model.net.fc)
        model.net.bn1 = torch.nn.Sequential(torch.nn.Dropout(dropout), model.net.bn1)
    distill = DistillSettings(0.7 * live, 2.0, 0.0, "kl", "live")
    loss = Loss(BASES["softmax"], [Ghm(GhmSettings(10, 0.75), (), "")] if ghm else [], distill)
    mix = dataclasses.replace(LIGHT, mixup=0.4 * mixed, multi_scale=0.2 * mixed, train_scales=scales)
    data = make_training_set(
        pack,
        transforms=lambda epoch: [*build_transforms(mix, chosen.epochs, epoch), *transforms],
        batch_size=chosen.batch_size,
        listen=[Listening(teachers, BASES["softmax"], read=0)] if live else [],
    )
    best = fit(make_job(pack, model, loss, data, device, **changes), curves, state)
    return model.state_dict(), best.metrics(), curves.rows


def assert_same(one, other):
    assert all(torch.equal(one[0][name], other[0][name]) for name in one[0])
    assert one[1:] == other[1:]


TRAININGS = [
    {},
    {"ghm": True, "mixed": True},
    {"scales": (0.5, 0.75, 1.0), "swa": 2},
    {"ema": 0.9, "optimizer": "adamw", "weight_decay": 0.1},
    {"swa": 2, "swa_lr": 0.005, "schedule": "cosine"},
    {"optimizer": "ranger", "accumulate": 3, "batch_size": 4},
    {"dropout": 0.5, "clip": 0.1, "schedule": "step"},
    {"freeze": 2, "head_lr_mult": 2.0},
    {"live": True, "mixed": True},
    {"arch": "mnasnet0_5", "ema": 0.9},  # it reads the version of its layout, which a saved state lacks
]


def name_changes(changes):
    return ",".join(f"{key}={value}" for key, value in changes.items()) or "plain"


@pytest.mark.parametrize("changes", TRAININGS, ids=name_changes)
@pytest.mark.slow
def test_a_killed_training_resumes_to_the_same_bits(pack, tmp_path, capsys, changes):
    quiet = train(pack, State(), NoCurves(), **changes)
    for last in (1, 2):
        if last < len(quiet[2]):
            with pytest.raises(Killed):
                train(pack, Saved(tmp_path), KilledAfter(last), **changes)
    assert_same(train(pack, Saved(tmp_path), NoCurves(), **changes), quiet)
    begun = f"{min(2, len(quiet[2]) - 1)} and {6 if 'accumulate' in changes else 3} batches of the next"
    assert f"resuming from epoch {begun}, saved in {tmp_path}" in capsys.readouterr().out


class Flat(Validation):
    """Never finds a better epoch than the first."""

    def measure(self, model, before_batch=lambda: None):
        super().measure(model, before_batch)
        return 0.5, 1.0


@pytest.mark.slow
def test_a_training_that_patience_shortens_resumes_to_the_same_bits(pack, tmp_path, monkeypatch):
    """Patience 2 strikes after epoch 3 of 9, so 5 is the last; killed while it writes any row."""
    monkeypatch.setattr("conftest.Validation", Flat)
    changes = {"patience": 2, "epochs": 9, "schedule": "cosine"}
    quiet = train(pack, State(), NoCurves(), **changes)
    assert len(quiet[2]) == 5
    for last in range(5):
        with pytest.raises(Killed):
            train(pack, Saved(tmp_path), KilledAfter(last), **changes)
    assert_same(train(pack, Saved(tmp_path), NoCurves(), **changes), quiet)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "ranger", "ema": 0.9},
        {"accumulate": 3, "batch_size": 2},
        {"scales": (0.5, 0.75, 1.0), "mixed": True},
    ],
)
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.slow
def test_a_signal_stops_after_the_step_and_keeps_its_work(pack, tmp_path, capsys, signum, changes):
    quiet, seen = train(pack, State(), NoCurves(), **changes), []

    def in_the_fifth_batch(batch, generator):
        seen.append(batch)
        if len(seen) == 5:
            os.kill(os.getpid(), signum)
        return batch

    with pytest.raises(Stopped) as stopped:
        train(pack, Saved(tmp_path), NoCurves(), transforms=[in_the_fifth_batch], **changes)
    assert stopped.value.signum == signum and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert len(seen) == (6 if changes.get("accumulate") else 5)
    resumed = train(
        pack, Saved(tmp_path), NoCurves(), transforms=[lambda b, _: seen.append(b) or b], **changes
    )
    assert_same(resumed, quiet)
    epochs, batches = (4, 15 // 3 * 3) if changes.get("accumulate") else (4, 3)
    assert len(seen) == epochs * batches  # none is seen twice
    begun = "epoch 0 and 6 batches" if changes.get("accumulate") else "epoch 1 and 2 batches"
    assert f"resuming from {begun} of the next, saved in {tmp_path}" in capsys.readouterr().out


@pytest.mark.parametrize("every, changes", [(1, {}), (50, {}), (1, {"accumulate": 3, "batch_size": 2})])
def test_a_loss_that_is_not_finite_reaches_neither_the_weights_nor_a_state(
    pack, tmp_path, monkeypatch, every, changes
):
    """Infinite pixels in the first batch of a step and a signal in its last one; 50 steps as on a GPU."""
    monkeypatch.setitem(src.training.fit.EVERY, "cpu", every)
    accumulate, seen, network = (
        changes.get("accumulate", 1),
        [],
        build_model("timm/test_resnet", 3, "student"),
    )
    first, before = 3 * accumulate + 1, {}

    def break_down(batch, _):
        seen.append(batch)
        if len(seen) == first:
            before.update({name: value.detach().clone() for name, value in network.named_parameters()})
            batch = batch._replace(images=batch.images * float("inf"))
        if len(seen) == first + accumulate - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return batch

    data = make_training_set(pack, transforms=[break_down], batch_size=changes.get("batch_size", 8))
    with pytest.raises(UserError) as stopped:
        fit(make_job(pack, network, data=data, **changes), NoCurves(), Saved(tmp_path))
    epoch, batch = (1, 10) if accumulate > 1 else (2, 1)
    assert str(stopped.value) == (
        f"params.yaml: student.lr: the loss became nan in batch {batch} of epoch {epoch} "
        "(try a lower lr or a longer warmup)"
    )
    assert len(seen) == first + accumulate - 1
    if every == 1:
        assert all(torch.equal(value, before[name]) for name, value in network.named_parameters())
    state = Saved(tmp_path)
    state.track(model=build_model("timm/test_resnet", 3, "student"))
    assert (state.restore() is None) == (epoch == 1)
    assert all(value.isfinite().all() for value in state.parts["model"].parameters())


def test_the_second_ctrl_c_stops_at_once_and_a_third_is_ignored(pack):
    seen, handler = [], signal.getsignal(signal.SIGINT)

    def interrupt(batch, _):
        seen.append(batch)
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
        raise AssertionError("still running")

    try:
        with pytest.raises(KeyboardInterrupt):
            data = make_training_set(pack, workers=2, transforms=[interrupt])
            fit(make_job(pack, data=data), NoCurves(), State())
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert len(seen) == 1 and not psutil.wait_procs(psutil.Process().children(), timeout=5)[1]


class Deadly:
    """The usual augmentation; the process that does enough pictures is killed, as by a lack of memory."""

    def __init__(self, augment, last):
        self.augment, self.done, self.last = augment, 0, last

    def start(self, pictures, seed, epoch, numbers):
        self.done += len(numbers)
        if self.done >= self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.augment.start(pictures, seed, epoch, numbers)

    def finish(self, parts):
        return self.augment.finish(parts)


@pytest.mark.parametrize(
    "calls, begun",
    [(41, "epoch 1(,| and [12] batches)"), pytest.param(1, "epoch 0,", marks=pytest.mark.slow)],
)
@pytest.mark.slow
def test_if_a_worker_dies_the_state_is_saved(pack, tmp_path, capsys, monkeypatch, calls, begun):
    """In the first batch of 8, or in the second epoch's third; an epoch has 24 pictures."""
    monkeypatch.setattr("src.training.state.COST", 1e-9)  # otherwise saved only at the end of an epoch
    quiet, data = train(pack, State(), NoCurves()), make_training_set(pack, workers=1)
    torch.manual_seed(0)
    job = make_job(pack, data=dataclasses.replace(data, augment=Deadly(data.augment, calls)))
    with pytest.raises(UserError, match="^params.yaml: workers: a process that augments pictures died"):
        fit(job, NoCurves(), Saved(tmp_path))
    assert_same(train(pack, Saved(tmp_path), NoCurves()), quiet)
    assert re.search(f"resuming from {begun}", capsys.readouterr().out)


class Slow(Validation):
    """A validation in which a signal arrives before batch `batch` of measurement `number`, both from 1."""

    number, batch = 1, 2

    def measure(self, model, before_batch=lambda: None):
        calls = []

        def check():
            calls.append(len(calls) + 1)
            if calls == [*range(1, Slow.batch + 1)] and Slow.number == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            before_batch()

        found = super().measure(model, check)
        Slow.number -= 1
        return found


@pytest.mark.parametrize(
    "number, changes",
    [
        (1, {}),
        (1, {"ema": 0.9, "optimizer": "ranger"}),
        (3, {"swa": 2, "dropout": 0.5}),
        (4, {"swa": 2, "optimizer": "ranger", "accumulate": 3, "batch_size": 2}),
    ],
)
@pytest.mark.slow
def test_a_signal_during_validation_loses_nothing(pack, tmp_path, monkeypatch, capsys, number, changes):
    """Not even in the first epoch, and no batch is trained again."""
    quiet, seen = train(pack, State(), NoCurves(), **changes), []
    monkeypatch.setattr(Saved, "save_if_cheap", lambda _: None)  # only the signal saves
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr("conftest.Validation", Slow)
        Slow.number = number
        train(pack, Saved(tmp_path), NoCurves(), transforms=[lambda b, _: seen.append(b) or b], **changes)
    resumed = train(
        pack, Saved(tmp_path), NoCurves(), transforms=[lambda b, _: seen.append(b) or b], **changes
    )
    assert_same(resumed, quiet)
    assert len(seen) == 4 * (15 if "accumulate" in changes else 3)
    assert f"resuming from epoch {number - 1} and" in capsys.readouterr().out


@pytest.mark.slow
def test_a_signal_while_batch_norm_is_recomputed_loses_nothing(pack, tmp_path, monkeypatch):
    """SWA passes over all training pictures once more; the signal arrives before its second batch."""
    changes = {"swa": 2, "dropout": 0.5}
    quiet, read = train(pack, State(), NoCurves(), **changes), src.training.fit.read_images

    def interrupted(*arguments):
        for number, images in enumerate(read(*arguments)):
            if number == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            yield images

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr("src.training.fit.read_images", interrupted)
        train(pack, Saved(tmp_path), NoCurves(), **changes)
    assert_same(train(pack, Saved(tmp_path), NoCurves(), **changes), quiet)


@pytest.mark.parametrize("name", EACH_OPTIMIZER)
def test_every_optimizer_resumes_to_the_same_bits(name, tmp_path):
    """7 steps in one go equal 4 steps, save, load and 3 more."""
    from src.training.optim import build_optimizer

    def take_steps(count, model, optimizer):
        for number in range(count):
            torch.manual_seed(number)
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(model(torch.rand(4, 5)), torch.zeros(4, 3)).backward()
            optimizer.step()

    def build():
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(5, 3))
        chosen = make_settings(optimizer=name, lr=1e-3, weight_decay=0.01)
        return model, build_optimizer(wrap_network(model), chosen)

    quiet = build()
    take_steps(4, *quiet)
    take_steps(3, *quiet)
    state = Saved(tmp_path)
    first = build()
    take_steps(4, *first)
    state.track(model=first[0], optimizer=first[1])
    state.save()
    second = build()
    state.track(model=second[0], optimizer=second[1])
    assert state.restore() == tmp_path
    take_steps(3, *second)
    assert torch.equal(quiet[0][0].weight, second[0][0].weight)


def save_twice(folder):
    state, weights = Saved(folder), torch.nn.Linear(1000, 3)
    state.track(weights=weights)
    for value in (1.0, 2.0):
        torch.nn.init.constant_(weights.weight, value)
        state.save()
    return state, weights


@pytest.mark.parametrize("harm", ["bit", "cut", "empty", "text", "gone"])
def test_a_damaged_state_falls_back_to_the_previous_one(tmp_path, capsys, harm):
    state, weights = save_twice(tmp_path)
    newest = tmp_path / NEWEST
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    harmed = {"bit": content, "cut": content[: len(content) // 2], "empty": b"", "text": b"hi", "gone": None}[
        harm
    ]
    newest.unlink() if harmed is None else newest.write_bytes(harmed)
    assert state.restore() == tmp_path and weights.weight[0, 0].item() == 1.0
    warning = capsys.readouterr().out
    assert (f"warning: {newest}: damaged, {len(harmed or b'')} bytes: " in warning) == (harm != "gone")
    (tmp_path / BEFORE).write_bytes(b"")
    assert state.restore() is None or harm == "gone"


def test_a_state_that_runs_code_is_refused(tmp_path):
    """A file with a valid checksum, made by somebody else."""

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/PWNED",)

    write_file(tmp_path, {"places": "[]", "state": Evil()}, torch.zeros(8, dtype=torch.uint8))
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        parse(*read_file(tmp_path / NEWEST))
    assert not (tmp_path / "PWNED").exists()


def test_every_type_of_state_survives_a_round_trip(tmp_path):
    state = {
        "floats": torch.rand(3, 4, 5, 6).to(memory_format=torch.channels_last),
        "parts": [
            torch.arange(3),
            torch.tensor(True),
            torch.zeros(0),
            torch.rand(4, 3).T,
            torch.ones(1).expand(5),
        ],
        "half": torch.rand(3).bfloat16(),
        7: {"betas": (0.9, 0.999), "none": None, "text": "caf\u00e9", "inf": float("inf"), "big": 2**70},
    }
    writer = SnapshotWriter(tmp_path)
    for _ in range(4):  # overwrites older files too
        writer.write(state)
    found = parse(*read_file(tmp_path / NEWEST))
    assert found.keys() == state.keys() and found[7] == state[7]
    for one, other in zip([found["floats"], found["half"], *found["parts"]],
                          [state["floats"], state["half"], *state["parts"]], strict=True):  # fmt: skip
        assert one.dtype == other.dtype and torch.equal(one, other)
    assert found["floats"].stride() == state["floats"].stride()
    writer.write({"short": torch.ones(1)})
    assert parse(*read_file(tmp_path / NEWEST)) == {"short": torch.ones(1)}
    assert parse(*read_file(tmp_path / BEFORE)).keys() == state.keys()


def test_a_state_is_in_memory_once_when_it_is_read(tmp_path):
    """The tensors are views of the bytes that were read; before, there were two further copies."""
    save_twice(tmp_path)
    layout, buffer = read_file(tmp_path / NEWEST)
    weight = parse(layout, buffer)["weights"]["weight"]
    assert weight.untyped_storage().data_ptr() == buffer.untyped_storage().data_ptr()
    assert weight.data_ptr() % 64 == 0 and weight[0, 0] == 2.0


def test_a_header_of_another_size_takes_no_memory(tmp_path):
    """A damaged length of 2^60 bytes is noticed before anything is allocated."""
    save_twice(tmp_path)
    content = bytearray((tmp_path / NEWEST).read_bytes())
    content[16:24] = (2**60).to_bytes(8, "little")
    (tmp_path / NEWEST).write_bytes(content)
    with pytest.raises(ValueError, match=r"^11529215\d+ bytes were written"):
        read_file(tmp_path / NEWEST)


def test_a_full_disk_keeps_the_previous_state(tmp_path, monkeypatch):
    state, weights = save_twice(tmp_path)

    def raise_full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", raise_full)
    with pytest.raises(OSError, match="No space left") as error:
        state.save()
    assert error.value.filename == str(tmp_path / SPARE)
    monkeypatch.undo()
    torch.nn.init.zeros_(weights.weight)
    assert state.restore() and weights.weight[0, 0].item() == 2.0


@pytest.fixture
def run_folder(place, monkeypatch):
    """Small versions of the files in train_student's fingerprint."""
    monkeypatch.setattr("src.training.resume.SCRATCH", place / ".scratch")
    (place / "dvc.yaml").write_text(
        "stages:\n  train_student:\n    deps: [a.csv, pack.npy, folder]\n"
        "    params: [student, seed, libraries.yaml: [torch, pillow]]\n"
    )
    (place / "a.csv").write_text("1")
    (place / "folder").mkdir()
    (place / "folder/b.csv").write_text("2")
    np.save(place / "pack.npy", np.zeros((4, 2, 2, 3), np.uint8))
    return place


def test_inputs_are_those_listed_in_dvc_yaml(run_folder):
    inputs = collect_inputs("train_student", "")
    assert {
        "seed",
        "student.lr",
        "student.class_weights",
        "a.csv",
        "pack.npy",
        "folder/b.csv",
        "torch",
        "pillow",
    } <= set(inputs)
    assert not {"loss", "numpy", "teacher.big.lr", "threads"} & set(inputs)
    before = hash_file(run_folder / "pack.npy")
    np.save(run_folder / "pack.npy", np.full((4, 2, 2, 3), 1, np.uint8))
    assert hash_file(run_folder / "pack.npy") != before
    (run_folder / "w.safetensors").write_text("weights")
    edit_params(run_folder, student__pretrained="w.safetensors")
    assert "w.safetensors" in collect_inputs("train_student", "")


def test_flatten_names_every_leaf():
    assert dict(flatten({"b": {"c": 1, "d": [2]}}, "a")) == {"a.b.c": 1, "a.b.d": [2]}


def test_a_changed_input_restarts_training_and_is_reported(run_folder, capsys):
    with pytest.raises(Killed), open_state("train_student", "", CPU) as state:
        state.track(weights=torch.nn.Linear(1, 1))
        state.save()
        raise Killed
    with pytest.raises(Killed), open_state("train_student", "", CPU) as again:
        assert (again.folder / NEWEST).exists() and again.folder == state.folder
        raise Killed
    assert capsys.readouterr().out == ""
    edit_params(run_folder, student__lr=0.5)
    (run_folder / "a.csv").write_text("3")
    with open_state("train_student", "", CPU) as other:
        assert other.folder != state.folder and not (other.folder / NEWEST).exists()
    changed = "a.csv, student.lr (0.003, now 0.5) changed since: starting from scratch"
    assert capsys.readouterr().out == f"{state.folder}: an unfinished run, but {changed}\n"
    assert not other.folder.exists() and state.folder.exists()  # a finished run is removed


LOCK_IT = "import sys, time; from pathlib import Path; from src.training.resume import hold_lock\n"
LOCK_IT += "with hold_lock(Path(sys.argv[1])): print('locked', flush=True); time.sleep(60)"


@pytest.mark.slow
def test_a_second_writer_is_refused_until_the_first_ends(tmp_path, monkeypatch):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", LOCK_IT, str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "locked\n"
        monkeypatch.setattr("src.training.resume.PATIENCE", 0.2)
        message = rf"^{tmp_path}: another training \(process {first.pid}\) is writing this run"
        with pytest.raises(UserError, match=message), hold_lock(tmp_path):
            pass
        first.kill()
    with hold_lock(tmp_path):
        assert tmp_path.with_suffix(".lock").read_text() == str(os.getpid())


def test_no_file_is_open_in_a_folder_that_is_removed(run_folder, monkeypatch):
    """Network disks keep an open file that is removed under another name, so its folder is not empty."""
    remove, opened = shutil.rmtree, []

    def check_and_remove(folder, **options):
        links = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
        opened.append([link for link in links if link.startswith(str(Path(folder).resolve()) + "/")])
        remove(folder, **options)

    monkeypatch.setattr(shutil, "rmtree", check_and_remove)
    with open_state("train_student", "", CPU) as state:
        state.track(weights=torch.nn.Linear(1, 1))
        state.save()
    assert opened == [[]]
    assert list(state.folder.parent.iterdir()) == []  # the lock is gone too


def test_a_folder_that_cannot_be_removed_ends_no_training(run_folder, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "rmtree", lambda folder, ignore_errors: None)
    with open_state("train_student", "", CPU) as state:
        pass
    assert capsys.readouterr().out == (
        f"warning: {state.folder}: cannot be removed completely (remove it by hand)\n"
    )


def test_a_lock_that_its_owner_removed_is_made_anew(tmp_path, monkeypatch):
    """Otherwise the next two processes could hold a lock each: on the removed file and on a new one."""
    folder, path = tmp_path / "run", tmp_path / "run.lock"
    flock = fcntl.flock

    def lose_the_file_once(file, how):
        monkeypatch.setattr(fcntl, "flock", flock)
        path.unlink()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", lose_the_file_once)
    with hold_lock(folder), pytest.raises(UserError, match="another training"):
        with hold_lock(folder, patience=0):
            pass
    assert not path.exists()


def test_a_disk_without_locks_is_a_warning(tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with hold_lock(tmp_path / "run"):
        pass
    assert "run.lock: no locks on this disk, No locks available: start this run only once" in (
        capsys.readouterr().out
    )


def test_a_run_on_a_disk_without_locks_is_not_removed_since_it_may_be_running(tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    (tmp_path / "run").mkdir()
    assert remove_runs(tmp_path, kept=0) == [] and (tmp_path / "run").exists()
    assert "start this run only once" not in capsys.readouterr().out


def test_runs_that_never_saved_push_no_resumable_run_out(tmp_path):
    for number, (name, files) in enumerate([("old", [NEWEST]), ("cut", [BEFORE]), ("a", []), ("b", [])]):
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).touch()
        os.utime(tmp_path / name, (number, number))
    assert [path.name for path in remove_runs(tmp_path, kept=3)] == ["a"]
    assert [path.name for path in remove_runs(tmp_path, kept=1)] == ["old", "b"]


def test_a_system_without_fcntl_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("src.training.resume.fcntl", None)
    with pytest.raises(UserError, match=r"run.lock: this system cannot lock files \(use Linux"):
        with hold_lock(tmp_path / "run"):
            pass


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[1]", None])
def test_a_broken_list_of_another_runs_inputs_ends_no_training(run_folder, content):
    with pytest.raises(Killed), open_state("train_student", "", CPU) as state:
        state.track(weights=torch.nn.Linear(1, 1))
        state.save()
        raise Killed
    inputs = state.folder / "inputs.json"
    inputs.unlink()
    inputs.mkdir() if content is None else inputs.write_bytes(content)
    edit_params(run_folder, student__lr=0.5)
    with open_state("train_student", "", CPU) as other:
        assert other.folder != state.folder


def test_older_unfinished_runs_are_removed_unless_they_run(run_folder, capsys):
    folders = []
    for number in range(7):
        edit_params(run_folder, student__lr=0.001 * (number + 1))
        with pytest.raises(Killed), open_state("train_student", "", CPU) as state:
            raise Killed
        folders.append(state.folder)
        os.utime(state.folder, (number, number))
        if number == 1:
            running = hold_lock(state.folder)
            running.__enter__()
    assert [folder.exists() for folder in folders] == [False, True, False, True, True, True, True]
    assert f"{folders[0]}: an older unfinished run, removed" in capsys.readouterr().out
    locks = sorted(path.stem for path in folders[0].parent.glob("*.lock"))
    assert locks == sorted(folder.name for folder in folders if folder.exists())
    (run_folder / ".scratch/evaluate").mkdir()
    tools.clean_runs.main()
    assert [folder.exists() for folder in folders] == [False, True] + 5 * [False]
    running.__exit__(None, None, None)
    tools.clean_runs.main()
    left = [path.name for path in (run_folder / ".scratch").rglob("*")]
    assert sorted(left) == ["evaluate", "train_student"]
