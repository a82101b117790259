"""Run by tests/test_distributed.py in one process and in several: python tests/workers.py CASE FILE."""

import os
import shutil
import signal
import sys
import time
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from conftest import LIGHT, NoCurves, make_job, make_training_set, wrap_network
from torch import nn

import src.training.state
from src.batches.augment import build_augment
from src.batches.data import TrainingSet
from src.batches.mixing import build_transforms
from src.ground.errors import Stopped, UserError, run
from src.ground.params import read, read_top
from src.losses.bases import BASES
from src.losses.loss import LABELS_ONLY, DistillSettings, build_loss
from src.losses.weightings import WeightedSettings, WeightingSettings
from src.machine.collectives import all_sum, is_main, rank, run_on_main, share_buffers
from src.machine.runtime import MachineSettings, start_machine
from src.networks.predict import predict_logits
from src.teaching.curriculum import CurriculumSettings, assign_weights, find_truth_probs
from src.teaching.knowledge import Knowledge
from src.teaching.targets import build_soft
from src.training.features import FOLDER, learn_from_features
from src.training.fit import fit
from src.training.job import Job
from src.training.listening import Listening, Teacher
from src.training.prepare import prepare
from src.training.settings import StudentSettings
from src.training.state import Saved, State
from src.training.step import train_epoch

LONGER = 6.0  # seconds, than the distributed.timeout of the test
CLASSES, STEPS, BATCH = 4, 20, 8
FROZEN = "classifier of a frozen network"
MIXED = replace(LIGHT, mixup=0.4, cutmix=1.0, multi_scale=0.2, train_scales=(0.75, 1.0), size_divisor=2)
RECIPES = (
    "bce", "ohm", "softmax+ohm", "softmax+ghm", "bce+ghm+ohm", "softmax, mixed",
    "softmax+weighted+threshold+ghm+ohm, taught", "bce+weighted+threshold+ghm+ohm, taught",
    "softmax+ghm, live",
)  # fmt: skip


def compute():
    """Results that must not depend on the number of processes, by name."""
    device = start_machine(replace(read_top(MachineSettings), device="cpu", threads=1), seed=0)
    found = {recipe: compute_weights(recipe, device) for recipe in RECIPES}
    pictures = np.random.default_rng(0).integers(0, 256, (7, 16, 16, 3), dtype=np.uint8)
    torch.manual_seed(0)
    found["7 rows in batches of 2"] = predict_logits(build_network(), pictures, 2, device)
    found["7 rows in one batch"] = predict_logits(build_network(), pictures, 256, device)
    shared = nn.BatchNorm2d(3)
    shared.running_mean.fill_(rank())
    share_buffers(shared)
    found["shared buffers"] = shared.running_mean
    return found | compute_features()


def compute_features():
    """Features as they are computed and as they are found again, and a classifier trained on them."""
    run_on_main(lambda: shutil.rmtree(FOLDER, ignore_errors=True))
    torch.manual_seed(0)
    job = make_job(draw_pack(), data=make_training_set(draw_pack(), views=2), freeze="backbone")
    both = {name: torch.from_numpy(learn_from_features(job).data.features) for name in ("computed", "found")}
    fit(job, NoCurves(), State())
    return both | {FROZEN: job.network.net.fc.weight.detach()}


def draw_pack():
    """30 pictures of three colours, (30, 32, 32, 3), and their one-hot targets."""
    generator, labels = np.random.default_rng(0), np.arange(30) % 3
    pixels = np.eye(3)[labels][:, None, None] * 120 + generator.integers(0, 100, (30, 32, 32, 3))
    return pixels.astype(np.uint8), np.eye(3, dtype=np.float32)[labels]


def compute_weights(recipe, device):
    """All weights of a small network without BatchNorm after STEPS steps, flattened, and the losses.

    After the recipe: mixed with mixup, cutmix and multi-scale; taught also with distillation and curriculum;
    live with a teacher that looks at the mixed batches.
    """
    recipe, _, how = recipe.partition(", ")
    generator = np.random.default_rng(1)
    pictures, labels = STEPS * BATCH, np.arange(STEPS * BATCH) % CLASSES
    images = generator.integers(0, 256, (pictures, 16, 16, 3), dtype=np.uint8)
    targets, weights = np.eye(CLASSES, dtype=np.float32)[labels], generator.uniform(0, 2, pictures)
    soft, distill = [targets], LABELS_ONLY
    if how == "taught":
        guesses = generator.dirichlet(np.ones(CLASSES) / 3, pictures)
        teacher = Knowledge("softmax", 0.5 * targets + 0.5 * guesses)
        curriculum = CurriculumSettings((0.9, 0.6, 0.0), (1.0, 0.7, 0.0), "teacher", 0)
        weights = assign_weights(find_truth_probs([teacher], labels), curriculum)
        assert set(weights) == {1.0, 0.7, 0.0}
        soft, distill = (
            build_soft([teacher], recipe.partition("+")[0]),
            DistillSettings(0.7, 2, 0.0, "kl", "plain"),
        )
    listen = []
    if how == "live":
        torch.manual_seed(1)
        teacher = Teacher(build_student().eval(), BASES["softmax"])
        listen, distill = (
            [Listening([teacher], BASES["softmax"], read=0)],
            DistillSettings(0.7, 2, 0.0, "kl", "live"),
        )
    data = TrainingSet(
        pictures=images, targets=targets, soft=soft, weights=weights, rows=np.arange(pictures),
        augment=build_augment(LIGHT, 16, 16), batch_size=BATCH, seed=3, view_seed=3, workers=0,
        transforms=partial(build_transforms, MIXED if how else LIGHT, 2), listen=listen,
    )  # fmt: skip
    torch.manual_seed(0)
    model = build_student()
    costs = WeightedSettings({"a": {"b": 5.0}})
    weightings = replace(read(WeightingSettings, "weighting"), weighted=costs)
    loss = build_loss(recipe, weightings, 0, "abcd", "weighting", distill)
    values = {"batch_size": BATCH, "optimizer": "sgd", "lr": 0.1, "arch": "resnet18"}
    job = Job(
        network=wrap_network(model), loss=loss, data=data, validation=None, classes=tuple("abcd"),
        settings=replace(read(StudentSettings, "student"), **values), device=device, key="student",
        manifests="", fit="letterbox",
    )  # fmt: skip
    training = prepare(job)
    losses = train_epoch(training, data.epoch(1), (3, 1), data.transforms(1))
    assert len(losses) == STEPS
    return torch.cat([p.detach().flatten() for p in chain(model.parameters(), loss.buffers())] + [losses])


