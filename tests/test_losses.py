"""Losses against torch, OHM by hand, and the laws that every recipe keeps."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from src.losses import BASES, WEIGHTINGS, Loss, Ohm, OhmSettings, WeightingSettings, build_loss, split_recipe

SETTINGS = WeightingSettings(ohm=OhmSettings(hard_ratio=0.5))
RECIPES = [
    "+".join(filter(None, [base, *words]))
    for base in ("", *BASES)
    for count in range(len(WEIGHTINGS) + 1)
    for words in itertools.combinations(WEIGHTINGS, count)
    if base or words
]


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.randn(8, 5) * 3, torch.softmax(torch.randn(8, 5), dim=1), torch.rand(8)


def test_softmax_is_torch_cross_entropy(batch):
    logits, targets, weights = batch
    expected = (weights * F.cross_entropy(logits, targets, reduction="none")).mean()
    assert torch.allclose(build_loss("softmax", SETTINGS)(logits, targets, weights), expected)


def test_bce_is_torch_binary_cross_entropy(batch):
    logits, targets, weights = batch
    expected = (
        F.binary_cross_entropy_with_logits(logits, targets, weights[:, None].expand(8, 5), reduction="sum")
        / 8
    )
    assert torch.allclose(build_loss("bce", SETTINGS)(logits, targets, weights), expected)


def test_a_recipe_without_base_means_bce():
    assert split_recipe("ohm") == ("bce", ["ohm"]) and split_recipe("ohm+softmax") == ("softmax", ["ohm"])


def kept(base, ratio, logits, targets, weights):
    """Which rows or elements of a batch get a gradient."""
    logits = torch.tensor(logits, requires_grad=True)
    Loss(BASES[base], [Ohm(OhmSettings(ratio))])(
        logits, torch.tensor(targets), torch.tensor(weights)
    ).backward()
    return (logits.grad != 0).tolist()


def test_ohm_keeps_the_hardest_row_of_softmax():
    """Row 0 is right (loss 0.13), row 1 wrong (loss 2.13): half of two rows is row 1."""
    rows = kept("softmax", 0.5, [[2.0, 0.0], [2.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]], [1.0, 1.0])
    assert rows == [[False, False], [True, True]]


def test_ohm_keeps_the_hardest_elements_of_bce():
    """Losses 0.13, 0.69 and 2.13, 0.05: half of four elements are 2.13 and 0.69."""
    elements = kept("bce", 0.5, [[2.0, 0.0], [2.0, -3.0]], [[1.0, 0.0], [0.0, 0.0]], [1.0, 1.0])
    assert elements == [[False, True], [True, False]]


def test_ohm_does_not_count_rows_of_weight_zero():
    """The hardest row weighs nothing: of the other two, half is the harder one."""
    logits, targets = [[0.0, 9.0], [2.0, 0.0], [3.0, 0.0]], [[1.0, 0.0]] * 3
    assert kept("softmax", 0.5, logits, targets, [0.0, 1.0, 1.0]) == [[False] * 2, [True] * 2, [False] * 2]
    assert kept("softmax", 0.5, logits, targets, [0.0, 0.0, 0.0]) == [[False] * 2] * 3


def test_ohm_value_by_hand():
    """The loss of the harder row, ln(1 + e^2) = 2.1269, over two rows."""
    loss = build_loss("softmax+ohm", SETTINGS)
    value = loss(
        torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.ones(2)
    )
    assert value.item() == pytest.approx(2.126928 / 2, rel=1e-5)


def test_ohm_keeps_at_least_one_and_keeps_ties_together():
    assert kept("softmax", 0.01, [[1.0, 0.0], [0.0, 0.0]], [[1.0, 0.0]] * 2, [1.0, 1.0]) == [
        [False] * 2,
        [True] * 2,
    ]
    assert kept("softmax", 0.5, [[1.0, 0.0]] * 2, [[1.0, 0.0]] * 2, [1.0, 1.0]) == [[True] * 2] * 2


@pytest.mark.parametrize("base", BASES)
def test_ratio_one_equals_no_ohm(batch, base):
    ohm = Loss(BASES[base], [Ohm(OhmSettings(1.0))])
    assert torch.equal(ohm(*batch), build_loss(base, SETTINGS)(*batch))


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_has_a_finite_gradient_and_no_order(batch, recipe):
    logits, targets, weights = batch
    logits.requires_grad_()
    loss = build_loss(recipe, SETTINGS)(logits, targets, weights)
    loss.backward()
    assert logits.grad.isfinite().all() and logits.grad.any()
    for words in itertools.permutations(recipe.split("+")):
        assert torch.equal(build_loss("+".join(words), SETTINGS)(logits, targets, weights), loss)


@pytest.mark.parametrize("recipe", RECIPES)
def test_weight_zero_gives_gradient_zero(batch, recipe):
    logits, targets, weights = batch
    logits.requires_grad_()
    weights[3] = 0
    build_loss(recipe, SETTINGS)(logits, targets, weights).backward()
    assert not logits.grad[3].any()


@pytest.mark.parametrize("recipe", RECIPES)
def test_extreme_logits_stay_finite(recipe):
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    build_loss(recipe, SETTINGS)(logits, torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.ones(2)).backward()
    assert logits.grad.isfinite().all()
