"""Data, schedules, optimizers and the training loop: by hand, against torch, and on small trainings."""

import copy
import dataclasses
import hashlib
import os
import pickle
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from conftest import (
    CPU,
    EACH_OPTIMIZER,
    LIGHT,
    ROOT,
    NoCurves,
    make_job,
    make_settings,
    make_training_set,
    read_shipped,
    wrap_network,
)
from PIL import Image
from timm.optim import create_optimizer_v2, param_groups_weight_decay

from src.batches.augment import POLICIES, OneByOne, augment_each, build_augment
from src.batches.batch import Batch, scale_to_unit
from src.batches.loader import Views
from src.batches.mixing import build_transforms
from src.ground.errors import UserError
from src.ground.files import write_json
from src.ground.names import OPTIMIZERS, list_optimizers
from src.ground.rules import Learner, find_learner_conflicts
from src.losses.bases import BASES
from src.losses.loss import Loss
from src.machine.runtime import MachineSettings, has_bfloat16
from src.networks.checkpoint import load_model, save_weights
from src.networks.libraries import build_model
from src.networks.predict import predict_logits
from src.pictures.manifest import CLASSES, manifest_path, pack_path, read_manifest
from src.pictures.reading import read_pictures
from src.training.averaging import build_average, read_images
from src.training.fit import fit
from src.training.optim import build_optimizer, split_decay
from src.training.precision import choose_precision
from src.training.prepare import check_processes, penalize_gammas, prepare
from src.training.schedules import build_schedule, onecycle_factor, step_boundaries
from src.training.state import State
from src.training.step import Training, train_epoch
from src.training.validation import Best, Validation

NONE = dataclasses.replace(LIGHT, policy="none")
EXEMPTING = (  # with and without names that are not decayed
    "test_vit test_vit3 test_convnext test_mambaout test_resnet deit_tiny_distilled_patch16_224 levit_128s "
    "swin_tiny_patch4_window7_224 beit_base_patch16_224 xcit_nano_12_p16_224 coat_lite_tiny "
    "eva02_tiny_patch14_224"
).split()


def train(pack, workers=0, data=None, **changes):
    torch.manual_seed(0)
    chosen = {"batch_size": changes["batch_size"]} if "batch_size" in changes else {}
    training = make_job(
        pack, data=make_training_set(pack, workers=workers, **chosen | (data or {})), **changes
    )
    curves = NoCurves()
    best = fit(training, curves, State())
    return training.network, best, curves.rows


# schedules


@pytest.mark.parametrize(
    "epochs, warmup, expected",
    [
        (20, 2, [0.1] * 2 + [1] * 6 + [0.1] * 5 + [0.01] * 4 + [0.001] * 3),
        (85, 5, [0.1] * 5 + [1] * 30 + [0.1] * 20 + [0.01] * 20 + [0.001] * 10),
    ],
)
def test_step_schedule_by_hand(epochs, warmup, expected):
    """Boundaries by hand: 2 + 6, 2 + 11, 2 + 15 and 5 + 30, 5 + 50, 5 + 70."""
    factor = build_schedule(make_settings(schedule="step", epochs=epochs, warmup=warmup, warmup_factor=0.1))
    assert [factor(epoch) for epoch in range(epochs)] == expected
    assert [factor(epoch + 0.99) for epoch in range(epochs)] == expected


def test_step_schedule_takes_other_ratios_and_epochs():
    changes = {"warmup_factor": 0.5, "step_factors": (1, 0.2), "step_epochs": (4,)}
    factor = build_schedule(make_settings(schedule="step", epochs=6, warmup=1, **changes))
    assert [factor(epoch) for epoch in range(6)] == [0.5, 1, 1, 1, 0.2, 0.2]
    assert step_boundaries(20, 2) == (8, 13, 17)


def test_onecycle_matches_torch():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    steps, epochs, warmup = 10, 8, 3
    total = steps * epochs + 1
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=total, pct_start=(warmup * steps + 1) / total, cycle_momentum=False
    )
    for step in range(steps * epochs):
        assert onecycle_factor(step / steps, epochs, warmup) == pytest.approx(
            reference.get_last_lr()[0], abs=1e-9
        )
        optimizer.step()
        reference.step()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"warmup": 4}, "warmup must be below epochs, got 4 and 4"),
        ({"step_epochs": (3, 2)}, "step_epochs must be increasing"),
        ({"step_epochs": (50,), "step_factors": (1, 0.1)}, "step_epochs must be below epochs, got 50 and 4"),
        (
            {"pretrained_sha256": "0" * 64},
            "pretrained_sha256 must be any if pretrained is none, got 0000",
        ),
        ({"ema": 0.9, "swa": 2}, "ema and swa: one of them must be 0, got 0.9 and 2"),
        ({"swa": 4}, "swa must be below epochs, got 4 and 4"),
        ({"swa": 3, "warmup": 2}, "swa must be at most epochs - warmup, 2, to average no warm-up, got 3"),
        ({"freeze": 2, "swa": 1}, "swa recomputes every BatchNorm, so freeze must be none or backbone"),
        ({"swa_lr": 0.1}, "swa_lr must be 0 if swa is 0, got 0.1"),
        ({"patience": 2, "swa": 1}, "patience and swa: one of them must be 0, got 2 and 1"),
        (
            {"schedule": "step", "step_factors": (1, 0.1)},
            "step_factors must be one more than step_epochs, got 2 factors",
        ),
    ],
)
def test_invalid_settings_are_refused(changes, message):
    learner = Learner("student", dataclasses.asdict(make_settings()) | changes, {}, "weighting")
    assert next(find_learner_conflicts(learner)).startswith(f"student: {message}")


