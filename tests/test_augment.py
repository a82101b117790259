"""Policies keep the size, are seeded and match torchvision's; and what each operation of `custom` does."""

import dataclasses

import numpy as np
import pytest
import torch
from conftest import LIGHT
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from src.batches import custom
from src.batches.augment import BASES, POLICIES, OneByOne, augment_each, build_augment


@pytest.fixture
def pictures():
    """Four pictures of 32 x 48 pixels: smooth colours and a bright square."""
    across = np.linspace(40, 200, 48)[None, :, None] * np.array([1.0, 0.8, 0.6])
    pictures = np.repeat(np.broadcast_to(across, (32, 48, 3))[None], 4, axis=0).astype(np.uint8)
    pictures[:, 8:16, 8:16] = 250
    return pictures


@pytest.mark.parametrize("policy", list(POLICIES))
@pytest.mark.parametrize("erase", [0, 1])
def test_every_policy_depends_on_seed_epoch_and_picture(pictures, policy, erase):
    augment = build_augment(dataclasses.replace(LIGHT, policy=policy, erase=erase), 32, 48)
    whole = augment_each(pictures, augment, 1, 5, [0, 1, 2, 3])
    assert whole.dtype == torch.uint8 and whole.shape == (4, 3, 32, 48)
    assert torch.equal(augment_each(pictures[[2, 0]], augment, 1, 5, [2, 0]), whole[[2, 0]])
    changed = not torch.equal(augment_each(pictures, augment, 1, 6, [0, 1, 2, 3]), whole)
    assert changed == (policy != "none" or erase == 1)


BILINEAR = InterpolationMode.BILINEAR
PUBLISHED = {
    "autoaugment": v2.AutoAugment(interpolation=BILINEAR),
    "randaugment": v2.RandAugment(num_ops=3, magnitude=12, interpolation=BILINEAR),
    "trivialaugment": v2.TrivialAugmentWide(interpolation=BILINEAR),
}
LIGHT_OF_48 = dataclasses.replace(LIGHT, policy="light")


class Single:
    """An augmentation of a single picture (h, w, 3), with torch's global generator as it is."""

    def __init__(self, augment):
        self.augment = augment

    def __call__(self, picture):
        if isinstance(self.augment, OneByOne):
            return self.augment.transform(picture)
        maps = [one.draw(*picture.shape[:2]) for one in self.augment.warps]
        drawn = [torch.tensor([one], dtype=torch.float64) for one in maps]
        return self.augment.map(torch.from_numpy(picture)[None], *drawn)[0].permute(1, 2, 0).numpy()


REFERENCES = {  # of a basis
    "flip": [v2.ToPILImage(), v2.RandomHorizontalFlip(0.5)],
    "light": [Single(build_augment(LIGHT_OF_48, 32, 48)), v2.ToPILImage()],
    "crop": [
        v2.ToImage(),
        v2.RandomResizedCrop((32, 48), scale=(0.3, 1.0)),
        v2.RandomHorizontalFlip(0.5),
        v2.ToPILImage(),
    ],
}


def draw_views(augment, picture, count=30):
    """(count, H, W, 3), each with a seed of its own."""
    views = []
    for seed in range(count):
        torch.manual_seed(seed)
        views.append(np.asarray(augment(picture)))
    return np.stack(views)


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("policy", PUBLISHED)
def test_a_published_policy_after_its_basis_matches_torchvision(pictures, policy, basis):
    """The same random draws give the same pixels."""
    settings = dataclasses.replace(LIGHT, policy=policy, basis=basis, min_area=0.3, num_ops=3, magnitude=12)
    reference = v2.Compose([*REFERENCES[basis], PUBLISHED[policy]])
    views = draw_views(Single(build_augment(settings, 32, 48)), pictures[0])
    assert np.array_equal(views, draw_views(reference, pictures[0]))


@pytest.mark.parametrize("policy", ["randaugment", "trivialaugment"])
def test_what_moves_in_from_outside_is_black(policy):
    """One operation on a grey picture leaves a single colour unless it moves pixels."""
    settings = dataclasses.replace(LIGHT, policy=policy, basis="flip", flip=0, num_ops=1, magnitude=20)
    views = draw_views(Single(build_augment(settings, 32, 32)), np.full((32, 32, 3), 100, np.uint8), 100)
    moved = views[views.min(axis=(1, 2, 3)) != views.max(axis=(1, 2, 3))]
    assert len(moved) > 20 and (moved.min(axis=(1, 2, 3)) == 0).all() and moved.max() == 100


