"""Data, schedules, models and the loop: by hand, against torch, and by what a small training does."""

import copy

import numpy as np
import pytest
import torch

from src.augment import AugmentSettings, augment_each, build_augment
from src.batch import Batch, unit_range
from src.checkpoint import facts_of, load_model, save_weights
from src.data import TrainingSet
from src.errors import UserError
from src.losses import BASES, Loss
from src.models import build_model
from src.optim import build_optimizer, build_schedule, onecycle_factor, step_boundaries
from src.predict import predict_logits
from src.training import Best, Training, TrainingSettings, Validation, fit, train_epoch

CPU = torch.device("cpu")
LIGHT = AugmentSettings(policy="light", rotate=20, shift=0.1, scale=0.1, flip=0.5)
NONE = AugmentSettings(policy="none", rotate=0, shift=0, scale=0, flip=0)


@pytest.fixture
def pack():
    """30 pictures of three colours, (30, 32, 32, 3), and their one-hot targets."""
    generator, labels = np.random.default_rng(0), np.arange(30) % 3
    pixels = np.eye(3)[labels][:, None, None] * 120 + generator.integers(0, 100, (30, 32, 32, 3))
    return pixels.astype(np.uint8), np.eye(3, dtype=np.float32)[labels]


def training_set(pack, augment=LIGHT, workers=0, seed=1):
    images, targets = pack
    return TrainingSet(
        images, targets, np.ones(30), build_augment(augment), batch_size=8, seed=seed, workers=workers
    )


def settings(**changes):
    values = dict(
        arch="timm/test_resnet", pretrained="none", epochs=4, batch_size=8, optimizer="adam", lr=0.01,
        weight_decay=0.0, schedule="onecycle", warmup=1, warmup_factor=0.1, step_epochs=(),
        step_factors=(1, 0.1, 0.01, 0.001),
    )  # fmt: skip
    return TrainingSettings(**values | changes)


class NoCurves:
    def __init__(self):
        self.rows = []

    def add(self, row):
        self.rows.append(row)


def train(pack, workers=0, **changes):
    torch.manual_seed(0)
    chosen, curves = settings(**changes), NoCurves()
    model = build_model(chosen.arch, 3, "none", "student")
    validation = Validation(pack[0], pack[1], BASES["softmax"], 8, CPU)
    best = fit(
        model,
        Loss(BASES["softmax"], []),
        training_set(pack, workers=workers),
        validation,
        chosen,
        curves,
        "student",
    )
    return model, best, curves.rows


# schedules


@pytest.mark.parametrize(
    "epochs, warmup, expected",
    [
        (20, 2, [0.1] * 2 + [1] * 6 + [0.1] * 5 + [0.01] * 4 + [0.001] * 3),
        (85, 5, [0.1] * 5 + [1] * 30 + [0.1] * 20 + [0.01] * 20 + [0.001] * 10),
    ],
)
def test_step_schedule_of_every_epoch(epochs, warmup, expected):
    """Boundaries by hand: 2 + 6, 2 + 11, 2 + 15 and 5 + 30, 5 + 50, 5 + 70."""
    factor = build_schedule("step", epochs, warmup, 0.1, (1, 0.1, 0.01, 0.001), ())
    assert [factor(epoch) for epoch in range(epochs)] == expected
    assert [factor(epoch + 0.99) for epoch in range(epochs)] == expected


def test_step_schedule_takes_other_ratios_and_epochs():
    factor = build_schedule("step", 6, 1, 0.5, (1, 0.2), (4,))
    assert [factor(epoch) for epoch in range(6)] == [0.5, 1, 1, 1, 0.2, 0.2]
    assert step_boundaries(20, 2) == (8, 13, 17)


def test_onecycle_is_torch_onecycle():
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
        ({"step_epochs": (3, 2)}, "step_epochs must rise"),
        (
            {"schedule": "step", "step_factors": (1, 0.1)},
            "step_factors must be one more than step_epochs, got 2 factors",
        ),
    ],
)
def test_schedules_that_cannot_work(changes, message):
    with pytest.raises(ValueError, match=message):
        settings(**changes)


# augmentation and batches


