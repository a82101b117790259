"""On a GPU: the CPU's results within rounding, exact resumption, every precision, no waiting, flat memory."""

import copy
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.distributed as dist
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
from test_losses import build, every_loss, learn, lesson, teach  # noqa: F401
from test_mixing import make_batch
from test_resume import TRAININGS, Killed, KilledAfter, assert_same, name_changes, train
from timm.layers import convert_sync_batchnorm
from torch.nn.parallel import DistributedDataParallel

from src.batches.augment import augment_each, build_augment
from src.batches.batch import Batch
from src.batches.mixing import build_transforms, cutmix, mixup, multi_scale
from src.batches.views import View
from src.machine.runtime import allow_tf32
from src.networks.last_map import find_cut
from src.networks.libraries import build_model
from src.networks.predict import predict_logits
from src.training.averaging import build_average
from src.training.optim import build_optimizer
from src.training.prepare import prepare
from src.training.state import Saved, State
from src.training.step import train_epoch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
GPU = torch.device("cuda", 0)
PLACED_BY_TORCH = {"asgd", "nadam"}  # it moves their other numbers when it loads a state
PRECISIONS = [
    {"precision": "bfloat16"},
    {"precision": "float16"},
    {"precision": "float16", "clip": 0.1, "accumulate": 3, "batch_size": 4, "ema": 0.9},
    {"precision": "float16", "optimizer": "ranger", "mixed": True},
    {"precision": "bfloat16", "live": True, "swa": 2},
]


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """As start_machine leaves a process that computes on a GPU; a state is saved after every epoch."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.allow_tf32
    torch.use_deterministic_algorithms(True, warn_only=True)
    allow_tf32(False)
    monkeypatch.setattr("src.training.state.COST", float("inf"))
    yield
    torch.use_deterministic_algorithms(before[0])
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before[1], False


@every_loss
def test_losses_and_gradients_are_those_of_the_cpu(lesson, recipe, gamma, agreement):  # noqa: F811
    expected = learn(build(recipe, gamma=gamma, distill=teach(agreement)), *lesson)
    there = [part.to(GPU) for part in lesson]
    loss = build(recipe, gamma=gamma, distill=teach(agreement)).to(GPU)
    logits = there[0].clone().requires_grad_()
    value = loss(logits, *there[1:]) * len(logits)
    value.backward()
    assert torch.allclose(value.cpu(), expected[0], rtol=1e-4)
    assert torch.allclose(logits.grad.cpu(), expected[1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("transform", [mixup, cutmix, multi_scale])
def test_transforms_are_those_of_the_cpu(transform):
    options = {multi_scale: {"most": 0.3, "scale": 1.0, "divisor": 4}}.get(transform, {"alpha": 1.0})
    one, other = (
        transform(make_batch().to(device), np.random.default_rng(1), **options) for device in (CPU, GPU)
    )
    for expected, found in zip(one, other, strict=True):
        assert found.is_cuda and torch.allclose(found.cpu(), expected, atol=1e-5)


@pytest.mark.parametrize("policy", ["light", "crop"])
@pytest.mark.parametrize("side", [32, 24])
def test_augmentation_is_that_of_the_cpu_but_for_a_grey_level(pack, policy, side):
    """And the same in any batch, to the last bit."""
    settings, numbers = replace(LIGHT, policy=policy, erase=0.5), list(range(30))
    augment = build_augment(settings, side, side, GPU)
    there = augment_each(pack[0], augment, 1, 2, numbers)
    here = augment_each(pack[0], build_augment(settings, side, side), 1, 2, numbers)
    assert there.is_cuda and (there.cpu().int() - here.int()).abs().max() <= 1
    assert torch.equal(augment_each(pack[0][[7, 3]], augment, 1, 2, [7, 3]), there[[7, 3]])


def test_stored_views_are_what_the_epochs_see(pack):
    data = replace(make_training_set(pack), augment=build_augment(LIGHT, 32, 32, GPU), workers=1)
    view = View(data.pictures, data.augment, data.seed, 2, np.arange(30), (32, 32))
    for images, (_, numbers) in zip(data.load_images(2, 0), data.list_tasks(2), strict=True):
        assert images.is_cuda
        assert np.array_equal(images.permute(0, 2, 3, 1).cpu().numpy(), view[numbers])


def test_a_gradient_is_that_of_the_cpu(pack):
    """In float64, which shows a mistake rather than rounding: of a whole network, its BatchNorms included."""
    torch.manual_seed(0)
    network = build_model("timm/test_resnet", 3, "student").double().train()
    there = copy.deepcopy(network).to(GPU)
    images = torch.from_numpy(pack[0]).permute(0, 3, 1, 2).double() / 255
    for model, pictures in ((network, images), (there, images.to(GPU))):
        model(pictures).pow(2).mean().backward()
    for one, other in zip(network.parameters(), there.parameters(), strict=True):
        assert torch.allclose(other.grad.cpu(), one.grad, rtol=1e-9, atol=1e-12)
    for one, other in zip(network.buffers(), there.buffers(), strict=True):
        assert torch.allclose(other.cpu(), one, rtol=1e-9, atol=1e-12)


def test_the_first_steps_are_those_of_the_cpu(pack):
    """Later ones drift apart, since a training magnifies rounding: 12 steps at a small rate."""
    rows = {
        device: train(pack, State(), NoCurves(), device=device, optimizer="sgd", lr=0.01)[2]
        for device in (CPU, GPU)
    }
    for one, other in zip(rows[CPU], rows[GPU], strict=True):
        assert other.train_loss == pytest.approx(one.train_loss, rel=1e-3)
        assert other.val_loss == pytest.approx(one.val_loss, rel=1e-3)


@pytest.mark.parametrize("changes", [*TRAININGS, *PRECISIONS], ids=name_changes)
def test_a_killed_training_resumes_to_the_same_bits(pack, tmp_path, changes):
    quiet = train(pack, State(), NoCurves(), device=GPU, **changes)
    assert np.isfinite(quiet[1]["val"]["loss"])
    for last in (1, 2):
        with pytest.raises(Killed):
            train(pack, Saved(tmp_path), KilledAfter(last), device=GPU, **changes)
    assert_same(train(pack, Saved(tmp_path), NoCurves(), device=GPU, **changes), quiet)


@pytest.mark.parametrize("name", EACH_OPTIMIZER)
def test_every_optimizer_resumes_to_the_same_bits_and_as_it_was_placed(name, tmp_path):
    """Nothing is moved to the GPU that a step would then have to wait for, such as Adam's count of steps."""

    def take_steps(count, model, optimizer):
        for number in range(count):
            torch.manual_seed(number)
            optimizer.zero_grad()
            model(torch.rand(4, 5).to(GPU)).pow(2).mean().backward()
            optimizer.step()

    def make():
        torch.manual_seed(0)
        network = wrap_network(torch.nn.Sequential(torch.nn.Linear(5, 3))).to(GPU)
        return network.net, build_optimizer(network, make_settings(optimizer=name, lr=1e-3))

    def find_places(optimizer):
        return [
            value.device
            for state in optimizer.state_dict()["state"].values()
            for value in (state.values() if isinstance(state, dict) else ())
            if isinstance(value, torch.Tensor)
        ]

    quiet, first, second, state = make(), make(), make(), Saved(tmp_path)
    take_steps(4, *quiet)
    take_steps(3, *quiet)
    take_steps(4, *first)
    state.track(model=first[0], optimizer=first[1])
    state.save()
    state.track(model=second[0], optimizer=second[1])
    state.restore()
    if name not in PLACED_BY_TORCH:
        assert find_places(second[1]) == find_places(first[1])
    take_steps(3, *second)
    assert torch.equal(quiet[0][0].weight, second[0][0].weight)