# augmentation and batches


def test_augmentation_depends_only_on_seed_epoch_and_picture(pack):
    images = pack[0][:4]
    augment = build_augment(LIGHT, 32, 32)
    whole = augment_each(images, augment, 1, 5, [0, 1, 2, 3])
    torch.rand(3)
    assert torch.equal(augment_each(images[[2, 0]], augment, 1, 5, [2, 0]), whole[[2, 0]])
    assert not torch.equal(augment_each(images, augment, 1, 6, [0, 1, 2, 3]), whole)
    assert not torch.equal(augment_each(images, augment, 2, 5, [0, 1, 2, 3]), whole)
    assert whole.dtype == torch.uint8 and whole.shape == (4, 3, 32, 32)


def test_augmentation_does_not_change_the_global_generator(pack):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    augment_each(pack[0][:2], build_augment(LIGHT, 32, 32), 1, 1, [0, 1])
    assert torch.equal(torch.rand(1), expected)


def test_policy_none_changes_nothing(pack):
    same = augment_each(pack[0], build_augment(NONE, 32, 32), 1, 1, list(range(30)))
    assert np.array_equal(same.permute(0, 2, 3, 1).numpy(), pack[0])


def test_an_epoch_has_each_picture_at_most_once_and_drops_the_last_batch(pack):
    images, targets = pack
    numbered = make_training_set((images, np.eye(30, dtype=np.float32)), NONE, weights=np.arange(30))
    batches = list(numbered.epoch(1))
    assert [len(batch.images) for batch in batches] == [8, 8, 8]
    numbers = torch.cat([batch.weights for batch in batches]).int().tolist()
    assert len(set(numbers)) == 24
    assert numbers == torch.cat([batch.targets.argmax(1) for batch in batches]).tolist()
    for number, image in zip(numbers, torch.cat([batch.images for batch in batches]), strict=True):
        assert np.array_equal(image.permute(1, 2, 0).numpy(), images[number])
    again = torch.cat([batch.weights for batch in numbered.epoch(1)]).int().tolist()
    other = torch.cat([batch.weights for batch in numbered.epoch(2)]).int().tolist()
    assert numbers == again and numbers != other


def test_workers_do_not_change_batches(pack):
    alone, helped = (list(make_training_set(pack, workers=workers).epoch(3)) for workers in (0, 2))
    for one, other in zip(alone, helped, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_batch_on_the_device_is_float_in_0_to_1():
    batch = Batch(
        torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1),
        torch.ones(1, 2),
        torch.ones(1, 2),
        torch.ones(1),
    )
    assert batch.to(CPU).images.flatten().tolist() == pytest.approx([0, 0.2, 1])


# the optimizer's groups


def test_biases_and_norms_are_not_decayed():
    chosen = make_settings(optimizer="adamw", weight_decay=0.05)
    groups = build_optimizer(build_model("timm/test_resnet", 3, "x"), chosen).param_groups
    decay = {group["weight_decay"]: {parameter.ndim for parameter in group["params"]} for group in groups}
    assert decay == {0.0: {1}, 0.05: {2, 4}}


@pytest.mark.parametrize("arch", EXEMPTING)
def test_what_timm_decays_is_decayed(arch):
    """timm's create_optimizer_v2 on the bare network is the reference."""
    with torch.device("meta"):
        network = build_model(f"timm/{arch}", 3, "x")
    for ours, theirs in ((1.0, None), (0.75, 0.75)):
        reference = create_optimizer_v2(network.net, "adamw", weight_decay=0.05, layer_decay=theirs)
        assert name_decayed(network, layer_decay=ours) == name_decayed(network, reference)


@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_the_groups_are_timms(decay):
    """In the same order, without what is frozen: param_groups_weight_decay is the reference."""
    net, exempt = build_model("timm/test_vit", 3, "x").net, ["pos_embed", "blocks.*.mlp.fc1.weight"]
    net.cls_token.requires_grad = False
    ours = split_decay(net, decay, exempt)
    theirs = param_groups_weight_decay(net, decay, no_weight_decay_list=exempt)
    assert [number_parameters(group) for group in ours] == [number_parameters(group) for group in theirs]
    assert len(ours) == (2 if decay else 1)


def number_parameters(group):
    """A group of an optimizer with its parameters by identity."""
    return group | {"params": [id(parameter) for parameter in group["params"]]}


