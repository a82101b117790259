"""Networks by name: outputs, normalisation, and the sizes they take."""

import warnings

import pytest
import safetensors.torch
import torch
import torchvision

from src.batches.mixing import list_sizes
from src.ground.errors import UserError
from src.ground.names import ALIASES, find_registered
from src.networks.checks import check_sizes
from src.networks.libraries import build_model
from tools.models import build_without_values


@pytest.mark.parametrize(
    "arch", ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "timm/test_vit", "timm/resnet10t"]
)
def test_models_of_both_libraries_give_logits(arch):
    model = build_model(arch, 7, "student").eval()
    size = 160 if arch == "timm/test_vit" else 64
    assert model(torch.rand(2, 3, size, size)).shape == (2, 7)


def test_googlenet_has_one_output_in_training():
    model = build_model("googlenet", 3, "student").train()
    assert model(torch.rand(2, 3, 64, 64)).shape == (2, 3)


def test_the_first_layer_normalises():
    model = build_model("resnet18", 2, "student")
    image = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    assert model.normalize(image).abs().max() < 1e-6
    assert model.normalize(
        image + torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    ).flatten().tolist() == pytest.approx([1] * 3)


def test_a_network_must_take_every_size():
    check_sizes(build_model("timm/test_resnet", 3, "x"), list_sizes(32, 48, 0.15, [1], 1), 3, "student")
    vit = build_model("timm/test_vit", 3, "x")
    check_sizes(vit, list_sizes(160, 160, 0, [1], 1), 3, "student")
    several = "change multi_scale, train_scales or images.height and images.width"
    for model, sizes, refused, remedy in (
        (vit, list_sizes(160, 160, 0.1, [1], 1), "159 x 159", several),  # no multiple of its patch size
        (vit, list_sizes(160, 160, 0, [0.55, 1], 1), "88 x 88", several),
        (build_model("timm/vit_tiny_patch16_224", 3, "x"), list_sizes(32, 32, 0, [1], 1), "32 x 32", "224"),
        (build_model("alexnet", 3, "x"), list_sizes(32, 64, 0, [1], 1), "32 x 64", "96"),
        (build_model("alexnet", 3, "x"), list_sizes(64, 64, 0.5, [1], 1), "32 x 32", several),
    ):
        with pytest.raises(UserError) as caught:
            check_sizes(model, sizes, 3, "student")
        start, remedies = str(caught.value).rsplit("(", 1)
        assert start.startswith(f"params.yaml: student.arch: the network cannot take pictures of {refused}: ")
        if remedy != several:
            remedy = f"set images.height and images.width to {remedy}"
        assert remedies == f"{remedy}, or use another network)"


def test_a_network_must_have_a_classifier():
    """Some of timm's networks are encoders, whatever the requested number of classes."""
    encoder = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 4, 4), torch.nn.Flatten(2))
    message = (
        r"^params.yaml: student.arch: the network's output in evaluation has shape \(1, 5, 64\), not \(1, 3\)"
    )
    with pytest.raises(UserError, match=message):
        check_sizes(encoder, [(32, 32)], 3, "student")


def test_an_unknown_tag_of_weights_is_refused():
    with pytest.raises(UserError, match="^params.yaml: student.arch: timm/resnet10t.nosuch cannot be built"):
        build_model("timm/resnet10t.nosuch", 3, "student")


# names

RESNEST_FAST = {  # M parameters with 1000 classes, from the ResNeSt authors' table of variants
    "resnest50_fast_1s1x64d": 26.3, "resnest50_fast_2s1x64d": 27.5, "resnest50_fast_4s1x64d": 31.9,
    "resnest50_fast_1s2x40d": 25.9, "resnest50_fast_2s2x40d": 26.9, "resnest50_fast_4s2x40d": 30.4,
    "resnest50_fast_1s4x24d": 25.7,
}  # fmt: skip
MISSION = (
    "mobilenetv3_small mobilenetv3_large efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 "
    "efficientnet_b4 efficientnet_b5 efficientnet_b6 efficientnet_b7 efficientnet_b8 resnest50 resnest101 "
    "resnest200 resnest269"
).split()
HUGE = 60e6  # parameters; larger networks are built, but take no step
SIZES = range(32, 545, 32)  # pixels per side, multiples of most networks' stride


