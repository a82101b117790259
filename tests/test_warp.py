"""Maps of whole batches: drawn as by torchvision, exact from pixel to pixel, in any batch as alone."""

import dataclasses
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import LIGHT, ROOT
from PIL import Image
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional

from src.batches import warp
from src.batches.augment import Together, augment_each, build_augment
from src.batches.warp import Affine, Crop, Erase, crop_each, crop_together
from src.machine.seeding import derive_seeds

SIZES = [(32, 32), (37, 50), (10, 90), (90, 10)]  # height, width; of the last two a crop may find no place


def draw(transform, height, width, seed):
    torch.manual_seed(seed)
    return transform.draw(height, width), torch.rand(()).item()  # and where the generator is then


@pytest.mark.parametrize("height, width", SIZES)
def test_a_map_is_drawn_as_by_torchvision(height, width):
    """Its inverse takes the picture's centre and two more points to where the published parameters say."""
    reference = v2.RandomAffine(20, translate=(0.1, 0.1), scale=(0.7, 1.3))
    picture, mirrored = torch.zeros(3, height, width), 0
    for seed in range(200):
        drawn, after = draw(Affine(20, 0.1, 0.3, 0.5, height, width), height, width, seed)
        torch.manual_seed(seed)
        params = reference.make_params([picture])
        flipped = bool(torch.rand(1) < 0.5)
        assert after == torch.rand(()).item()
        angle, scale = math.radians(params["angle"]), params["scale"]
        cos, sin = scale * math.cos(angle), scale * math.sin(angle)
        for x, y in ((0, 0), (10, 0), (0, 10)):  # from the centre
            across = width / 2 + params["translate"][0] + cos * x - sin * y
            down = height / 2 + params["translate"][1] + sin * x + cos * y
            across = width - across if flipped else across
            found = np.reshape(drawn, (2, 3)) @ (across, down, 1)
            assert found == pytest.approx((width / 2 + x, height / 2 + y), abs=1e-4)
        mirrored += flipped
    assert 70 < mirrored < 130


@pytest.mark.parametrize("height, width", SIZES)
def test_a_crop_is_drawn_as_by_torchvision(height, width):
    reference = v2.RandomResizedCrop((32, 32), scale=(0.2, 1.0))
    for seed in range(200):
        (*box, flipped), after = draw(Crop(0.2, 0.5, 32, 32), height, width, seed)
        torch.manual_seed(seed)
        assert box == [*reference.make_params([torch.zeros(3, height, width)]).values()]
        assert flipped == bool(torch.rand(1) < 0.5) and after == torch.rand(()).item()


@pytest.mark.parametrize("height, width", SIZES)
def test_a_rectangle_is_drawn_and_erased_as_by_torchvision(height, width):
    reference, erased = v2.RandomErasing(0.7), 0
    pictures = torch.randint(1, 256, (100, height, width, 3), dtype=torch.uint8)
    drawn = [draw(Erase(0.7), height, width, seed)[0] for seed in range(100)]
    found = Erase(0.7).apply(pictures, torch.tensor(drawn, dtype=torch.float64))
    for seed, (before, after) in enumerate(zip(pictures, found, strict=True)):
        torch.manual_seed(seed)
        assert torch.equal(after.permute(2, 0, 1), reference(before.permute(2, 0, 1)))
        erased += not torch.equal(before, after)
    assert 50 < erased < 90


def smooth(height, width):
    """A picture uint8 (height, width, 3) without edges."""
    coarse = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("height, width", SIZES)
def test_a_map_matches_torchvision_within_a_grey_level(height, width):
    """The same bilinear sampling, padded with black, of smooth colours and of noise."""
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    affine = Affine(30, 0.1, 0.2, 0.0, height, width)
    reference = v2.RandomAffine(30, translate=(0.1, 0.1), scale=(0.8, 1.2))
    for pixels in (smooth(height, width), noise):
        images = torch.from_numpy(pixels.copy())[None]
        for seed in range(20):
            drawn, _ = draw(affine, height, width, seed)
            ours = affine.apply(images, torch.tensor([drawn], dtype=torch.float64))[0].permute(2, 0, 1)
            torch.manual_seed(seed)
            params = reference.make_params([images[0].permute(2, 0, 1)])
            bilinear = InterpolationMode.BILINEAR
            theirs = functional.affine(images[0].permute(2, 0, 1), **params, interpolation=bilinear)
            off = (ours.int() - theirs.int()).abs()
            assert off.max() <= 1 and off.double().mean() < 0.02


def map_pixels(pixels, *numbers):
    height, width, _ = pixels.shape
    drawn = torch.tensor([numbers], dtype=torch.float64)
    return Affine(0, 0, 0, 0, height, width).apply(torch.from_numpy(pixels.copy())[None], drawn)[0].numpy()