@pytest.mark.parametrize(
    "arch, spared",
    [("vit_b_32", ["class_token", "pos_embedding"]), ("swin_t", ["relative_position_bias_table"])],
)
def test_embeddings_of_torchvision_are_not_decayed(arch, spared):
    """Those of torchvision's references: class_token, position_embedding, relative_position_bias_table."""
    with torch.device("meta"):
        network = build_model(arch, 3, "x")
    several = {name for name, parameter in network.net.named_parameters() if parameter.ndim > 1}
    for layer_decay in (1.0, 0.75):
        rest = several - name_decayed(network, layer_decay=layer_decay)
        assert sorted({name.rpartition(".")[2] for name in rest}) == spared


def name_decayed(network, optimizer=None, **changes):
    """The names of the decayed parameters, in our optimizer with these settings or in another one."""
    chosen = make_settings(optimizer="adamw", weight_decay=0.05, **changes)
    groups = (optimizer or build_optimizer(network, chosen)).param_groups
    names = {id(parameter): name for name, parameter in network.net.named_parameters()}
    return {
        names[id(parameter)] for group in groups if group["weight_decay"] for parameter in group["params"]
    }


# the loop


def make_training(model, optimizer, loss, **changes):
    """A training without strategies."""
    return Training(model=model, loss=loss, optimizer=optimizer, device=CPU, **changes)


STEPS = """
import resource, torch
from src.batches.batch import Batch
from src.losses.bases import BASES
from src.losses.loss import Loss
from src.training.step import Training, train_epoch
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 10_000))
optimizer, loss = torch.optim.SGD(model.parameters(), 0.1), Loss(BASES["softmax"], [])
run = Training(model, loss, optimizer, torch.device("cpu"))
targets = torch.full((64, 10_000), 1e-4)
def draw(count):
    for _ in range(count):
        yield Batch(torch.rand(64, 3, 2, 2), targets, targets, torch.ones(64))
for count in (20, 100):
    train_epoch(run, draw(count), (1, count))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_a_step_leaves_no_memory_behind():
    """Logits of 64 x 10,000 take 2.6 MB; a loss that was kept between them cost as much at each step."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    output = subprocess.check_output([sys.executable, "-c", STEPS], env=environment, text=True)
    few, many = map(int, output.split())
    assert many - few < 40


def test_an_epoch_matches_plain_torch(pack):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 3))
    reference, data, loss = copy.deepcopy(model), make_training_set(pack), Loss(BASES["softmax"], [])
    steps = []
    run = make_training(
        model, torch.optim.SGD(model.parameters(), lr=0.1), loss, after_step=[lambda: steps.append(1)]
    )
    losses = train_epoch(run, data.epoch(1), (1, 1))
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.1)
    for batch, loss_seen in zip(data.epoch(1), losses, strict=True):
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(reference(scale_to_unit(batch.images)), batch.targets)
        value.backward()
        optimizer.step()
        assert loss_seen.item() == pytest.approx(value.item(), rel=1e-6)
    assert len(steps) == 3
    assert all(
        torch.allclose(a, b, atol=1e-6)
        for a, b in zip(model.parameters(), reference.parameters(), strict=True)
    )


@pytest.mark.parametrize("select", ["loss", "accuracy"])
def test_training_learns_and_keeps_the_best_epoch(pack, select):
    model, best, rows = train(pack, epochs=8, select=select)
    assert rows[-1].train_loss < rows[0].train_loss and best.accuracy > 0.8
    first, then = (lambda row: row.val_loss), (lambda row: -row.val_accuracy)
    if select == "accuracy":
        first, then = then, first
    assert best.epoch == min(rows, key=lambda row: (first(row), then(row))).epoch
    logits = predict_logits(model, pack[0], 8, CPU)
    assert (logits.argmax(1).numpy() == pack[1].argmax(1)).mean() == best.accuracy


class Broken:
    """Pictures of which one cannot be read any more."""

    shape = (30, 32, 32, 3)

    def __len__(self):
        return 30

    def __getitem__(self, rows):
        raise UserError("pictures/1.png: gone (run dvc repro)", "pictures/2.png: gone (run dvc repro)")


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_the_user_in_a_worker_stays_one_line_each(pack, workers):
    data = dataclasses.replace(make_training_set(pack, workers=workers), pictures=Broken())
    with pytest.raises(UserError) as caught:
        list(data.epoch(1))
    assert str(caught.value).splitlines() == [f"pictures/{n}.png: gone (run dvc repro)" for n in (1, 2)]


@pytest.mark.slow
def test_a_bug_in_a_worker_is_not_taken_for_its_death(pack):
    with pytest.raises(RuntimeError, match="Caught RuntimeError in DataLoader worker process 0"):
        list(dataclasses.replace(make_training_set(pack, workers=1), augment=OneByOne(break_down)).epoch(1))