def test_augmentation_depends_on_seed_epoch_and_picture_alone(pack):
    images = pack[0][:4]
    augment = build_augment(LIGHT)
    whole = augment_each(images, augment, 1, 5, [0, 1, 2, 3])
    torch.rand(3)
    assert torch.equal(augment_each(images[[2, 0]], augment, 1, 5, [2, 0]), whole[[2, 0]])
    assert not torch.equal(augment_each(images, augment, 1, 6, [0, 1, 2, 3]), whole)
    assert not torch.equal(augment_each(images, augment, 2, 5, [0, 1, 2, 3]), whole)
    assert whole.dtype == torch.uint8 and whole.shape == (4, 3, 32, 32)


def test_augmentation_leaves_the_generator_alone(pack):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    augment_each(pack[0][:2], build_augment(LIGHT), 1, 1, [0, 1])
    assert torch.equal(torch.rand(1), expected)


def test_policy_none_changes_nothing(pack):
    same = augment_each(pack[0], build_augment(NONE), 1, 1, list(range(30)))
    assert np.array_equal(same.permute(0, 2, 3, 1).numpy(), pack[0])


def test_an_epoch_has_each_picture_at_most_once_and_drops_the_rest(pack):
    images, targets = pack
    numbered = TrainingSet(images, np.eye(30, dtype=np.float32), np.arange(30), build_augment(NONE), 8, 1, 0)
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


def test_workers_change_nothing(pack):
    alone, helped = (list(training_set(pack, workers=workers).epoch(3)) for workers in (0, 2))
    for one, other in zip(alone, helped, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_batch_on_the_device_is_float_in_unit_range():
    batch = Batch(
        torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1), torch.ones(1, 2), torch.ones(1)
    )
    assert batch.to(CPU).images.flatten().tolist() == pytest.approx([0, 0.2, 1])


# models


@pytest.mark.parametrize(
    "arch", ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "timm/test_vit", "timm/resnet10t"]
)
def test_models_of_both_libraries_give_logits(arch):
    model = build_model(arch, 7, "none", "student").eval()
    size = 160 if arch == "timm/test_vit" else 64
    assert model(torch.rand(2, 3, size, size)).shape == (2, 7)


def test_googlenet_has_one_output_in_training():
    model = build_model("googlenet", 3, "none", "student").train()
    assert model(torch.rand(2, 3, 64, 64)).shape == (2, 3)


def test_first_layer_normalises():
    model = build_model("resnet18", 2, "none", "student")
    image = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    assert model.normalize(image).abs().max() < 1e-6
    assert model.normalize(
        image + torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    ).flatten().tolist() == pytest.approx([1] * 3)


def test_pretrained_file_fills_all_but_another_classifier(tmp_path, capsys):
    from safetensors.torch import save_file

    source = build_model("timm/test_resnet", 1000, "none", "x").net
    save_file(
        {name: tensor.contiguous() for name, tensor in source.state_dict().items()},
        tmp_path / "w.safetensors",
    )
    model = build_model("timm/test_resnet", 3, str(tmp_path / "w.safetensors"), "teacher.big")
    assert torch.equal(model.net.layer1[0].conv1.weight, source.layer1[0].conv1.weight)
    assert "new: fc.bias, fc.weight" in capsys.readouterr().out
    with pytest.raises(
        UserError, match=r"params.yaml: student.pretrained: .*w.safetensors does not fit the network"
    ):
        build_model("resnet18", 3, str(tmp_path / "w.safetensors"), "student")
    (tmp_path / "w.safetensors").write_text("no weights")
    with pytest.raises(UserError, match=r"params.yaml: student.pretrained: .*not a safetensors file"):
        build_model("timm/test_resnet", 3, str(tmp_path / "w.safetensors"), "student")
    with pytest.raises(UserError, match=r"params.yaml: student.pretrained: nowhere: no such file"):
        build_model("timm/test_resnet", 3, "nowhere", "student")