@pytest.mark.parametrize("side", [7, 32, 224])
def test_a_map_onto_pixels_is_exact(side):
    pixels = np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)
    assert np.array_equal(map_pixels(pixels, 1, 0, 0, 0, 1, 0), pixels)
    assert np.array_equal(map_pixels(pixels, -1, 0, side, 0, 1, 0), pixels[:, ::-1])
    assert np.array_equal(map_pixels(pixels, 0, -1, side, 1, 0, 0), np.rot90(pixels))
    assert np.array_equal(map_pixels(pixels, -1, 0, side, 0, -1, side), np.rot90(pixels, 2))
    shifted = np.zeros_like(pixels)
    shifted[2:, :-3] = pixels[:-2, 3:]
    assert np.array_equal(map_pixels(pixels, 1, 0, 3, 0, 1, -2), shifted)


@pytest.mark.parametrize("flip", [0, 1])
def test_light_without_changes_is_the_picture_or_its_mirror_image(flip):
    pictures = np.random.default_rng(1).integers(0, 256, (5, 33, 50, 3), dtype=np.uint8)
    settings = dataclasses.replace(LIGHT, rotate=0, shift=0, scale=0, flip=flip)
    found = augment_each(pictures, build_augment(settings, 33, 50), 1, 1, range(5))
    expected = pictures[:, :, ::-1] if flip else pictures
    assert np.array_equal(found.permute(0, 2, 3, 1).numpy(), expected)


@pytest.mark.parametrize("size", [(48, 48), (20, 31), (64, 16)])
def test_crops_match_an_antialiased_resize(size):
    """One by one as on a CPU, and all at once as on a GPU: within a grey level of torch's own, in floats."""
    pictures = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (30, 48, 60, 3), dtype=np.uint8))
    drawn = torch.tensor([draw(Crop(0.1, 0.5, *size), 48, 60, seed)[0] for seed in range(30)]).double()
    each, together = (crop(pictures, drawn, size).int() for crop in (crop_each, crop_together))
    for picture, box, *found in zip(pictures, drawn.int().tolist(), each, together, strict=True):
        top, left, height, width, flip = box
        part = picture[top : top + height, left : left + width].permute(2, 0, 1)[None].float()
        whole = F.interpolate(part, size, mode="bilinear", antialias=True)[0].permute(1, 2, 0)
        whole = whole.flip(1) if flip else whole
        assert all((one - whole).abs().max() <= 1.01 for one in found)
        assert (found[1] - whole).abs().max() <= 0.51  # rounded alone


@pytest.mark.parametrize("policy", ["light", "crop"])
@pytest.mark.parametrize("side", [32, 24])
def test_a_picture_is_the_same_alone_in_any_batch_and_with_any_number_of_threads(policy, side, monkeypatch):
    """To the last bit, of pictures packed with a margin too."""
    pictures = np.random.default_rng(1).integers(0, 256, (21, 32, 32, 3), dtype=np.uint8)
    settings = dataclasses.replace(LIGHT, policy=policy, erase=0.5, flip=0.5)
    augment, numbers = build_augment(settings, side, side), list(range(21))
    whole = augment_each(pictures, augment, 3, 4, numbers)
    assert whole.shape == (21, 3, side, side)
    order = [17, 3, 9, 0, 20]
    assert torch.equal(augment_each(pictures[order], augment, 3, 4, order), whole[order])
    for number in order:
        assert torch.equal(augment_each(pictures[[number]], augment, 3, 4, [number])[0], whole[number])
    before = torch.get_num_threads()
    try:
        for threads, cached in ((1, 1), (2, 5000), (3, 2**20)):
            torch.set_num_threads(threads)
            monkeypatch.setattr(warp, "CACHED", cached)
            assert torch.equal(augment_each(pictures, augment, 3, 4, numbers), whole)
    finally:
        torch.set_num_threads(before)


def test_what_a_gpu_is_given_suffices():
    """The loader hands over the pictures as they are; mapped here, they are those of the CPU."""
    pictures = np.random.default_rng(1).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    settings = dataclasses.replace(LIGHT, erase=0.5)
    augment = build_augment(settings, 24, 24, torch.device("cuda"))
    assert isinstance(augment, Together)
    parts = augment.start(pictures, 1, 2, range(6))
    assert np.array_equal(parts[0].numpy(), pictures)
    here = augment_each(pictures, build_augment(settings, 24, 24), 1, 2, range(6))
    assert torch.equal(augment.map(*parts), here)


def test_seeds_of_many_are_numpys():
    generator = np.random.default_rng(0)
    for seed, epoch in ((0, 0), (1, 5), (2**32 - 1, 77), (123456, 10**6)):
        numbers = [0, 1, 2**32 - 1, *generator.integers(0, 2**32, 50).tolist()]
        states = [np.random.SeedSequence((seed, epoch, number)).generate_state(1) for number in numbers]
        assert derive_seeds(seed, epoch, numbers) == [int(state[0]) for state in states]


@pytest.mark.slow
def test_torchvision_is_imported_only_by_the_policies_that_need_it():
    code = "import sys; import src.batches.augment, src.batches.data; print('torchvision' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"