def break_down(_):
    raise RuntimeError("a bug")


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_a_worker_is_sent_the_path_of_the_pack_and_no_targets(pack, place, policy):
    """As on macOS, on Windows and with Python 3.14, which do not fork."""
    pack_path("train").parent.mkdir(parents=True)
    np.save(pack_path("train"), np.tile(pack[0], (30, 1, 1, 1)))  # 2.8 MB
    data = dataclasses.replace(
        make_training_set(pack, augment=dataclasses.replace(LIGHT, policy=policy)),
        pictures=read_pictures("train", "letterbox", dct_scaling=False),
        targets=np.tile(pack[1], (1, 1000)),
    )
    views = Views(data.pictures, data.augment, data.seed)
    sent = pickle.dumps(views, protocol=5)
    assert len(sent) < 20_000
    (images,), (expected,) = pickle.loads(sent)[1, [3, 1]], views[1, [3, 1]]
    assert torch.equal(images, expected)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_that_are_not_forked_give_the_same_batches(pack, method):
    alone = list(make_training_set(pack).epoch(3))
    before = torch.multiprocessing.get_start_method()
    try:
        torch.multiprocessing.set_start_method(method, force=True)
        helped = list(make_training_set(pack, workers=1).epoch(3))
    finally:
        torch.multiprocessing.set_start_method(before, force=True)
    for one, other in zip(alone, helped, strict=True):
        assert all(torch.equal(part, same) for part, same in zip(one, other, strict=True))


def test_same_seed_gives_same_weights_with_any_workers(pack):
    one, other = (train(pack, epochs=2, workers=workers)[0].state_dict() for workers in (0, 2))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("select, expected", [("accuracy", (4, 0.6, 2.0)), ("loss", (7, 0.5, 0.1))])
def test_the_best_epoch_is_chosen_by_one_figure_and_ties_by_the_other(select, expected):
    best, model = Best(select), torch.nn.Linear(1, 1)
    for epoch, accuracy, loss in [
        (1, 0.5, float("nan")),
        (2, 0.5, 1.0),
        (3, 0.6, 3.0),
        (4, 0.6, 2.0),
        (5, 0.6, 2.5),
        (6, 0.4, 0.1),
        (7, 0.5, 0.1),
        (8, 0.6, float("nan")),
        (9, 0.5, 0.1),
    ]:
        best.offer(epoch, accuracy, loss, model)
    assert (best.epoch, best.accuracy, best.loss) == expected


@pytest.mark.parametrize("select", ["loss", "accuracy"])
def test_a_network_whose_loss_on_val_is_no_number_is_still_kept(select):
    best, model = Best(select), torch.nn.Linear(1, 1)
    best.offer(1, 0.5, float("nan"), model)
    assert best.epoch == 1 and best.state


def test_a_non_finite_loss_stops_the_run(pack):
    with pytest.raises(
        UserError, match=r"^params.yaml: student.lr: the loss became (nan|inf) in batch \d of epoch 1 "
    ):
        train(pack, lr=1e38, optimizer="sgd", warmup=0)


def test_a_batch_size_above_the_number_of_pictures_is_refused(pack):
    with pytest.raises(
        UserError, match=r"^params.yaml: student.batch_size: must be at most 30, the number of training"
    ):
        train(pack, batch_size=31)


def test_a_batch_that_processes_cannot_share_is_refused(monkeypatch):
    machine = dataclasses.replace(read_shipped(MachineSettings), device="cpu")
    check_processes(make_settings(batch_size=8), dataclasses.replace(machine, processes=4), "student")
    with pytest.raises(UserError, match="student.batch_size: must be a multiple of processes, 3, got 8"):
        check_processes(make_settings(batch_size=8), dataclasses.replace(machine, processes=3), "student")
    with pytest.raises(UserError, match="student.sync_batchnorm: true, but it runs on GPUs only"):
        check_processes(make_settings(sync_batchnorm=True), machine, "student")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    check_processes(
        make_settings(sync_batchnorm=True), dataclasses.replace(machine, device="cuda"), "student"
    )


def test_batch_norm_needs_two_pictures(pack):
    message = "student.batch_size: 1 for 1 processes, but the network has BatchNorm, which needs at least 2"
    with pytest.raises(UserError, match=message):
        train(pack, batch_size=1)
    train(pack, epochs=2, batch_size=1, arch="timm/test_convnext")


# weights files


def test_facts_name_the_manifests_as_they_were_read(place):
    """A manifest that is changed during a training must not lend its hash to the weights."""
    write_json(CLASSES, ["a"])
    manifest_path("train").write_text("path,class,hash\ntrain/a/1.png,a,0\n")
    manifest = read_manifest("train")
    assert manifest.sha256 == hashlib.sha256(b"path,class,hash\ntrain/a/1.png,a,0\n").hexdigest()
    assert manifest.paths == ["train/a/1.png"] and manifest.labels.tolist() == [0]


