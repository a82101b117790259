"""Initial bias and weights of an untrained classifier."""

import pytest
import torch

from src.ground.errors import UserError
from src.losses.bases import BASES
from src.networks.libraries import build_model
from src.networks.prior import compute_prior_bias, redraw_large_classifiers, set_bias


@pytest.mark.parametrize(
    "base, prior, expected",
    [
        ("bce", {"b": 0.01}, [1 / 3, 0.01, 1 / 3]),
        ("bce", "uniform", [1 / 3, 1 / 3, 1 / 3]),
        ("softmax", {"b": 0.8}, [0.1, 0.8, 0.1]),
        ("softmax", {"a": 0.2, "b": 0.5, "c": 0.3}, [0.2, 0.5, 0.3]),
    ],
)
def test_prior_by_hand(base, prior, expected):
    """With features of 0, only the bias matters."""
    model = build_model("resnet18", 3, "x")
    set_bias(model, compute_prior_bias(prior, BASES[base], ("a", "b", "c"), "student"))
    assert BASES[base].probs(model.net.fc.bias[None])[0].tolist() == pytest.approx(expected)


def test_priors_that_do_not_set_the_bias():
    assert compute_prior_bias("none", BASES["bce"], ("a", "b"), "x") is None
    assert compute_prior_bias("uniform", BASES["softmax"], ("a", "b"), "x") is None


@pytest.mark.parametrize(
    "arch, redrawn", [("efficientnet_b0", True), ("mnasnet1_0", True), ("resnet18", False), ("swin_t", False)]
)
def test_classifiers_initialised_too_large_are_redrawn(arch, redrawn):
    network = build_model(arch, 10, "x")
    head = [module for module in network.modules() if isinstance(module, torch.nn.Linear)][-1]
    before = head.weight.detach().clone()
    redraw_large_classifiers(network)
    assert torch.equal(head.weight, before) != redrawn
    if redrawn:  # uniform in +-1 / sqrt(features), with standard deviation 1 / sqrt(3 x features)
        expected = (3 * head.in_features) ** -0.5
        assert before.std() > 6 * expected and head.weight.std().item() == pytest.approx(expected, rel=0.05)


def test_every_classifier_gets_the_prior():
    torch.manual_seed(0)
    bias = compute_prior_bias("uniform", BASES["bce"], ("a", "b", "c"), "x")
    for arch, size in (("timm/deit_tiny_distilled_patch16_224", 224), ("squeezenet1_1", 64)):
        model = build_model(arch, 3, "x").eval()
        set_bias(model, bias)
        probs = torch.sigmoid(model(torch.zeros(1, 3, size, size)))
        assert probs.mean().item() == pytest.approx(1 / 3, abs=0.1)


@pytest.mark.parametrize(
    "prior, message",
    [
        ({"x": 0.1}, "student.prior.x: no such class"),
        (
            {"a": 0.5, "b": 0.5},
            "student.prior: the probabilities must sum to less than 1, since other classes",
        ),
        ({"a": 0.5, "b": 0.4, "c": 0.3}, "student.prior: the probabilities must sum to 1, got 1.2"),
    ],
)
def test_invalid_priors_are_refused(prior, message):
    with pytest.raises(UserError, match=f"^params.yaml: {message}"):
        compute_prior_bias(prior, BASES["softmax"], ("a", "b", "c"), "student")
