"""Heat maps against laws, the paper's formula by autograd, and a network whose object is in a known place."""

from pathlib import Path

import matplotlib.figure
import numpy as np
import pytest
import torch
from conftest import draw_tiny_images, edit_params
from PIL import Image
from torch import nn

import tools.heatmaps
from src.ground.errors import UserError
from src.networks.checkpoint import Facts, save_weights
from src.networks.last_map import find_cut
from src.networks.libraries import build_model
from src.networks.network import Input, Network
from src.pictures.manifest import read_manifest
from src.results.heatmaps import METHODS
from stages import check_images

AVERAGED = ["resnet18", "mobilenet_v2", "timm/resnet10t", "timm/test_efficientnet", "timm/regnetx_002"]
FAMILIES = {
    "resnet18": ("layer4", (512, 4, 4)),
    "mobilenet_v3_small": ("features", (576, 4, 4)),
    "densenet121": ("features", (1024, 4, 4)),
    "squeezenet1_1": ("classifier.0", (512, 7, 7)),
    "swin_t": ("permute", (768, 4, 4)),
    "timm/resnest14d": ("forward_features", (2048, 4, 4)),
    "timm/test_convnext": ("forward_features", (64, 4, 4)),
    "timm/test_mambaout": ("forward_features", (64, 4, 4)),
    "lite0_short": ("forward_features", (112, 8, 8)),
}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def see(arch, size=128, number=3):
    network = build_model(arch, 5, "x").eval()
    cut = find_cut(network, (size, size), arch)
    images = torch.rand(number, 3, size, size)
    return network, cut, cut(images), images


@pytest.mark.parametrize("arch", FAMILIES)
def test_the_cut_leaves_the_logits_as_they_are(arch):
    network, cut, seen, images = see(arch)
    place, shape = FAMILIES[arch]
    assert (cut.place.startswith(place), tuple(seen.map.shape)) == (True, (3, *shape))
    assert torch.equal(seen.logits.detach(), network(images).detach())
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("arch", AVERAGED)
def test_grad_cam_of_an_averaged_map_is_the_relu_of_cam(arch):
    """R. Selvaraju et al., section 3: for a mean and one linear layer both are the same, up to a factor."""
    _, cut, seen, _ = see(arch)
    classes = torch.tensor([4, 0, 2])
    cam, grad_cam = (METHODS[name](cut, seen, classes) for name in ("cam", "grad-cam"))
    cells = seen.map.shape[2] * seen.map.shape[3]
    assert grad_cam.amax() > 0
    assert torch.allclose(
        grad_cam * cells, cam.relu(), rtol=1e-3, atol=1e-5 * float(cam.detach().abs().max())
    )


def test_cam_sums_to_the_logit():
    """B. Zhou et al., equation 2: the mean of the map, and the bias, are the class's logit."""
    network, cut, seen, _ = see("resnet18")
    classes = torch.tensor([1, 3, 3])
    cam = METHODS["cam"](cut, seen, classes)
    expected = seen.logits.gather(1, classes[:, None])[:, 0] - network.net.fc.bias[classes]
    assert torch.allclose(cam.mean(dim=(1, 2)), expected, atol=1e-5)


@pytest.mark.parametrize("arch", ["mobilenet_v3_small", "timm/test_vit", "vgg11"])
def test_cam_is_refused_where_it_is_not_defined(arch):
    _, cut, seen, _ = see(arch, build_model(arch, 5, "x").expected.height if "vit" in arch else 64)
    with pytest.raises(UserError, match=r"^cam: needs a network whose last map is averaged"):
        METHODS["cam"](cut, seen, torch.zeros(3, dtype=torch.long))