def test_weights_and_facts_survive_a_round_trip(pack, tmp_path, place):
    (place / "data/manifest").mkdir(parents=True)
    for split in ("train", "val"):
        (place / f"data/manifest/{split}.csv").write_text("path,class,hash\n")
    model = train(pack, epochs=2)[0]
    job = make_job(pack, network=model)
    trained = dataclasses.replace(job, classes=("a", "b,c", "\u732b"), fit="crop")
    facts = trained.facts({"lr": 0.1})
    assert (facts.height, facts.width, facts.base, facts.pretrained) == (32, 32, "softmax", "none")
    assert facts.fit == "crop"
    save_weights(tmp_path / "one.safetensors", model, facts)
    save_weights(tmp_path / "two.safetensors", model, facts)
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()
    loaded, found = load_model(tmp_path / "one.safetensors")
    assert found == facts and not loaded.training
    assert torch.equal(predict_logits(loaded, pack[0], 8, CPU), predict_logits(model, pack[0], 8, CPU))


@pytest.mark.parametrize("content", [b"", b"hi", b"\x08\0\0\0\0\0\0\0{}      "])
def test_files_that_are_not_weights_are_refused(tmp_path, content):
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(
        UserError, match=rf"^{tmp_path}/w.safetensors: (not a safetensors file|weights without)"
    ):
        load_model(tmp_path / "w.safetensors")


def test_a_missing_weights_file_is_reported(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        load_model(tmp_path / "none.safetensors")


# strategies of the loop


def test_accumulated_batches_match_one_large_batch(pack):
    """Plain bce is a mean over pictures: 3 batches of 8 make the same step as one of 24."""
    results = []
    for size, accumulate in ((24, 1), (8, 3)):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        run = make_training(model, optimizer, Loss(BASES["bce"], []), accumulate=accumulate)
        train_epoch(run, make_training_set(pack, batch_size=size).epoch(1), (1, 1))
        results.append(model[1].weight.detach())
    assert torch.allclose(*results, atol=1e-6)


def test_batches_that_do_not_fill_a_step_are_skipped(pack, monkeypatch):
    """Two of 3 batches make a step: the third is not read, so that no gradient leaks into the next epoch."""
    read = []
    monkeypatch.setattr(
        "src.training.fit.train_epoch",
        lambda run, batches, *rest: read.append(len(list(batches))) or torch.ones(1),
    )
    train(pack, epochs=2, accumulate=2)
    assert read == [2, 2]
    with pytest.raises(UserError, match="student.batch_size times accumulate: must be .*, got 8 x 4"):
        train(pack, accumulate=4)


def test_clipping_bounds_the_gradient(pack):
    torch.manual_seed(0)
    model = wrap_network(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 3)))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    run = prepare(make_job(pack, model, Loss(BASES["bce"], []), optimizer="sgd", lr=1.0, clip=0.01))
    batches = list(make_training_set(pack).epoch(1))[:1]
    train_epoch(run, batches, (1, 1))
    change = torch.cat([(b - a).flatten() for a, b in zip(before, model.parameters(), strict=True)])
    assert change.norm().item() == pytest.approx(0.01, rel=1e-3)


