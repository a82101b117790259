"""The network before training: prior, BatchNorm momentum and pretrained weights, in this order."""

import pytest
import torch
from conftest import make_settings
from torch import nn

from src.batches.mixing import list_sizes
from src.ground.errors import UserError
from src.losses.bases import BASES
from src.networks.initial import build_initial
from src.networks.libraries import build_model


def build(arch="mobilenetv3_small", multi_scale=0.0, **changes):
    chosen, sizes = make_settings(arch=arch, **changes), list_sizes(32, 32, multi_scale, [1], 1)
    return build_initial(chosen, BASES["softmax"], "abc", (32, 32), sizes, "student")


def read_momenta(model):
    return {module.momentum for module in model.modules() if isinstance(module, nn.BatchNorm2d)}


def test_batch_norm_momentum_is_set():
    assert read_momenta(build(bn_momentum=0.1)) == {0.1}
    assert read_momenta(build(bn_momentum="library")) == {0.01}  # torchvision's MobileNetV3
    assert read_momenta(build("resnet18", bn_momentum="library")) == {0.1}


def test_the_prior_sets_the_bias_unless_a_file_has_one(tmp_path):
    prior = {"a": 0.2, "b": 0.5, "c": 0.3}
    model = build("timm/test_resnet", prior=prior)
    assert model.net.fc.bias.softmax(0).tolist() == pytest.approx([0.2, 0.5, 0.3])
    torch.save(build_model("timm/test_resnet", 3, "x").net.state_dict(), tmp_path / "w.pth")
    loaded = build("timm/test_resnet", prior=prior, pretrained=str(tmp_path / "w.pth"))
    assert loaded.net.fc.bias.softmax(0).tolist() != pytest.approx([0.2, 0.5, 0.3])


def test_every_size_of_multi_scale_is_tried():
    with pytest.raises(UserError, match="^params.yaml: student.arch: the network cannot take pictures of"):
        build("timm/test_vit", multi_scale=0.1)  # 32 pixels are a multiple of its patch size, 29 are not