class Tiny(nn.Module):
    """Two channels of 4 x 4 cells, their mean, one linear layer."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3, padding=1)
        self.fc = nn.Linear(2, 3)

    def forward_features(self, images):
        return self.conv(images)

    def forward_head(self, features):
        return self.fc(features.mean(dim=(2, 3)))

    def forward(self, images):
        return self.forward_head(self.forward_features(images))


def test_grad_cam_plus_plus_is_the_papers_formula_by_derivatives_of_the_score():
    """Equations 10 to 19 for Y = exp(logit), with every derivative by autograd, in float64."""
    network = Network(Tiny(), Input((0.0,) * 3, (1.0,) * 3, 4, 4, "bilinear"), ("fc",)).double()
    cut, image, label = find_cut(network.float(), (4, 4), "tiny"), torch.rand(1, 3, 4, 4).double(), 0
    nn.init.uniform_(network.net.conv.weight)
    network.double()
    found = METHODS["grad-cam++"](cut, cut(image), torch.tensor([label]))[0]
    flat = network.net.forward_features(image).detach().flatten().requires_grad_()
    score = network.net.forward_head(flat.view(1, 2, 4, 4))[0, label].exp()
    (first,) = torch.autograd.grad(score, flat, create_graph=True)
    second = [
        torch.autograd.grad(one, flat, create_graph=True)[0][number] for number, one in enumerate(first)
    ]
    third = torch.stack([torch.autograd.grad(one, flat, retain_graph=True)[0][number]
                         for number, one in enumerate(second)]).view(2, 16)  # fmt: skip
    first, second, maps = (
        first.detach().view(2, 16),
        torch.stack(second).detach().view(2, 16),
        flat.view(2, 16),
    )
    alpha = second / (2 * second + maps.sum(dim=1, keepdim=True) * third)
    expected = ((alpha * first.relu()).sum(dim=1)[:, None] * maps).sum(dim=0).relu().view(4, 4).detach()
    score = score.detach()
    assert expected.max() > 0 and torch.allclose(found * score, expected, rtol=1e-9)


@pytest.mark.slow
def test_the_peak_is_where_the_object_is():
    """Coloured squares in one of four corners of noise; the colour is the class."""
    network = build_model("timm/test_resnet", 2, "x")
    optimizer = torch.optim.Adam(network.parameters(), 0.005)
    for _ in range(60):
        images, labels, _ = draw_squares(32)
        loss = nn.functional.cross_entropy(network.train()(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    images, labels, corners = draw_squares(64)
    cut = find_cut(network, (64, 64), "x")
    seen = cut(images)
    assert (seen.logits.argmax(dim=1) == labels).float().mean() > 0.95
    for method, find in METHODS.items():
        if method != "cam":
            maps = find(cut, seen, labels)
            quarter = nn.functional.adaptive_max_pool2d(maps[:, None], 2).flatten(1).argmax(dim=1)
            assert (quarter == corners).float().mean() > 0.9, method


def draw_squares(number):
    """Images (number, 3, 64, 64), the class of the square, and its corner in reading order."""
    images, labels = torch.rand(number, 3, 64, 64) * 0.5, torch.randint(2, (number,))
    corners = torch.randint(4, (number,))
    for image, label, corner in zip(images, labels, corners, strict=True):
        top, left = (int(side) * 40 + 4 for side in divmod(int(corner), 2))
        image[int(label) * 2, top : top + 16, left : left + 16] = 1
    return images, labels, corners


@pytest.mark.parametrize("arch, size", [("vit_b_16", 224), ("timm/test_resnet", 4)])
def test_a_network_without_a_map_is_refused_by_name(arch, size):
    network = build_model(arch, 3, "x")
    with pytest.raises(UserError) as error:
        find_cut(network, (size, size), arch)
    assert str(error.value).startswith(f"{arch}: has no last map of features") and "\n" not in str(
        error.value
    )


@pytest.mark.parametrize("size", [(128, 256), (160, 96)])
@pytest.mark.slow
def test_pictures_that_are_not_square(size):
    for arch in ("resnet18", "swin_t", "timm/test_mambaout"):
        network = build_model(arch, 3, "x")
        shape = find_cut(network, size, arch)(torch.rand(1, 3, *size)).map.shape
        assert shape[2] / shape[3] == size[0] / size[1] and shape[1] >= 48, arch


@pytest.fixture
def odd(place, tmp_path):
    """Tiny pictures, one class and a file of odd names, and an untrained network of sigmoids."""
    root = draw_tiny_images(tmp_path / "pictures", 8)
    for split in ("train", "val", "test"):
        (root / split / "red").rename(root / split / "US$")
    first = min((root / "test/US$").iterdir())
    first.rename(first.with_name("a\u202egnp.$b$.png"))
    edit_params(place, data__root=str(root), threads=1)
    check_images.main()
    classes, half = read_manifest("test").classes, (0.5,) * 3
    facts = Facts("mobilenet_v3_small", "bce", classes, 128, 128, half, half, "", "", "", "cpu")
    edit_params(place, images__height=128, images__width=128)
    check_images.main()
    save_weights(Path("a b.safetensors"), build_model(facts.arch, len(classes), "x").eval(), facts)
    return place


def run_tool(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["heatmaps", *words])
    tools.heatmaps.main()


@pytest.mark.slow
def test_texts_of_the_tool_are_drawn_as_they_are(odd, monkeypatch):
    """Dollars are escaped once, overrides of the direction are seen, probabilities are over their sum."""
    titles, save = [], matplotlib.figure.Figure.savefig

    def record(figure, *words, **options):
        titles.extend(axis.get_title() for axis in figure.axes)
        save(figure, *words, **options)

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", record)
    run_tool(monkeypatch, "--weights", "a b.safetensors", "--pick", "unsure", "--pictures", "64")
    assert np.asarray(Image.open(".scratch/heatmaps/a b-test-grad-cam.png")).any()
    rows = [titles[start : start + 3] for start in range(0, len(titles), 3)]
    assert r"test/US\$/a\u202egnp.\$b\$.png" in [path for path, _, _ in rows]
    owns = [own for path, _, own in rows if "US" in path]
    assert owns and all(own.startswith(r"US\$ ") for own in owns)
    sures = [int(told.rpartition(" ")[2].rstrip("%")) for _, told, _ in rows]
    assert sures == sorted(sures) and 33 <= sures[0] < 50  # an untrained sigmoid is near a half


@pytest.mark.parametrize(
    "words, message",
    [
        (["--weights", "a b.safetensors", "--method", "cam"], "a b.safetensors: cam: needs a network"),
        (["--weights", "data"], r"data: a folder, not a file \(give the path of a .safetensors file"),
        (["--weights", "none"], r"none: no such file \(give the path"),
        *(
            (["--pictures", number], f".*--pictures: must be a whole number from 1 to 64, got '{number}' ")
            for number in ("0", "65", "-1", "1.5", "x")
        ),
    ],
)
@pytest.mark.slow
def test_the_tool_names_what_is_wrong(odd, monkeypatch, words, message):
    with pytest.raises(UserError, match=f"^{message}"):
        run_tool(monkeypatch, *words)