def watch(batches):
    """The batches, while torch raises an error at whatever in a step would wait for the GPU."""
    torch.cuda.set_sync_debug_mode("error")
    yield from batches
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("recipe", ["softmax", "bce+weighted+threshold+ghm+ohm"])
@pytest.mark.parametrize("mix", [{}, {"mixup": 0.4}, {"cutmix": 1.0}, {"multi_scale": 0.2}], ids=name_changes)
def test_no_step_waits_for_the_gpu(pack, recipe, mix):
    data = make_training_set(pack)
    loss = build(recipe, classes=("a", "b", "c"))
    job = make_job(pack, loss=loss, data=data, device=GPU, clip=0.1)
    run, transforms = prepare(job), build_transforms(replace(LIGHT, **mix), 4, 1)
    average = build_average(job.trained, make_settings(ema=0.9), 4)
    run.after_step.append(average.after_step)
    batches = [Batch(*(part.pin_memory() for part in batch)) for batch in data.epoch(1)]
    train_epoch(run, batches, (1, 1), transforms)
    try:
        losses = train_epoch(run, watch(batches), (1, 2), transforms)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(losses) == 3 and losses.isfinite().all()


def test_an_epoch_leaves_no_memory_behind(pack):
    """Beyond a number per step: the losses."""
    job = make_job(pack, device=GPU, ema=0.9, optimizer="adamw")
    run, used = prepare(job), []
    for epoch in range(1, 5):
        train_epoch(run, job.data.epoch(epoch), (1, epoch))
        used.append(torch.cuda.memory_allocated())
    assert used[1] == used[2] == used[3]