def count_millions(net):
    return sum(parameter.numel() for parameter in net.parameters()) / 1e6


@pytest.mark.parametrize("arch", RESNEST_FAST)
def test_resnest_fast_has_the_published_number_of_parameters(arch):
    assert count_millions(build_without_values(arch, 1000)) == pytest.approx(RESNEST_FAST[arch], abs=0.1)


@pytest.mark.slow
def test_aliases_build_their_networks():
    for alias, other, wanted in (
        ("mobilenetv3_small", "mobilenet_v3_small", 2.54),
        ("efficientnet_b8", "timm/tf_efficientnet_b8", 87.4),
        ("resnest50", "timm/resnest50d", 27.5),
        ("resnest269", "timm/resnest269e", 110.9),
    ):
        one, two = build_without_values(alias, 1000), build_without_values(other, 1000)
        assert one.state_dict().keys() == two.state_dict().keys()
        assert count_millions(one) == pytest.approx(wanted, abs=0.05)


def test_mean_and_std_match_the_weights():
    for arch, mean, std in (
        ("resnet18", 0.485, 0.229),
        ("efficientnet_v2_l", 0.5, 0.5),  # the only one of torchvision's that differs from ImageNet's
        ("inception_v3", 0.5, 0.5),  # its weights were TensorFlow's
        ("efficientnet_b8", 0.5, 0.5),  # trained with AdvProp
        ("timm/tf_efficientnet_b8.ra_in1k", 0.485, 0.229),  # trained without
        ("timm/tf_efficientnet_lite0", 0.5, 0.5),
    ):
        config = build_without_values(arch, 3).expected
        assert (config.mean[0], config.std[0]) == (mean, std), arch


def test_inception_normalises_as_torchvision_does():
    """torchvision normalises by ImageNet's values and then transforms the input again."""
    torch.manual_seed(0)
    ours = build_model("inception_v3", 3, "x").eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = torchvision.models.inception_v3(num_classes=3, transform_input=True, init_weights=True)
    theirs.load_state_dict(ours.net.state_dict(), strict=False)
    images = torch.rand(1, 3, 96, 96)
    normal = torchvision.transforms.functional.normalize(images, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    one, two = ours(images), theirs.eval()(normal)  # random weights, so on any scale
    assert (one - two).abs().max() < 1e-5 * two.abs().max()


def find_smallest_size(net):
    """The first of SIZES that the network takes, tried on the meta device."""
    for size in SIZES:
        try:
            with torch.no_grad():
                net.eval()(torch.zeros(1, 3, size, size, device="meta"))
            return size
        except (AssertionError, RuntimeError, ValueError):
            continue
    raise AssertionError(f"takes no size up to {size}")


def collect_tensors(model):
    return {name: tensor.contiguous() for name, tensor in model.state_dict().items()}


@pytest.mark.slow
def test_every_network_takes_a_step(capsys):
    """Each name of torchvision and each alias, on two pictures of the smallest size it takes.

    Then its weights are saved as safetensors and loaded into another network.
    """
    names = sorted({*find_registered("torchvision"), *ALIASES, *RESNEST_FAST, *MISSION})
    assert len(names) == 80 + 15
    lines = [""]
    for arch in names:
        net = build_without_values(arch, 6)
        size, count = find_smallest_size(net), count_millions(net)
        if count * 1e6 < HUGE:
            model = build_model(arch, 6, "x").train()
            before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            loss = torch.nn.functional.cross_entropy(
                model(torch.rand(2, 3, size, size)), torch.tensor([0, 5])
            )
            loss.backward()
            optimizer.step()
            assert loss.isfinite()
            after = dict(model.named_parameters())
            assert all(parameter.isfinite().all() for parameter in after.values()), arch
            assert all(parameter.grad is not None for parameter in after.values()), arch
            assert any(not torch.equal(after[name], before[name]) for name in before), arch
            build_model(arch, 6, "x").load_state_dict(
                safetensors.torch.load(safetensors.torch.save(collect_tensors(model)))
            )
        did = "a step" if count * 1e6 < HUGE else "built"
        lines.append(f"{arch:28} {count:7.2f} M parameters, {size:3} x {size:3} pixels: {did}")
    with capsys.disabled():
        print("\n".join(lines))
