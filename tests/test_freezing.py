"""Frozen layers, and a classifier with its own learning rate."""

import pytest
import torch
from conftest import CPU, make_settings, make_training_set
from test_training import train

from src.ground.errors import UserError
from src.losses.bases import BASES
from src.losses.loss import Loss
from src.networks.freezing import freeze
from src.networks.libraries import build_model
from src.training.optim import build_optimizer


def build(arch="timm/test_resnet"):
    torch.manual_seed(0)
    return build_model(arch, 3, "student")


def find_changed(model, arch="timm/test_resnet"):
    """The names of the tensors that a training changed."""
    before = build(arch).state_dict()
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


@pytest.mark.parametrize("arch", ["timm/test_resnet", "resnet18"])
def test_a_frozen_backbone_keeps_weights_and_statistics(pack, arch):
    model = train(pack, arch=arch, freeze="backbone", weight_decay=0.1)[0]
    assert find_changed(model, arch) == {"net.fc.weight", "net.fc.bias"}


@pytest.mark.parametrize("changes", [{"swa": 2}, {"ema": 0.9}])
def test_averaging_keeps_a_frozen_backbone(pack, changes):
    model = train(pack, freeze="backbone", **changes)[0]
    assert find_changed(model) == {"net.fc.weight", "net.fc.bias"}


def test_only_the_first_groups_are_frozen(pack, capsys):
    """timm's groups of test_resnet: the stem, then one block each."""
    model = train(pack, freeze=2)[0]
    names = {name.removeprefix("net.").partition(".")[0] for name in find_changed(model)}
    assert names == {"layer2", "layer3", "layer4", "fc"}
    assert "student.freeze: 0." in capsys.readouterr().out


def test_more_groups_than_exist_are_refused(pack):
    message = r"^params.yaml: student.freeze: must be in \[1, 5\], got 6: the network has 6 groups of layers"
    with pytest.raises(UserError, match=message):
        train(pack, freeze=6)


def test_frozen_layers_stay_in_eval_mode():
    """BatchNorm and dropout of a frozen block are in eval mode; a dropout before the classifier is not."""
    model = build("mobilenet_v2").train()
    for module in freeze(model, "backbone", "student"):
        module.eval()
    assert not any(module.training for module in model.net.features.modules())
    assert model.net.classifier[0].training


def test_settings_incompatible_with_frozen_layers_are_refused(pack):
    with pytest.raises(UserError, match="^params.yaml: student.slim: the network has no trainable BatchNorm"):
        train(pack, freeze="backbone", slim=0.1)


def read_rates(model, **changes):
    chosen = make_settings(optimizer="sgd", lr=0.1, weight_decay=0.05, **changes)
    groups = build_optimizer(model, chosen).param_groups
    names = {id(parameter): name for name, parameter in model.net.named_parameters()}
    return {names[id(p)]: (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}


def test_the_classifier_has_its_own_learning_rate():
    found = read_rates(build(), head_lr_mult=10.0)
    assert found["fc.weight"] == (pytest.approx(1.0), 0.05) and found["fc.bias"] == (pytest.approx(1.0), 0)
    assert {rate for name, (rate, _) in found.items() if not name.startswith("fc.")} == {0.1}
    assert len(found) == len(list(build().parameters()))


def test_head_lr_mult_multiplies_the_rate_of_layer_decay():
    plain = read_rates(build(), layer_decay=0.5)
    found = read_rates(build(), layer_decay=0.5, head_lr_mult=10.0)
    assert found["fc.weight"][0] == pytest.approx(10 * plain["fc.weight"][0])
    assert found["conv1.0.weight"] == plain["conv1.0.weight"]


def test_the_head_learns_faster_by_its_factor(pack):
    """One step of plain SGD: the classifier moves by twice as much, everything else by the same."""
    moved = []
    for factor in (1.0, 2.0):
        model = build()
        groups = build_optimizer(model, make_settings(lr=0.1, head_lr_mult=factor)).param_groups
        optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0)
        batch = next(iter(make_training_set(pack).epoch(1))).to(CPU)
        Loss(BASES["softmax"], [])(model.train()(batch.images), *batch[1:]).backward()
        optimizer.step()
        before = build().state_dict()
        moved.append({name: tensor - before[name] for name, tensor in model.state_dict().items()})
    assert torch.allclose(moved[1]["net.fc.weight"], 2 * moved[0]["net.fc.weight"], atol=1e-7)
    assert torch.allclose(moved[1]["net.conv1.0.weight"], moved[0]["net.conv1.0.weight"], atol=1e-7)
