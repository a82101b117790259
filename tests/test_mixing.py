"""Mixup, cutmix and changes of size: by hand, exact with weights, seeded by the batch's generator."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as F

from src.batches import mixing
from src.batches.batch import Batch
from src.batches.mixing import (
    MixSettings,
    blend,
    build_transforms,
    cutmix,
    list_sizes,
    mixup,
    multi_scale,
    pick_scale,
    resize,
)
from src.losses.bases import BASES
from src.losses.loss import DistillSettings, Loss

OFF = MixSettings(mixup=0, cutmix=0, multi_scale=0, train_scales=(1.0,), size_divisor=1)


def make_batch(pictures=6, weights=None):
    torch.manual_seed(0)
    return Batch(
        torch.rand(pictures, 3, 20, 30),
        *torch.softmax(torch.randn(2, pictures, 4), dim=2),
        torch.rand(pictures) if weights is None else torch.tensor(weights),
    )


def test_blend_by_hand():
    """Share 0.25 of weight 1 and 0.75 of weight 2: weight 1.75, targets 0.25 / 1.75 and 1.5 / 1.75."""
    batch = Batch(torch.zeros(2, 3, 1, 1), torch.eye(2), torch.eye(2), torch.tensor([1.0, 2.0]))
    mixed = blend(batch, batch.rows(torch.tensor([1, 0])), 0.25, batch.images)
    assert mixed.weights.tolist() == pytest.approx([1.75, 1.25])
    assert mixed.targets[0].tolist() == pytest.approx([0.25 / 1.75, 1.5 / 1.75])


def test_a_row_whose_weights_are_both_zero_stays_zero():
    batch = Batch(torch.zeros(2, 3, 1, 1), torch.eye(2), torch.eye(2), torch.zeros(2))
    mixed = blend(batch, batch.rows(torch.tensor([1, 0])), 0.25, batch.images)
    assert mixed.weights.tolist() == [0, 0] and torch.equal(mixed.targets, batch.targets)


@pytest.mark.parametrize("base", BASES)
def test_the_loss_of_blended_targets_is_the_blend_of_losses(base):
    batch, loss = make_batch(), Loss(BASES[base], [], DistillSettings(0.7, 1.0, 0.0, "kl", "plain"))
    partner, logits = torch.tensor([3, 2, 0, 5, 1, 4]), torch.randn(6, 4)
    mixed = blend(batch, batch.rows(partner), 0.3, batch.images)
    own = loss(logits, *batch[1:])
    other = loss(logits, *batch.rows(partner)[1:])
    expected = 0.3 * own + 0.7 * other
    assert loss(logits, *mixed[1:]).item() == pytest.approx(expected.item(), rel=1e-5)


def test_mixup_blends_every_picture_with_its_partner():
    batch = make_batch()
    mixed = mixup(batch, np.random.default_rng(5), alpha=1.0)
    generator = np.random.default_rng(5)
    share, partner = generator.beta(1, 1), generator.permutation(6)
    expected = blend(batch, batch.rows(torch.from_numpy(partner)), share, mixed.images)
    assert torch.allclose(mixed.images, share * batch.images + (1 - share) * batch.images[partner])
    assert torch.equal(mixed.targets, expected.targets) and torch.equal(mixed.weights, expected.weights)


def test_targets_of_cutmix_are_the_shares_of_pixels():
    """Picture n has grey level n and class n, so pixels and targets show where they come from."""
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 20, 30)
    batch = Batch(images, torch.eye(4), torch.eye(4), torch.ones(4))
    covered = []
    for seed in range(20):
        mixed = cutmix(batch, np.random.default_rng(seed), alpha=1.0)
        pixels = torch.stack(
            [(mixed.images == owner).float().mean(dim=(1, 2, 3)) for owner in range(4)], dim=1
        )
        assert torch.allclose(mixed.targets, pixels, atol=1e-6)
        covered.append(1 - pixels.diagonal().min().item())
    assert min(covered) < 0.2 and max(covered) > 0.6


def test_multi_scale_keeps_the_ratio_and_stays_in_range():
    batch = make_batch()
    widths = []
    for seed in range(200):
        batch_at = multi_scale(batch, np.random.default_rng(seed), most=0.15, scale=1, divisor=1)
        height, width = batch_at.images.shape[-2:]
        assert abs(height - width * 2 / 3) <= 1
        widths.append(width)
    assert min(widths) >= 25 and max(widths) <= 35 and 29 < np.mean(widths) < 31 and 1 < np.std(widths) < 3


def test_resizing_matches_torchvision_and_rounds_to_multiples():
    batch, generator = make_batch(), np.random.default_rng(0)  # of 20 x 30 pixels
    for scale, divisor, size in ((0.75, 1, [15, 22]), (0.65, 4, [12, 20]), (0.4, 10, [10, 10])):
        images = resize(batch, generator, scale, divisor).images
        assert torch.allclose(images, F.resize(batch.images, size, antialias=True), atol=1e-6)
    sizes = {
        tuple(multi_scale(batch, np.random.default_rng(seed), 0.3, 0.8, 4).images.shape[2:])
        for seed in range(200)
    }
    heights, widths = ({size[side] for size in sizes} for side in (0, 1))
    assert heights == {12, 16, 20} and widths == {16, 20, 24, 28, 32}


def test_epochs_are_split_evenly_among_the_scales():
    picked = [pick_scale((0.5, 0.75, 1.0), epoch, 7) for epoch in range(1, 8)]
    assert picked == [0.5] * 3 + [0.75] * 2 + [1.0] * 2
    assert [pick_scale((0.75,), epoch, 3) for epoch in (1, 2, 3)] == [0.75] * 3
    assert [pick_scale((0.1, 0.2, 0.3), epoch, 3) for epoch in (1, 2, 3)] == [0.1, 0.2, 0.3]


def test_without_mixing_there_are_no_transforms():
    assert build_transforms(OFF, 1, 1) == []
    rising = replace(OFF, train_scales=(0.5, 1.0))
    assert len(build_transforms(rising, 2, 1)) == 1 and build_transforms(rising, 2, 2) == []


@pytest.mark.parametrize(
    "changes", [{"mixup": 0.2}, {"cutmix": 1.0}, {"multi_scale": 0.5}, {"train_scales": (0.75,)}], ids=str
)
def test_batches_stay_in_the_layout_of_convolutions(changes):
    """The channels come last in memory, as the loader's do."""
    pixels = torch.randint(0, 256, (6, 20, 30, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    batch = make_batch()._replace(images=pixels).to(torch.device("cpu"))
    (transform,) = build_transforms(replace(OFF, **changes), 1, 1)
    changed = transform(batch, np.random.default_rng(0)).images
    assert not torch.equal(changed, batch.images)
    assert changed.is_contiguous(memory_format=torch.channels_last)


def test_each_batch_gets_either_mixup_or_cutmix(monkeypatch):
    called = []
    for name in ("mixup", "cutmix"):
        monkeypatch.setattr(
            mixing, name, lambda batch, generator, alpha, name=name: called.append((name, alpha))
        )
    (transform,) = build_transforms(replace(OFF, mixup=0.2, cutmix=1.0), 1, 1)
    for seed in range(40):
        transform(make_batch(), np.random.default_rng(seed))
    assert set(called) == {("mixup", 0.2), ("cutmix", 1.0)}
    assert 10 < called.count(("mixup", 0.2)) < 30


def test_sizes_that_a_network_must_take():
    assert list_sizes(32, 48, 0, [1], 1) == [(32, 48)]
    assert list_sizes(100, 200, 0.15, [1], 1) == [(100, 200), (85, 170), (115, 230), (99, 199)]
    assert list_sizes(96, 192, 0, [0.5, 0.75, 1], 32) == [(96, 192), (64, 96), (64, 128)]
    assert list_sizes(96, 96, 0.3, [0.75], 8) == [(96, 96), (72, 72), (48, 48)]


@pytest.mark.slow
def test_the_benchmark_of_sizes_runs(tiny_images, place, capsys, monkeypatch):
    """On a tiny network: a line for each row and seed, then the mean of each row."""
    from benchmarks import sizes  # here: it imports stages, which set what torch reads on import

    monkeypatch.setattr(sizes, "ROWS", {sizes.FULL: "[1.0]", "smaller": "[0.5,1.0]"})
    options = [
        "--arch",
        "timm/test_resnet",
        "--size",
        "16",
        "--epochs",
        "2",
        "--seeds",
        "1",
        "--batch-size",
        "8",
    ]
    sizes.main([str(tiny_images), "none", *options])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines[:2]] == ["seed 1", "seed 1"] and len(lines) == 10
    assert lines[2].endswith("CPU time 1.000 of that of full size") and "smaller" in lines[6]


def test_the_same_generator_gives_the_same_batch():
    settings = replace(OFF, mixup=0.4, cutmix=1.0, multi_scale=0.15)
    results = []
    for _ in range(2):
        batch, generator = make_batch(), np.random.default_rng([1, 2, 3])
        for transform in build_transforms(settings, 1, 1):
            batch = transform(batch, generator)
        results.append(batch)
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
