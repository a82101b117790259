"""The table of networks: their costs, against the original's figures and by hand."""

import pandas as pd
import pytest
import torch
import torchvision
from conftest import ROOT
from torch import nn

from src.ground.errors import UserError
from src.ground.params import read
from tools.models import ModelsSettings, count_by_rule, count_costs
from tools.summary import main, parse_size

ORIGINAL = {  # M parameters, M multiply-adds by the rule; for 6 classes at 224 x 224
    "resnet18": (11.18, 1820.16),
    "resnet50": (23.52, 4109.68),
    "shufflenet_v2_x1_0": (1.26, 148.00),
    "shufflenet_v2_x2_0": (5.36, 588.43),
    "mobilenet_v2": (2.23, 306.18),
    "mobilenetv3_small": (1.52, 57.38),
    "mobilenetv3_large": (4.21, 222.04),
}
CONV_LINEAR = {  # M multiply-adds of convolutions and linear layers only
    "resnet18": 1813.56,
    "shufflenet_v2_x1_0": 143.89,
    "mobilenet_v2": 299.50,
    "efficientnet_b0": 384.54,
    "efficientnet_b4": 1501.93,
}


@pytest.mark.parametrize("model", ORIGINAL)
def test_rows_of_the_original_table(model):
    found = count_costs(model, 6, 224, 224)
    assert (found["params_m"], found["rule_macs_m"]) == pytest.approx(ORIGINAL[model], abs=0.01)


@pytest.mark.parametrize("model", CONV_LINEAR)
def test_convolutions_and_linear_layers_only(model):
    assert count_costs(model, 6, 224, 224)["macs_m"] == pytest.approx(CONV_LINEAR[model], abs=0.01)


@pytest.mark.parametrize("model", ["resnet18", "efficientnet_b0", "densenet121", "vit_b_16", "swin_t"])
def test_counts_match_torchvision(model):
    """torchvision states G multiply-adds of its weights, including attention's products."""
    about = torchvision.models.get_model_weights(model).DEFAULT.meta
    found = count_costs(model, 1000, 224, 224)
    assert found["macs_m"] / 1000 == pytest.approx(about["_ops"], abs=0.001)
    assert found["params_m"] * 1e6 == about["num_params"]


def test_the_rule_by_hand():
    """A picture of 8 x 8 through one module of each kind."""
    images = torch.zeros(1, 3, 8, 8)
    for module, expected in (
        (nn.Conv2d(3, 4, 3, padding=1), 4 * 64 * (27 + 1)),
        (nn.Conv2d(3, 6, 3, stride=2, padding=1, groups=3, bias=False), 6 * 16 * 9),
        (nn.BatchNorm2d(3), 192),
        (nn.ReLU(), 192),
        (nn.ReLU6(), 0),
        (nn.Hardswish(), 0),
        (nn.MaxPool2d(2), 3 * 16 * 4),
        (nn.AvgPool2d((1, 2)), 3 * 32 * 2),
        (nn.AdaptiveAvgPool2d(1), 0),
    ):
        assert count_by_rule(module, (images,), module(images)) == expected, module
    linear, features = nn.Linear(5, 7), torch.zeros(1, 5)
    assert count_by_rule(linear, (features,), linear(features)) == 35 + 7


@pytest.mark.slow
def test_the_committed_table_is_up_to_date():
    settings, table = read(ModelsSettings, "models"), pd.read_csv(ROOT / "metrics/models.csv")
    assert table.columns[0] == "model" and list(table["model"]) == list(settings.archs)
    for row in table.to_dict("records"):
        found = count_costs(row["model"], settings.classes, settings.height, settings.width)
        assert {name: row[name] for name in found} == pytest.approx(found, abs=5e-5)


def test_a_network_that_cannot_take_the_size_is_reported():
    with pytest.raises(
        UserError, match="^params.yaml: models.archs: alexnet cannot take pictures of 32 x 32"
    ):
        count_costs("alexnet", 6, 32, 32)


def test_the_committed_speeds_are_complete():
    """Every network of the list, timed in every way, and no median outside its range."""
    table = pd.read_csv(ROOT / "benchmarks/models_latency.csv")
    assert set(table["model"]) == set(read(ModelsSettings, "models").archs)
    ways = table.groupby(["mode", "threads", "batch"])["model"].nunique()
    assert len(ways) == 9 and ways.nunique() == 1
    assert ((table["ms_low"] <= table["ms"]) & (table["ms"] <= table["ms_high"])).all()


def test_summary_shows_layers_and_costs(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["summary", "resnet18", "64x96", "--classes", "6"])
    main()
    shown = capsys.readouterr().out
    assert "Conv2d (conv1)" in shown and "[1, 64, 32, 48]" in shown and "9,408" in shown  # 64 x 3 x 7 x 7
    assert "resnet18, 6 classes, 64 x 96: 11.18 M parameters" in shown
    monkeypatch.setattr("sys.argv", ["summary", "resnet1888"])
    with pytest.raises(UserError, match="^ARCH: unknown network 'resnet1888', did you mean resnet18"):
        main()
    monkeypatch.setattr("sys.argv", ["summary", "alexnet", "32"])
    with pytest.raises(UserError, match="^ARCH, SIZE: alexnet cannot take pictures of 32 x 32: "):
        main()


@pytest.mark.parametrize("text, size", [("224", (224, 224)), ("96x128", (96, 128)), ("", (32, 32))])
def test_parse_size(place, text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["0", "x5", "5x", "big"])
def test_an_invalid_size_is_refused(text):
    with pytest.raises(UserError, match="^SIZE: must be pixels like 224 or 224x320"):
        parse_size(text)