def build_student():
    """A network without BatchNorm, for pictures of any size."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, CLASSES)
    )


def build_network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 14 * 14, 3))


def work_until_the_end(file):
    """Synchronise forever; FILE gets the process ids, so that the test can signal one of them."""
    start_machine(replace(read_top(MachineSettings), device="cpu", threads=1), seed=0)
    file.with_suffix(f".{rank()}").write_text(str(os.getpid()))
    while True:
        all_sum(torch.ones(1))
        time.sleep(0.01)


def raise_in_the_second(file):
    start_machine(replace(read_top(MachineSettings), device="cpu", threads=1), seed=0)
    if rank() == 1:
        raise UserError("pictures/1.png: gone (bring it back)") if file.name == "user" else KeyError("bug")
    all_sum(torch.ones(1))


def save_and_read_slowly(file):
    """The first process takes longer than distributed.timeout to save, to read and to dump."""
    start_machine(replace(read_top(MachineSettings), device="cpu", threads=1), seed=0)
    saved, weights = Saved(file.parent), nn.Linear(1, 1)
    saved.track(weights=weights)
    write, newest = saved.writer.write, src.training.state.read_newest
    saved.writer.write = lambda state: (time.sleep(LONGER), write(state))
    src.training.state.read_newest = lambda folder: (time.sleep(LONGER), newest(folder))[1]
    nn.init.constant_(weights.weight, 5 if is_main() else 6)
    saved.save()
    nn.init.zeros_(weights.weight)
    saved.restore()
    assert run_on_main(lambda: (time.sleep(LONGER), 7)[1]) == (7 if is_main() else None)
    file.with_suffix(f".{rank()}").write_text(f"{weights.weight.item():g}")


def hang_while_others_wait(file):
    """The first process is stopped by the test while it works alone."""
    start_machine(replace(read_top(MachineSettings), device="cpu", threads=1), seed=0)
    file.with_suffix(f".{rank()}").write_text(str(os.getpid()))
    run_on_main(lambda: time.sleep(1000))


def stop_and_resume():
    """Weights and curves of a training, and of one that is stopped in its second epoch and resumed."""
    start_machine(replace(read_top(MachineSettings), device="cpu", threads=1), seed=0)
    pack = draw_pack()

    def train(state, stop=False):
        torch.manual_seed(0)
        seen, curves = [], NoCurves()

        def stop_in_the_fifth_batch(batch, _):
            seen.append(batch)
            if stop and len(seen) == 5:
                os.kill(os.getpid(), signal.SIGTERM)
            return batch

        data = make_training_set(pack, transforms=[stop_in_the_fifth_batch])
        job = make_job(pack, data=data)
        fit(job, curves, state)
        rows = torch.tensor([[row.train_loss, row.val_loss, row.val_accuracy] for row in curves.rows])
        return torch.cat([tensor.flatten().double() for tensor in job.network.state_dict().values()]), rows

    quiet, folder = train(State()), Path("state")
    folder.mkdir(exist_ok=True)
    try:
        train(Saved(folder), stop=True)
    except Stopped:
        resumed = train(Saved(folder))
    return {"quiet": quiet[0], "quiet rows": quiet[1], "resumed": resumed[0], "resumed rows": resumed[1]}


def become_infinite(file):
    """A training whose second process meets infinite pixels in the fifth batch, its second epoch's second."""
    start_machine(replace(read_top(MachineSettings), device="cpu", threads=1), seed=0)
    seen = []

    def break_down(batch, _):
        seen.append(batch)
        broken = rank() == 1 and len(seen) == 5
        return batch._replace(images=batch.images * float("inf")) if broken else batch

    pack = draw_pack()
    try:
        fit(make_job(pack, data=make_training_set(pack, transforms=[break_down])), NoCurves(), State())
    except UserError as error:
        file.with_suffix(f".{rank()}").write_text(f"{len(seen)} {error}")
        raise


def main():
    case, file = sys.argv[1], Path(sys.argv[2])
    if case in ("compute", "stop_and_resume"):
        found = globals()[case]()
        if is_main():
            torch.save(found, file)
    else:
        globals()[case](file)


if __name__ == "__main__":
    run(main)