@pytest.mark.slow
def test_with_all_features_off_training_equals_a_plain_loop(pack):
    ours = train(pack, epochs=2, data={"transforms": partial(build_transforms, LIGHT, 2)})[0].state_dict()
    torch.manual_seed(0)
    model, loss, best = (
        build_model("timm/test_resnet", 3, "student"),
        Loss(BASES["softmax"], []),
        Best("loss"),
    )
    optimizer, step = build_optimizer(model, make_settings()), 0
    for epoch in (1, 2):
        model.train()
        for batch in make_training_set(pack).epoch(epoch):
            for group in optimizer.param_groups:
                group["lr"] = 0.01 * onecycle_factor(step / 3, 2, 1)
            step += 1
            batch = batch.to(CPU)
            optimizer.zero_grad()
            loss(model(batch.images), *batch[1:]).backward()
            optimizer.step()
        best.offer(epoch, *Validation(pack[0], pack[1], BASES["softmax"], 8, CPU).measure(model), model)
    assert all(torch.equal(ours[name], best.state[name]) for name in ours)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_mixed_precision_keeps_weights_and_loss_in_float32(pack, precision):
    """A CPU trains in float16 for this test only, but the loop is the same."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 3))
    seen = []
    model.register_forward_hook(lambda module, inputs, logits: seen.append(logits.dtype))
    before = model[1].weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    run = make_training(model, optimizer, Loss(BASES["softmax"], []), precision=precision)
    losses = train_epoch(run, make_training_set(pack).epoch(1), (1, 1))
    assert set(seen) == {precision} and losses.dtype == torch.float32 and losses.isfinite().all()
    assert model[1].weight.dtype == torch.float32 and not torch.equal(model[1].weight, before)


DEPTHWISE, GROUPED = (torch.nn.Conv2d(6, 12, 3, groups=groups) for groups in (6, 3))


@pytest.mark.parametrize(
    "wanted, has, net, used, reason",
    [
        ("float32", False, DEPTHWISE, "float32", ""),
        ("float16", True, GROUPED, "float32", "it is for GPUs only (set bfloat16 or float32 here)"),
        ("bfloat16", False, GROUPED, "float32",
         "bfloat16 takes a CPU with AVX512-BF16 or AMX, and cpu_isa: auto"),
        ("bfloat16", True, DEPTHWISE, "float32",
         "the network has depthwise convolutions, which are slower in bfloat16 on a CPU"),
        ("bfloat16", True, GROUPED, "bfloat16", ""),
    ],
)  # fmt: skip
def test_a_cpu_takes_float32_and_says_so_where_it_gains_nothing(
    pack, monkeypatch, capsys, wanted, has, net, used, reason
):
    """One params.yaml serves a machine with a GPU and one without; a GPU takes what is asked."""
    monkeypatch.setattr("src.training.precision.has_bfloat16", lambda: has)
    job = make_job(pack, wrap_network(net), precision=wanted)
    assert prepare(job).precision is getattr(torch, used)
    said = f"warning: params.yaml: student.precision: {wanted}, but float32 is used: {reason}\n"
    assert capsys.readouterr().out == (said if reason else "")
    assert choose_precision(wanted, net, torch.device("cuda"), "x") is getattr(torch, wanted)


@pytest.mark.parametrize("capability, flags, has", [
    ("AVX512", {"avx512_bf16": True}, True),
    ("AVX512", {"amx_bf16": True, "avx512_bf16": False}, True),
    ("AVX512", {"avx512_bf16": False}, False),
    ("AVX2", {"avx512_bf16": True}, False),  # cpu_isa hides it
    ("AVX2", {}, False),
])  # fmt: skip
def test_bfloat16_needs_its_instructions(monkeypatch, capability, flags, has):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert has_bfloat16() is has
    machine = dataclasses.replace(read_shipped(MachineSettings), device="cpu")
    settings = make_settings(precision="bfloat16")
    check_processes(settings, dataclasses.replace(machine, device="auto"), "student")
    if has:
        return check_processes(settings, machine, "student")
    message = "^params.yaml: student.precision: bfloat16, but on a CPU it takes AVX512-BF16 or AMX, and cpu_i"
    with pytest.raises(UserError, match=message):
        check_processes(settings, machine, "student")


def test_mixing_changes_the_training_reproducibly(pack):
    settings = dataclasses.replace(LIGHT, mixup=0.4, cutmix=1.0, multi_scale=0.15)
    mix = {"transforms": partial(build_transforms, settings, 2)}
    one, other = (train(pack, epochs=2, data=mix)[0].state_dict() for _ in range(2))
    plain = train(pack, epochs=2)[0].state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not torch.equal(one["net.fc.weight"], plain["net.fc.weight"])


def test_sizes_rise_with_the_epochs_and_measuring_stays_at_the_input_size(pack):
    """Four epochs in three equal parts: two at half of 32 pixels, one at 24, one at 32."""
    seen, network = [], build_model("timm/test_resnet", 3, "student")
    network.register_forward_pre_hook(lambda module, inputs: seen.append((module.training, inputs[0].shape)))
    settings = dataclasses.replace(LIGHT, train_scales=(0.5, 0.75, 1.0))
    data = make_training_set(pack, transforms=partial(build_transforms, settings, 4))
    fit(make_job(pack, network, data=data, epochs=4), NoCurves(), State())
    trained = [tuple(shape[2:]) for training, shape in seen if training]
    assert trained == [(16, 16)] * 6 + [(24, 24)] * 3 + [(32, 32)] * 3
    assert {tuple(shape[2:]) for training, shape in seen if not training} == {(32, 32)}


def test_only_the_selected_rows_are_seen(pack):
    rows = np.arange(0, 30, 3)
    data = make_training_set(pack, weights=np.arange(30), rows=rows)
    assert {int(w) for epoch in range(1, 9) for batch in data.epoch(epoch) for w in batch.weights} == set(
        rows
    )


def test_ema_by_hand():
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(model.weight, 0.0)
    average = build_average(model, make_settings(ema=0.5), epochs=3)
    for value in (1.0, 2.0, 4.0):
        torch.nn.init.constant_(model.weight, value)
        average.after_step()
    # the first step is copied; the next two have weights 1 - min(0.5, 2/11) and 1 - min(0.5, 3/12)
    expected = (1.0 * 2 / 11 + 2.0 * 9 / 11) * 3 / 12 + 4.0 * 9 / 12
    assert average.after_epoch(1, list).weight.item() == pytest.approx(expected)


def test_swa_is_the_mean_of_the_last_epochs():
    model = torch.nn.Linear(1, 1, bias=False)
    average = build_average(model, make_settings(swa=2), epochs=3)
    measured = []
    for epoch, value in enumerate((1.0, 2.0, 4.0), 1):
        torch.nn.init.constant_(model.weight, value)
        measured.append(average.after_epoch(epoch, list).weight.item())
    assert measured == [1.0, 2.0, 3.0]


def test_swa_updates_batch_norm(pack):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.Flatten(), torch.nn.Linear(3072, 3))
    images = torch.rand(16, 3, 32, 32) + 5
    average = build_average(model, make_settings(swa=1), epochs=1)
    measured = average.after_epoch(1, lambda: [images[:8], images[8:]])
    assert torch.allclose(measured[0].running_mean, images.mean(dim=(0, 2, 3)), atol=1e-4)
    assert torch.equal(model[0].running_mean, torch.zeros(3))  # the model in training is unchanged


@pytest.mark.slow
def test_swa_takes_its_own_constant_rate(pack, monkeypatch):
    """The last 3 of 6 epochs; without swa_lr they follow onecycle."""
    changes = {"epochs": 6, "warmup": 2, "swa": 3}
    _, rates = train_with_losses(pack, monkeypatch, [], swa_lr=0.004, **changes)
    cycle = [onecycle_factor(epoch, 6, 2) for epoch in range(6)]
    assert rates == pytest.approx([*cycle[:3], 0.4, 0.4, 0.4])
    assert train_with_losses(pack, monkeypatch, [], **changes)[1] == pytest.approx(cycle)


def test_swa_recomputes_batch_norm_from_plain_pictures(pack, monkeypatch):
    """Augmentation is asked for 4 epochs of 24 pictures, not for the 2 averaged ones again."""
    augmented = []

    def blacken(pixels):
        augmented.append(pixels)
        return np.zeros((32, 32, 3), np.uint8)

    black = dataclasses.replace(make_training_set(pack), augment=OneByOne(blacken))
    fit(make_job(pack, data=black, swa=2), NoCurves(), State())
    assert len(augmented) == 4 * 24
    large = np.kron(pack[0], np.ones((1, 2, 2, 1), np.uint8))  # as of a pack with a margin
    data = make_training_set((large, pack[1]), augment=LIGHT).leave_plain(32, 32)
    images = torch.cat(list(read_images(data, 1, CPU, lambda: None)))
    pixels = (images.permute(0, 2, 3, 1).numpy() * 255).round()
    small = [np.asarray(Image.fromarray(one).resize((32, 32), Image.Resampling.BILINEAR)) for one in large]
    numbers = [np.flatnonzero((small == one).all(axis=(1, 2, 3))).item() for one in pixels]
    assert len(set(numbers)) == 24
    monkeypatch.setattr("src.training.averaging.MOST", 9)
    assert torch.equal(torch.cat(list(read_images(data, 1, CPU, lambda: None))), images[:16])


@pytest.mark.parametrize("changes", [{"ema": 0.9}, {"swa": 2}])
def test_averaged_weights_are_kept(pack, changes):
    model, best, rows = train(pack, epochs=6, **changes)
    accuracy, _ = Validation(pack[0], pack[1], BASES["softmax"], 8, CPU).measure(model)
    assert accuracy == best.accuracy == max(row.val_accuracy for row in rows)
    plain = train(pack, epochs=6)[2]
    assert rows[5].val_loss != plain[5].val_loss
    assert [row.train_loss for row in rows] == [row.train_loss for row in plain]  # training is unaffected


class Written(Validation):
    """Finds these losses, one per epoch, then 1."""

    losses = ()

    def measure(self, model, before_batch=lambda: None):
        first, *Written.losses = (*Written.losses, 1.0)
        return 0.5, first


def train_with_losses(pack, monkeypatch, losses, **changes):
    """The best epoch and the learning rates of the epochs, over the largest, if val has these losses."""
    monkeypatch.setattr("conftest.Validation", Written)
    monkeypatch.setattr(Written, "losses", losses)
    _, best, rows = train(pack, lr=0.01, warmup_factor=0.1, **changes)
    return best.epoch, [row.lr / 0.01 for row in rows]


def test_patience_counts_after_the_warm_up_and_anneals_the_rest(pack, monkeypatch, capsys):
    """Warm-up 0.1, 0.55, then the cosine of 8 epochs: its first two, then every third of the last six.

    Epoch 1 is the best. Counted from the end of the warm-up, 2, patience 2 strikes after 4.
    """
    best, rates = train_with_losses(
        pack, monkeypatch, [0.9], epochs=10, warmup=2, patience=2, schedule="cosine"
    )
    cosine = [0.5 + 0.5 * np.cos(np.pi * epoch / 8) for epoch in (0, 1, 2, 5)]
    assert best == 1 and rates == pytest.approx([0.1, 0.55, *cosine])
    assert "no better epoch since 1: 6 is the last (student.patience)" in capsys.readouterr().out


def test_patience_passes_through_the_remaining_steps(pack, monkeypatch):
    """Steps after 1 + 3, 1 + 5 and 1 + 7 of 1 + 8 epochs; from epoch 4 on, 3 epochs take the place of 5.

    They begin at 4, 5 2/3 and 7 1/3 of the schedule's epochs.
    """
    best, rates = train_with_losses(pack, monkeypatch, [0.9], epochs=9, warmup=1, patience=3, schedule="step")
    assert best == 1 and rates == pytest.approx([0.1, 1, 1, 1, 0.1, 0.1, 0.01])


def test_patience_passes_through_the_remaining_sizes(pack, monkeypatch):
    """Three scales in 10 epochs begin at 1, 5 and 8; after 4 the last two epochs are the planned 5 and 8."""
    seen = []
    settings = dataclasses.replace(LIGHT, train_scales=(0.5, 0.75, 1.0))

    def build(epoch):
        return [
            *build_transforms(settings, 10, epoch),
            lambda batch, _: seen.append(batch.images.shape[2]) or batch,
        ]

    train_with_losses(
        pack,
        monkeypatch,
        [0.9],
        epochs=10,
        warmup=2,
        patience=2,
        schedule="cosine",
        data={"transforms": build},
    )
    assert seen == [16] * 4 * 3 + [24] * 3 + [32] * 3


def test_a_better_epoch_renews_patience_and_the_end_stays_as_planned(pack, monkeypatch):
    """With 8 epochs patience 3 could strike after 6 at the earliest, and 3 more would be too many."""
    plain = train_with_losses(pack, monkeypatch, [0.9, 0.8, 0.7], epochs=8, warmup=2)
    assert train_with_losses(pack, monkeypatch, [0.9, 0.8, 0.7], epochs=8, warmup=2, patience=3) == plain
    assert plain[0] == 3 and len(plain[1]) == 8


@pytest.mark.slow
def test_slimming_by_hand_and_its_metric(pack):
    gammas = [torch.nn.Parameter(torch.tensor([1.0, -2.0])), torch.nn.Parameter(torch.tensor([0.5]))]
    penalty = penalize_gammas(gammas, 0.1)
    penalty.backward()
    assert penalty.item() == pytest.approx(0.35)
    assert gammas[0].grad.tolist() == pytest.approx([0.1, -0.1]) and gammas[1].grad.item() == pytest.approx(
        0.1
    )
    slimmed = train(pack, epochs=8, slim=0.05)[1].metrics()["small_gammas"]
    barely = train(pack, epochs=8, slim=1e-9)[1].metrics()["small_gammas"]
    assert slimmed > barely and "small_gammas" not in train(pack, epochs=2)[1].metrics()


def test_slimming_needs_batch_norm(pack):
    with pytest.raises(UserError, match="^params.yaml: student.slim: the network has no trainable BatchNorm"):
        train(pack, arch="timm/test_convnext", slim=0.1)


# optimizers


def test_lookahead_is_evaluated_with_its_slow_weights(pack):
    """timm's slow weights start at the end of the first epoch and move every 6 steps; here are 3 + 2."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 3))
    run, fast = prepare(make_job(pack, wrap_network(model), optimizer="lookahead_sgd", lr=0.1)), []
    run.after_step.append(lambda: fast.append(model[1].weight.detach().clone()))
    batches = list(make_training_set(pack).epoch(1))
    train_epoch(run, batches, (1, 1))
    train_epoch(run, batches[:2], (1, 2))
    expected = fast[2] + (fast[4] - fast[2]) / 2  # half way, timm's alpha
    assert torch.allclose(model[1].weight, expected, atol=1e-6) and not torch.equal(fast[4], fast[2])