def test_biases_and_norms_are_not_decayed():
    groups = build_optimizer("adamw", build_model("timm/test_resnet", 3, "none", "x"), 0.1, 0.05).param_groups
    decay = {group["weight_decay"]: {parameter.ndim for parameter in group["params"]} for group in groups}
    assert decay == {0.0: {1}, 0.05: {2, 4}}


# the loop


def test_an_epoch_takes_the_steps_of_plain_torch(pack):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 3))
    reference, data, loss = copy.deepcopy(model), training_set(pack), Loss(BASES["softmax"], [])
    steps = []
    run = Training(
        model, loss, torch.optim.SGD(model.parameters(), lr=0.1), [], [lambda: steps.append(1)], CPU
    )
    losses = train_epoch(run, data.epoch(1))
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.1)
    for batch, loss_seen in zip(data.epoch(1), losses, strict=True):
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(reference(unit_range(batch.images)), batch.targets)
        value.backward()
        optimizer.step()
        assert loss_seen.item() == pytest.approx(value.item(), rel=1e-6)
    assert len(steps) == 3
    assert all(
        torch.allclose(a, b, atol=1e-6)
        for a, b in zip(model.parameters(), reference.parameters(), strict=True)
    )


def test_training_learns_and_keeps_the_best_epoch(pack):
    model, best, rows = train(pack, epochs=8)
    assert rows[-1].train_loss < rows[0].train_loss
    assert best.accuracy == max(row.val_accuracy for row in rows) > 0.8
    ties = [row for row in rows if row.val_accuracy == best.accuracy]
    assert best.epoch == min(ties, key=lambda row: row.val_loss).epoch
    logits = predict_logits(model, pack[0], 8, CPU)
    assert (logits.argmax(1).numpy() == pack[1].argmax(1)).mean() == best.accuracy


def test_same_seed_same_weights_whatever_the_workers(pack):
    one, other = (train(pack, epochs=2, workers=workers)[0].state_dict() for workers in (0, 2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_best_prefers_accuracy_then_lower_loss():
    best, model = Best(), torch.nn.Linear(1, 1)
    for epoch, accuracy, loss in [
        (1, 0.5, 1.0),
        (2, 0.6, 3.0),
        (3, 0.6, 2.0),
        (4, 0.6, 2.5),
        (5, 0.4, 0.1),
        (6, 0.6, float("nan")),
    ]:
        best.offer(epoch, accuracy, loss, model)
    assert (best.epoch, best.accuracy, best.loss) == (3, 0.6, 2.0)


def test_a_loss_that_is_not_finite_stops_the_run(pack):
    with pytest.raises(
        UserError, match=r"^params.yaml: student.lr: the loss became (nan|inf) in step \d of epoch 1 "
    ):
        train(pack, lr=1e38, optimizer="sgd", warmup=0)


def test_more_pictures_a_batch_than_there_are(pack):
    with pytest.raises(
        UserError, match=r"^params.yaml: student.batch_size: must be at most the 30 training pictures, got 31"
    ):
        train(pack, batch_size=31)


# weights files


def test_weights_and_facts_survive(pack, tmp_path, place):
    (place / "data/manifest").mkdir(parents=True)
    for split in ("train", "val"):
        (place / f"data/manifest/{split}.csv").write_text("path,class,hash\n")
    model = train(pack, epochs=2)[0]
    facts = facts_of(model, "timm/test_resnet", "none", "bce", ("a", "b,c", "\u732b"), pack[0], {"lr": 0.1})
    save_weights(tmp_path / "one.safetensors", model, facts)
    save_weights(tmp_path / "two.safetensors", model, facts)
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()
    loaded, found = load_model(tmp_path / "one.safetensors")
    assert found == facts and not loaded.training
    assert torch.equal(predict_logits(loaded, pack[0], 8, CPU), predict_logits(model, pack[0], 8, CPU))


@pytest.mark.parametrize("content", [b"", b"hi", b"\x08\0\0\0\0\0\0\0{}      "])
def test_files_that_are_no_weights(tmp_path, content):
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(
        UserError, match=rf"^{tmp_path}/w.safetensors: (not a safetensors file|weights without)"
    ):
        load_model(tmp_path / "w.safetensors")


def test_no_weights_file(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        load_model(tmp_path / "none.safetensors")