def test_erasing_draws_a_black_rectangle(pictures):
    augment = build_augment(dataclasses.replace(LIGHT, policy="none", erase=1), 32, 48)
    before = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    after = augment_each(pictures, augment, 1, 1, [0, 1, 2, 3])
    for picture, erased in zip(before, after, strict=True):
        rows, columns = (picture != erased).any(dim=0).nonzero().T
        box = erased[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert not box.any() and 0.01 < box[0].numel() / erased[0].numel() < 0.4


def test_a_crop_matches_torchvision_within_a_grey_level(pictures):
    """The same random draws, cropped and resized by Pillow, and flipped with the given probability."""
    settings, mirrored = dataclasses.replace(LIGHT, policy="crop", min_area=0.3, flip=0.5), 0
    reference = v2.RandomResizedCrop((20, 24), scale=(0.3, 1.0))
    for seed in range(40):
        torch.manual_seed(seed)
        ours = Single(build_augment(settings, 20, 24))(pictures[0]).astype(int)
        torch.manual_seed(seed)
        theirs = np.asarray(reference(Image.fromarray(pictures[0]))).astype(int)
        assert ours.shape == (20, 24, 3)
        flipped = np.abs(ours - theirs[:, ::-1]).max() <= 1
        assert flipped or np.abs(ours - theirs).max() <= 1
        mirrored += flipped
    assert 10 < mirrored < 30


def test_pictures_packed_larger_get_the_size_of_the_network(pictures):
    for policy in POLICIES:
        augment = build_augment(dataclasses.replace(LIGHT, policy=policy), 16, 24)
        assert augment_each(pictures, augment, 1, 1, [0, 1, 2, 3]).shape == (4, 3, 16, 24)


OPERATIONS = (custom.flip, custom.crop, custom.rotate, *custom.CHANGES)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
@pytest.mark.parametrize("size", [(8, 8), (33, 20), (64, 48)])
def test_operations_keep_size_and_type_and_have_an_effect(operation, size):
    torch.manual_seed(0)
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    results = [operation(image) for _ in range(20)]
    assert all(result.shape == image.shape and result.dtype == torch.uint8 for result in results)
    assert any(not torch.equal(result, image) for result in results)


def measure_means(operation, image, count=200):
    torch.manual_seed(0)
    return torch.stack([operation(image).float().mean(dim=(1, 2)) for _ in range(count)])  # (count, 3)


def test_colour_operations_stay_in_their_ranges():
    grey = torch.full((3, 16, 16), 100, dtype=torch.uint8)
    bright = measure_means(custom.change_brightness, grey)
    assert 49 <= bright.min() < 60 and 140 < bright.max() <= 151
    strong = measure_means(custom.change_contrast, grey)  # 127.5 + (100 - 127.5) x 0.6 to 1.4
    assert 88.9 <= strong.min() < 92 and 108 < strong.max() <= 111.1
    apart = (strong.max(dim=1).values - strong.min(dim=1).values) > 0
    assert 0.35 < apart.double().mean() < 0.65  # half of the time, each channel has its own factor
    red = torch.tensor([200, 50, 50], dtype=torch.uint8).view(3, 1, 1).expand(3, 16, 16)
    vivid = measure_means(custom.change_saturation, red)  # grey 94.8, red 105.2 above it, times 0.5 to 1.5
    assert 146 < vivid[:, 0].min() < 152 and 247 < vivid[:, 0].max() <= 253
    turned = measure_means(
        custom.turn_hue, red
    )  # a twentieth of the circle: 18 of 60 degrees to yellow or magenta
    assert (turned[:, 0] - 200).abs().max() <= 1 and 85 < turned[:, 1:].max() <= 50 + 150 * 18 / 60 + 3
    assert (measure_means(custom.sharpen, grey, 20) - 100).abs().max() <= 1


def test_blurs_keep_the_mean_and_lower_the_contrast():
    torch.manual_seed(0)
    noise = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    for operation in (custom.soften, custom.smear):
        for _ in range(30):
            blurred = operation(noise).float()
            assert abs(blurred.mean() - noise.float().mean()) < 3
            assert blurred.std() <= noise.float().std() + 1


def test_noise_is_weak():
    torch.manual_seed(0)
    grey = torch.full((3, 64, 64), 100, dtype=torch.uint8)
    for _ in range(50):
        noisy = custom.add_noise(grey).float()
        if set(noisy.unique().tolist()) <= {0, 100, 255}:
            assert (noisy != 100).any(dim=0).double().mean() < 0.04
        else:
            assert noisy.std() < 0.055 * 255


def test_rotation_and_crop_fill_with_black_and_crop_at_most_a_tenth():
    white = torch.full((3, 40, 40), 255, dtype=torch.uint8)
    torch.manual_seed(0)
    turned = torch.stack([custom.rotate(white) for _ in range(20)])
    assert (turned[:, :, 20, 20] == 255).all() and turned[:, :, 0, 0].min() == 0
    line = torch.zeros(3, 101, 101, dtype=torch.uint8)
    line[:, 50, :] = 255
    for _ in range(50):  # a line across the middle ends at most 50 tan 20 degrees above or below it
        rows = custom.rotate(line)[0, :, 96:].amax(dim=1).nonzero().flatten()
        assert (rows - 50).abs().max() <= 50 * np.tan(np.radians(20)) + 2
    ramp = torch.arange(100, dtype=torch.uint8).expand(3, 100, 100).contiguous()
    for _ in range(30):
        cut = custom.crop(ramp)
        assert cut[0, 50, 0] <= 11 and cut[0, 50, -1] >= 88


def test_rates_of_custom():
    """Flip, crop and rotation half of the time each; on average 1.5 of eight changes are chosen."""
    calls = []
    picture = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("flip", "crop", "rotate"):
            patch.setattr(custom, name, lambda image, name=name: calls.append(name) or image)
        changes = tuple(
            lambda image, number=number: calls.append(number) or image
            for number in range(len(custom.CHANGES))
        )
        patch.setattr(custom, "CHANGES", changes)
        torch.manual_seed(0)
        for _ in range(2000):
            custom.Custom()(picture)
    rates = {name: calls.count(name) / 2000 for name in ("flip", "crop", "rotate", *range(8))}
    assert all(0.45 < rates[name] < 0.55 for name in ("flip", "crop", "rotate"))
    assert all(0.12 < rates[number] < 0.18 for number in range(8))  # 1.5 x 0.8 / 8