@pytest.mark.parametrize("name", EACH_OPTIMIZER)
def test_every_optimizer_takes_steps(name):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(4 * 36, 2))
    images, targets = torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 0, 1])
    chosen = make_settings(optimizer=name, lr=1e-3, weight_decay=0.01)
    optimizer = build_optimizer(wrap_network(model), chosen)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5)
    before = model[2].weight.detach().clone()
    for _ in range(7):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), targets).backward()
        optimizer.step()
        schedule.step()
    assert model[2].weight.isfinite().all() and not torch.equal(model[2].weight, before)


def test_optimizer_names_match_timm():
    """Except aliases of sgd and sgdw, and those that need another package or a second derivative."""
    import timm.optim

    ours = {name for name in list_optimizers() if not name.startswith("lookahead_")}
    others = {*OPTIMIZERS}
    missing = set(timm.optim.list_optimizers()) - ours
    elsewhere = {name for name in missing if name.startswith(("bnb", "fused", "kron"))}
    assert ours - others <= set(timm.optim.list_optimizers())
    assert missing - elsewhere == {"adahessian", "nesterov", "nesterovw"}
    original = "adam sgd adamw radam ranger lookahead_adam ralamb rangerlars novograd".split()
    assert set(original) <= set(list_optimizers())


def test_layer_decay_lowers_the_rate_layer_by_layer():
    model = build_model("resnet18", 3, "x")
    groups = build_optimizer(model, make_settings(lr=0.1, weight_decay=0.05, layer_decay=0.5)).param_groups
    net = dict(model.net.named_parameters())
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    order = ["conv1.weight", "layer2.0.conv1.weight", "layer4.1.conv2.weight", "fc.weight"]
    rising = [rates[id(net[name])] for name in order]
    assert rising == sorted(rising) and rising[-2:] == pytest.approx([0.05, 0.1])
    assert {group["weight_decay"] for group in groups} == {0.0, 0.05}


def test_cosine_by_hand():
    """Warm-up 0.1, 0.55, then 1, 1/2 + cos(pi/4)/2, 1/2, ... down to 0 at the end."""
    factor = build_schedule(make_settings(schedule="cosine", epochs=6, warmup=2, warmup_factor=0.1))
    expected = [0.1, 0.55, 1, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5, 0]
    assert [factor(epoch) for epoch in range(7)] == pytest.approx(expected)