def test_float32_is_float32_unless_tf32_is_asked_for():
    """10 bits of a factor are .001 of it; 24 bits a ten-millionth."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 64, 32, 32, generator=generator, dtype=torch.float64)
    conv = torch.nn.Conv2d(64, 64, 3, dtype=torch.float64)
    linear = torch.nn.Linear(32, 64, dtype=torch.float64)
    for layer in (conv, linear):
        exact = layer(images)
        there = copy.deepcopy(layer).float().to(GPU)
        errors = {}
        for allowed in (False, True):
            allow_tf32(allowed)
            found = there(images.float().to(GPU)).double().cpu()
            errors[allowed] = ((found - exact).norm() / exact.norm()).item()
        assert errors[False] < 1e-6 < 1e-5 < errors[True] < 1e-3


@pytest.mark.parametrize("arch", ["timm/test_resnet", "mobilenet_v3_small", "timm/vit_tiny_patch16_224"])
def test_predictions_and_maps_are_those_of_the_cpu(pack, arch):
    torch.manual_seed(0)
    network = build_model(arch, 3, "student").eval()
    side = 224 if "vit" in arch else 64
    pictures = np.kron(pack[0][:8], np.ones((1, side // 32, side // 32, 1), np.uint8))
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    here = predict_logits(network, pictures, 4, CPU)
    seen = find_cut(network, (side, side), arch)(images)
    network.to(GPU)
    assert torch.allclose(predict_logits(network, pictures, 4, GPU), here, atol=1e-4)
    there = find_cut(network, (side, side), arch)(images.to(GPU))
    assert torch.allclose(there.map.cpu(), seen.map, atol=1e-3)


def test_several_processes_by_nccl_average_what_one_computes(pack, tmp_path):
    """In a group of one: SyncBatchNorm and averaged gradients change nothing."""
    store = dist.FileStore(str(tmp_path / "store"), 1)
    dist.init_process_group("cpu:gloo,cuda:nccl", store=store, rank=0, world_size=1, device_id=GPU)
    try:
        torch.manual_seed(0)
        network = build_model("timm/test_resnet", 3, "student").to(GPU)
        other = copy.deepcopy(network)
        other.net = convert_sync_batchnorm(other.net)
        parallel = DistributedDataParallel(other)
        images = torch.from_numpy(pack[0]).permute(0, 3, 1, 2).to(GPU) / 255
        for model in (network, parallel):
            model(images).pow(2).mean().backward()
        for one, same in zip(network.parameters(), other.parameters(), strict=True):
            assert torch.allclose(one.grad, same.grad, rtol=1e-4, atol=1e-7)
        values = torch.arange(3.0, device=GPU)
        dist.all_reduce(values)
        assert values.tolist() == [0, 1, 2]
    finally:
        dist.destroy_process_group()


def test_a_stage_under_torchrun_on_one_gpu(ready):
    """It joins a group of one and writes the same weights as without torchrun."""
    edit_params(ready, device="cuda", distill__share=0.0)
    weights = ready / "data/models/student.safetensors"
    found = []
    for runner in ((), ("torch.distributed.run", "--nproc_per_node", "1", "-m")):
        command = [sys.executable, "-m", *runner, "stages.train_student"]
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"PYTHONPATH": path, "DVC_ROOT": str(ready)}
        result = subprocess.run(command, cwd=ready, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr
        found.append(weights.read_bytes())
    assert found[0] == found[1]
