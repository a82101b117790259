"""Losses against torch, weightings by hand, GHM against a slow loop, and properties of all recipes."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import rel_entr, softmax
from scipy.stats import pearsonr
from torch import nn

from src.batches.batch import Batch
from src.batches.mixing import blend
from src.ground.errors import UserError
from src.losses import weightings as losses
from src.losses.agreement import AGREEMENTS
from src.losses.bases import BASES
from src.losses.loss import LABELS_ONLY, DistillSettings, Loss, apply_focal, build_loss, split_recipe
from src.losses.weightings import WEIGHTINGS, Outcome
from src.teaching.curriculum import CurriculumSettings, assign_weights, find_truth_probs
from src.teaching.knowledge import Knowledge
from src.teaching.labels import LabelTargets, weigh_classes
from src.teaching.targets import build_soft

CLASSES = ("a", "b", "c", "d", "e")
WEIGHTED = losses.WeightedSettings(costs={"a": {"b": 5.0}})
THRESHOLD = losses.ThresholdSettings(low=0.1, high=0.9, low_of={}, high_of={})
GHM = losses.GhmSettings(bins=2, momentum=0.75)
OHM = losses.OhmSettings(hard_ratio=0.5)
SETTINGS = losses.WeightingSettings(weighted=WEIGHTED, threshold=THRESHOLD, ghm=GHM, ohm=OHM)
RECIPES = [
    "+".join(filter(None, [base, *words]))
    for base in ("", *BASES)
    for count in range(len(WEIGHTINGS) + 1)
    for words in itertools.combinations(WEIGHTINGS, count)
    if base or words
]


def build(recipe, classes=CLASSES, gamma=0.0, distill=LABELS_ONLY, **changes):
    """The loss of a recipe, with the settings of some weightings replaced: ohm=..."""
    settings = dataclasses.replace(SETTINGS, **changes)
    return build_loss(recipe, settings, gamma, classes, "weighting", distill)


def find_logit(p):
    return math.log(p / (1 - p))


@pytest.fixture
def batch():
    torch.manual_seed(0)
    logits, targets = torch.randn(8, 5) * 3, torch.softmax(torch.randn(8, 5), dim=1)
    return logits, targets, targets, torch.rand(8)


def test_softmax_matches_torch_cross_entropy(batch):
    logits, targets, _, weights = batch
    expected = (weights * F.cross_entropy(logits, targets, reduction="none")).mean()
    assert torch.allclose(build("softmax")(logits, targets, targets, weights), expected)


def test_bce_matches_torch_binary_cross_entropy(batch):
    logits, targets, _, weights = batch
    expected = (
        F.binary_cross_entropy_with_logits(logits, targets, weights[:, None].expand(8, 5), reduction="sum")
        / 8
    )
    assert torch.allclose(build("bce")(logits, targets, targets, weights), expected)


@pytest.fixture
def taught():
    """Logits and labels, and a teacher's probabilities with its logits, in float64."""
    torch.manual_seed(0)
    logits, teacher = torch.randn(2, 8, 5, dtype=torch.float64) * 3
    return logits.requires_grad_(), torch.eye(5, dtype=torch.float64)[torch.arange(8) % 5], teacher


def find_gradient(loss, logits, targets, soft, weights=None):
    weights = torch.ones(len(logits), dtype=torch.float64) if weights is None else weights
    return torch.autograd.grad(loss(logits, targets, soft, weights), logits)[0]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 20.0])
@pytest.mark.parametrize("base, link", [("softmax", lambda z: z.softmax(1)), ("bce", torch.sigmoid)])
def test_distillation_is_that_of_its_paper(taught, base, link, temperature):
    """Its equation 2: the soft term's gradient is (q - p) / T at temperature T, times T^2 here."""
    (logits, targets, teacher), share = taught, 0.7
    found = find_gradient(
        build(base, distill=DistillSettings(share, temperature, 0.0, "kl", "plain")),
        logits,
        targets,
        link(teacher),
    )
    soft = temperature * (link(logits / temperature) - link(teacher / temperature))
    expected = ((1 - share) * (link(logits) - targets) + share * soft) / len(logits)
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-7)
    if base == "softmax":  # and the value against torch's own losses
        mine = build(base, distill=DistillSettings(share, temperature, 0.0, "kl", "plain"))
        value = mine(logits, targets, link(teacher), torch.ones(8, dtype=torch.float64))
        hot, target = F.log_softmax(logits / temperature, 1), F.softmax(teacher / temperature, 1)
        entropy = -(target * target.log()).sum(1).mean()
        distilled = F.kl_div(hot, target, reduction="batchmean") + entropy
        hard = F.cross_entropy(logits, targets.argmax(1))
        assert torch.allclose(value, (1 - share) * hard + share * temperature**2 * distilled)


def test_at_high_temperatures_distillation_matches_logits(taught):
    """Its equation 4: for logits of mean 0 the gradient nears (z - v) / C, C classes."""
    logits, targets, teacher = (part - part.mean(1, keepdim=True) for part in taught)
    found = find_gradient(
        build("softmax", distill=DistillSettings(1.0, 1000.0, 0.0, "kl", "plain")),
        logits,
        targets,
        teacher.softmax(1),
    )
    assert torch.allclose(found, (logits - teacher) / 5 / len(logits), rtol=0.05, atol=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("recipe", ["softmax", "bce", "softmax+ohm+ghm", "bce+threshold"])
def test_of_a_picture_without_label_the_teachers_part_alone_counts(taught, recipe, temperature):
    """Of the others all is as without it; its own part is that of a student of teachers alone."""
    logits, targets, teacher = taught
    soft = teacher.softmax(1)
    some, without = targets.clone(), torch.arange(8) >= 5
    some[without] = 0
    mine = build(recipe, distill=DistillSettings(0.7, temperature, 1.0, "kl", "plain"))
    found = find_gradient(mine, logits, some, soft)
    if "+" in recipe:
        assert found.isfinite().all() and found.any()
        return
    plain = build(recipe, distill=DistillSettings(0.7, temperature, 0.0, "kl", "plain"))
    assert torch.allclose(found[~without], find_gradient(plain, logits, targets, soft)[~without], rtol=1e-9)
    alone = build(recipe, distill=DistillSettings(1.0, temperature, 0.0, "kl", "plain"))
    expected = 0.7 * find_gradient(alone, logits, targets, soft)[without]
    assert torch.allclose(found[without], expected, rtol=1e-9)


@pytest.mark.parametrize("base", BASES)
def test_a_mix_with_a_picture_without_label_is_the_mix_of_losses(base):
    torch.manual_seed(0)
    soft, logits = torch.rand(2, 4, 3).softmax(2)
    targets = torch.eye(3)[[0, 1, 2, 0]] * torch.tensor([1.0, 1, 0, 0])[:, None]
    batch = Batch(torch.zeros(4, 1, 1, 1), targets, soft, torch.ones(4))
    partner = torch.tensor([2, 3, 0, 1])
    mixed = blend(batch, batch.rows(partner), 0.3, batch.images)
    loss = build(base, "abc", distill=DistillSettings(0.7, 1.0, 1.0, "kl", "plain"))
    own, other = loss(logits, *batch[1:]), loss(logits, *batch.rows(partner)[1:])
    assert loss(logits, *mixed[1:]).item() == pytest.approx(0.3 * own.item() + 0.7 * other.item(), rel=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_dist_is_that_of_its_paper(taught, temperature):
    """One minus scipy's correlations, of rows and of columns, times T squared."""
    logits, targets, teacher = taught
    own, other = (softmax(part.detach().numpy() / temperature, axis=1) for part in (logits, teacher))
    rows = np.mean([1 - pearsonr(*pair)[0] for pair in zip(own, other, strict=True)])
    columns = np.mean([1 - pearsonr(*pair)[0] for pair in zip(own.T, other.T, strict=True)])
    loss = build("softmax", distill=DistillSettings(1.0, temperature, 0.0, "dist", "plain"))
    found = loss(logits, targets, teacher.softmax(1), torch.ones(8, dtype=torch.float64))
    assert found.item() == pytest.approx(temperature**2 * (rows + columns), rel=1e-6)
    assert find_gradient(loss, logits, targets, teacher.softmax(1)).isfinite().all()
    agreeing = loss(teacher, targets, teacher.softmax(1), torch.ones(8, dtype=torch.float64))
    assert agreeing.item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_dkd_is_that_of_its_paper(taught, temperature):
    """Its equation 5: the divergence of target and rest, and 8 times that of the others among themselves."""
    logits, targets, teacher = taught
    own, other = (softmax(part.detach().numpy() / temperature, axis=1) for part in (logits, teacher))
    total = []
    for p, q, true in zip(own, other, targets.argmax(1).tolist(), strict=True):
        binary = sum(rel_entr([q[true], 1 - q[true]], [p[true], 1 - p[true]]))
        rest_p, rest_q = np.delete(p, true), np.delete(q, true)
        total.append(binary + 8 * sum(rel_entr(rest_q / rest_q.sum(), rest_p / rest_p.sum())))
    loss = build("softmax", distill=DistillSettings(1.0, temperature, 0.0, "dkd", "plain"))
    found = loss(logits, targets, teacher.softmax(1), torch.ones(8, dtype=torch.float64))
    assert found.item() == pytest.approx(temperature**2 * np.mean(total), rel=1e-6)
    gradient = find_gradient(loss, logits, targets, teacher.softmax(1))
    assert gradient.isfinite().all() and gradient.any()
    certain = find_gradient(loss, logits, targets, targets)  # a teacher that is sure: no others
    assert certain.isfinite().all()


@pytest.mark.parametrize("recipe", RECIPES)
def test_share_zero_is_plain_to_the_bit(batch, recipe):
    logits, targets, _, weights = batch
    found = build(recipe, distill=DistillSettings(0.0, 3.0, 0.0, "kl", "plain"))(
        logits, targets, logits, weights
    )
    assert torch.equal(found, build(recipe)(*batch))


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("recipe", ["", "+weighted", "+threshold", "+ghm", "+ohm"])
def test_at_temperature_one_the_targets_are_blended(lesson, base, recipe):
    logits, targets, soft, weights = lesson
    blended = 0.3 * targets + 0.7 * soft
    found = learn(build(base + recipe, distill=DistillSettings(0.7, 1.0, 0.0, "kl", "plain")), *lesson)
    assert_close(found, learn(build(base + recipe), logits, blended, blended, weights))


@pytest.mark.parametrize("base", BASES)
def test_a_teacher_that_repeats_the_labels_is_plain_at_temperature_one(taught, base):
    logits, targets, _ = taught
    found = find_gradient(
        build(base, distill=DistillSettings(0.7, 1.0, 0.0, "kl", "plain")), logits, targets, targets
    )
    assert torch.allclose(found, find_gradient(build(base), logits, targets, targets), rtol=1e-12)


def test_weightings_see_the_blend_and_weigh_both_terms(lesson):
    """What OHM keeps at any temperature is what it keeps at 1."""
    kept = [
        learn(build("softmax+ohm", distill=DistillSettings(0.7, temperature, 0.0, "kl", "plain")), *lesson)[1]
        .abs()
        .sum(1)
        > 0
        for temperature in (1.0, 4.0)
    ]
    assert torch.equal(*kept) and 0 < kept[0].sum() < len(kept[0])


def test_a_recipe_without_a_base_uses_bce():
    assert split_recipe("ohm") == ("bce", ["ohm"]) and split_recipe("ohm+softmax") == ("softmax", ["ohm"])


def find_kept(base, ratio, logits, targets, weights, gamma=0):
    """Which elements of a batch get a gradient."""
    logits = torch.tensor(logits, requires_grad=True)
    Loss(apply_focal(BASES[base], gamma), [losses.Ohm(losses.OhmSettings(ratio), (), "")])(
        logits, torch.tensor(targets), torch.tensor(targets), torch.tensor(weights)
    ).backward()
    return (logits.grad != 0).tolist()


def find_excess(loss, logits, targets):
    """What the weightings of a loss see of its terms."""
    seen = []
    probe = nn.Module()
    probe.forward = lambda outcome: seen.append(outcome.excess) or torch.ones_like(logits)
    Loss(loss.base, [probe])(logits, targets, targets, torch.ones(len(logits)))
    return seen[0]


def find_divergence(base, logits, targets):
    """Scipy's divergence of the probabilities from the targets (N, C); a row's sum is that of softmax."""
    p, t = BASES[base].probs(logits.double()).numpy(), targets.double().numpy()
    return rel_entr(t, p) if base == "softmax" else rel_entr(t, p) + rel_entr(1 - t, 1 - p)


@pytest.mark.parametrize("base", BASES)
def test_weightings_see_the_divergence_from_the_target(batch, base):
    """Also from hard targets, of which 0 log 0 is a part, and from one that rounding has left above 1."""
    logits, targets, *_ = batch
    targets[:3], above = torch.eye(5)[:3], torch.full((8, 5), 1 + 2**-23)
    expected = torch.from_numpy(find_divergence(base, logits, targets))
    excess = find_excess(build(base), logits, torch.where(targets == 1, above, targets)).double()
    if base == "softmax":
        excess, expected = excess.sum(dim=1), expected.sum(dim=1)
    assert torch.allclose(excess, expected, atol=1e-5)


@pytest.mark.parametrize("gamma", [0, 0.5, 2])
@pytest.mark.parametrize("base", BASES)
def test_of_hard_targets_the_whole_loss_is_seen_to_the_bit(batch, base, gamma):
    loss, targets = build(base, gamma=gamma), torch.eye(5)[torch.arange(8) % 5]
    assert torch.equal(find_excess(loss, batch[0], targets), loss.base.terms(batch[0], targets))


@pytest.mark.parametrize("gamma", [0, 0.5, 2])
@pytest.mark.parametrize("base", BASES)
def test_at_the_target_nothing_is_left(batch, base, gamma):
    """Where the probabilities are the target, whose own entropy is half a nat and more."""
    targets = batch[1]
    excess = find_excess(build(base, gamma=gamma), BASES[base].logits(targets), targets)
    assert excess.abs().max() < 1e-6 < BASES[base].entropy(targets).sum(dim=1).min()


def test_ohm_keeps_the_hardest_row_of_softmax():
    """Row 0 is right (loss 0.13), row 1 wrong (loss 2.13): half of two rows is row 1."""
    rows = find_kept("softmax", 0.5, [[2.0, 0.0], [2.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]], [1.0, 1.0])
    assert rows == [[False, False], [True, True]]


def test_ohm_keeps_the_hardest_elements_of_bce():
    """Losses 0.13, 0.69 and 2.13, 0.05: half of four elements are 2.13 and 0.69."""
    elements = find_kept("bce", 0.5, [[2.0, 0.0], [2.0, -3.0]], [[1.0, 0.0], [0.0, 0.0]], [1.0, 1.0])
    assert elements == [[False, True], [True, False]]


@pytest.mark.parametrize("gamma", [0, 0.01])
def test_ohm_ranks_by_what_is_left_to_learn(gamma):
    """A blend of two classes that is all but learned, loss .69, before a wrong answer of loss .51.

    For bce the elements have losses .69, .05 and .51, .05.
    """
    half, sure = find_logit(0.49), find_logit(0.6)
    rows = [[half, 0.0], [sure, 0.0]], [[0.5, 0.5], [1.0, 0.0]]
    assert find_kept("softmax", 0.5, *rows, [1.0, 1.0], gamma) == [[False] * 2, [True] * 2]
    elements = [[half, -3.0], [sure, -3.0]], [[0.5, 0.0], [1.0, 0.0]]
    kept = find_kept("bce", 0.25, *elements, [1.0, 1.0], gamma)
    assert kept == [[False, False], [True, False]]


@pytest.mark.parametrize("base", BASES)
def test_ohm_keeps_the_largest_divergences(base):
    """Of 100 mixed targets, as scipy measures them; by the whole loss 24 of the 40 rows were others."""
    torch.manual_seed(0)
    one_hot, soft = torch.eye(5)[torch.arange(100) % 5], torch.softmax(torch.randn(100, 5) * 2, dim=1)
    targets = one_hot + torch.rand(100, 1) * (soft - one_hot)
    logits = (targets + 0.02).log() + torch.randn(100, 5) / 2
    kept = torch.tensor(find_kept(base, 0.4, logits.tolist(), targets.tolist(), [1.0] * 100))
    hard = torch.from_numpy(find_divergence(base, logits, targets))
    if base == "softmax":
        kept, hard = kept.any(dim=1), hard.sum(dim=1)
    assert kept.sum() == 0.4 * kept.numel() and hard[kept].min() > hard[~kept].max()


def test_ohm_ignores_rows_of_weight_zero():
    """The hardest row has weight 0: of the other two, half is the harder one."""
    logits, targets = [[0.0, 9.0], [2.0, 0.0], [3.0, 0.0]], [[1.0, 0.0]] * 3
    assert find_kept("softmax", 0.5, logits, targets, [0.0, 1.0, 1.0]) == [
        [False] * 2,
        [True] * 2,
        [False] * 2,
    ]
    assert find_kept("softmax", 0.5, logits, targets, [0.0, 0.0, 0.0]) == [[False] * 2] * 3


def test_ohm_value_by_hand():
    """The mean over what is kept: the loss of the harder row, ln(1 + e^2) = 2.1269."""
    loss = build("softmax+ohm", "ab")
    value = loss(torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.eye(2), torch.eye(2), torch.ones(2))
    assert value.item() == pytest.approx(2.126928, rel=1e-5)


def test_ohm_keeps_at_least_one_row_and_all_ties():
    assert find_kept("softmax", 0.01, [[1.0, 0.0], [0.0, 0.0]], [[1.0, 0.0]] * 2, [1.0, 1.0]) == [
        [False] * 2,
        [True] * 2,
    ]
    assert find_kept("softmax", 0.5, [[1.0, 0.0]] * 2, [[1.0, 0.0]] * 2, [1.0, 1.0]) == [[True] * 2] * 2


@pytest.mark.parametrize("ratio", [0.01, 0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("base", BASES)
def test_factors_of_ohm_are_one_on_average(batch, base, ratio):
    """Over the rows of positive weight, also if many share the last place."""
    logits, targets, _, weights = (part.repeat(3, 1) if part.dim() > 1 else part.repeat(3) for part in batch)
    weights[[2, 17]] = 0
    excess = find_excess(build(base), logits, targets)
    outcome = Outcome(logits, targets, excess, weights, BASES[base].per_sample)
    factors = losses.Ohm(losses.OhmSettings(ratio), (), "")(outcome)
    assert factors[weights > 0].mean().item() == pytest.approx(1, rel=1e-6)
    assert factors.unique().numel() <= 2 and not factors[weights == 0].any()


@pytest.mark.parametrize("recipe", ["softmax+ohm", "bce+ohm", "softmax+ghm", "bce+ghm"])
def test_ohm_and_ghm_keep_the_size_of_the_gradient_of_rows_that_are_all_but_equal(recipe):
    """So that they keep SGD's rate: the gradient of a shared bias is as large as without a weighting."""
    torch.manual_seed(0)
    logits, targets = torch.tensor([[2.0, 0, 0]]) + torch.randn(90, 3) / 1000, torch.eye(3)[[0] * 90]

    def measure_gradient(recipe):
        bias = torch.zeros(3, requires_grad=True)
        build(recipe, "abc")(logits + bias, targets, targets, torch.ones(90)).backward()
        return bias.grad.abs().sum().item()

    if recipe.startswith("bce"):  # there the unit is an element, and all are to be equal
        logits[:, 1:] -= 2
    assert measure_gradient(recipe) == pytest.approx(measure_gradient(recipe.split("+")[0]), rel=0.01)


@pytest.mark.parametrize("base", BASES)
def test_ratio_one_equals_no_ohm(batch, base):
    ohm = Loss(BASES[base], [losses.Ohm(losses.OhmSettings(1.0), (), "")])
    assert torch.equal(ohm(*batch), build(base)(*batch))


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_has_a_finite_gradient_and_ignores_word_order(batch, recipe):
    logits, targets, _, weights = batch
    logits.requires_grad_()
    loss = build(recipe)(logits, targets, targets, weights)
    loss.backward()
    assert logits.grad.isfinite().all() and logits.grad.any()
    words = recipe.split("+")
    for count in range(len(words)):
        turned = "+".join(words[count:] + words[:count])
        assert torch.equal(build(turned)(logits, targets, targets, weights), loss)
    for order in itertools.permutations(words):
        assert split_recipe("+".join(order)) == split_recipe(recipe)


@pytest.fixture(scope="module")
def lesson():
    """Logits (30, 5), targets, a teacher's word, weights from classes and curriculum, then mixup."""
    generator, labels = np.random.default_rng(0), np.arange(30) % 5
    guesses = generator.dirichlet(np.ones(5) / 3, 30)
    teacher = Knowledge("softmax", 0.25 * np.eye(5)[labels] + 0.75 * guesses)
    curriculum = CurriculumSettings((0.7, 0.5, 0.3, 0.0), (1.0, 0.7, 0.4, 0.0), "teacher", 0)
    weights = assign_weights(find_truth_probs([teacher], labels), curriculum)
    weights *= weigh_classes({"a": 3.0, "b": 0.0}, labels, np.arange(30), CLASSES, "student")
    targets, soft = LabelTargets(labels, 5, 0.1)[:], build_soft([teacher], "softmax")[0]
    images = torch.zeros(30, 1, 1, 1)
    plain = Batch(images, *map(torch.from_numpy, (targets, soft, weights.astype(np.float32))))
    _, targets, soft, weights = blend(plain, plain.rows(torch.arange(30).roll(7)), 0.6, images)
    assert 0 < (weights == 0).sum() < 15 and 0.2 < soft.max(dim=1).values.median() < 0.8
    return torch.from_numpy(generator.normal(size=(30, 5))).float() * 2, targets, soft, weights


def learn(loss, logits, targets, soft, weights):
    """The loss as a sum over the rows, its gradient (N, C), and the state that it leaves."""
    logits = logits.clone().requires_grad_()
    value = loss(logits, targets, soft, weights) * len(logits)
    value.backward()
    assert value.isfinite() and logits.grad.isfinite().all() and logits.grad.any()
    return value.detach(), logits.grad, torch.cat([torch.zeros(0), *map(torch.flatten, loss.buffers())])


def scatter(gradient, rows, count):
    return torch.zeros(count, gradient.shape[1]).index_copy(0, rows, gradient)


WITH_BASE = [recipe for recipe in RECIPES if recipe.split("+")[0] in BASES]
every_loss = pytest.mark.parametrize(
    "recipe, gamma, agreement",
    [
        (recipe, gamma, agreement)
        for recipe in WITH_BASE
        for agreement in (AGREEMENTS if "softmax" in recipe else ["kl"])
        for gamma in ((0.0, 2.0) if agreement == "kl" else (0.0,))
    ],
)


def teach(agreement):
    return DistillSettings(0.7, 2.0, 0.0, agreement, "plain")


def assert_close(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)


@every_loss
def test_the_order_of_the_rows_has_no_effect(lesson, recipe, gamma, agreement):
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    value, gradient, state = learn(build(recipe, gamma=gamma, distill=teach(agreement)), *lesson)
    turned = learn(build(recipe, gamma=gamma, distill=teach(agreement)), *(part[order] for part in lesson))
    assert_close(turned, (value, gradient[order], state))


@every_loss
def test_a_row_of_weight_zero_is_as_if_absent(lesson, recipe, gamma, agreement):
    """For the other rows, and for what a weighting remembers of them."""
    weights = lesson[-1]
    kept = weights.nonzero()[:, 0]
    value, gradient, state = learn(
        build(recipe, gamma=gamma, distill=teach(agreement)), *(part[kept] for part in lesson)
    )
    assert_close(
        learn(build(recipe, gamma=gamma, distill=teach(agreement)), *lesson),
        (value, scatter(gradient, kept, 30), state),
    )


@every_loss
def test_twice_the_weights_are_twice_the_loss(lesson, recipe, gamma, agreement):
    *others, weights = lesson
    value, gradient, state = learn(build(recipe, gamma=gamma, distill=teach(agreement)), *lesson)
    double = learn(build(recipe, gamma=gamma, distill=teach(agreement)), *others, 2 * weights)
    assert_close(double, (2 * value, 2 * gradient, state))


@every_loss
def test_weightings_that_are_set_to_do_nothing_change_no_bit(lesson, recipe, gamma, agreement):
    off = {
        "weighted": losses.WeightedSettings(costs={"a": {"b": 1.0}}),
        "threshold": losses.ThresholdSettings(low=0, high=1, low_of={}, high_of={}),
        "ghm": losses.GhmSettings(bins=1, momentum=0),
        "ohm": losses.OhmSettings(hard_ratio=1),
    }
    base = recipe.split("+")[0]
    value, gradient, _ = learn(build(recipe, gamma=gamma, distill=teach(agreement), **off), *lesson)
    plain = learn(build(base, gamma=gamma, distill=teach(agreement)), *lesson)
    assert torch.equal(value, plain[0]) and torch.equal(gradient, plain[1])


@pytest.mark.parametrize("base", BASES)
def test_no_step_waits_for_a_value(lesson, base):
    """On tensors without values, of the meta device; reading one stops a GPU."""
    loss = build("+".join([base, *WEIGHTINGS]), gamma=2.0, distill=teach("kl")).to("meta")
    assert loss(*(part.to("meta") for part in lesson)).shape == ()


@pytest.mark.parametrize("recipe", RECIPES)
def test_extreme_logits_stay_finite(recipe):
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    hard = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    build(recipe, "ab", distill=teach("kl"))(logits, hard, hard, torch.ones(2)).backward()
    assert logits.grad.isfinite().all()


def test_equal_costs_multiply_the_loss(batch):
    """As docs/strategies.md says; of bce, the term of a hard target's own class is no mistake."""
    costs = {true: {other: 3.0 for other in CLASSES if other != true} for true in CLASSES}
    weighted = losses.WeightedSettings(costs)
    logits, targets, _, weights = batch
    assert torch.allclose(build("softmax+weighted", weighted=weighted)(*batch), 3 * build("softmax")(*batch))
    hard = targets[:5].copy_(torch.eye(5))
    terms = BASES["bce"].terms(logits[:5], hard) * (3 - 2 * hard)
    expected = (weights[:5, None] * terms).sum() / 5
    assert torch.allclose(build("weighted", weighted=weighted)(logits[:5], hard, hard, weights[:5]), expected)


LN2 = math.log(2)


def test_weighted_bce_by_hand():
    """All probabilities are 1/2: terms of ln 2, times 5 for mistaking a for b."""
    targets = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    value = build("weighted", "abc")(torch.zeros(2, 3), targets, targets, torch.ones(2))
    assert value.item() == pytest.approx(LN2 * ((1 + 5 + 1) + 3) / 2)


def test_weighted_softmax_by_hand():
    """Probabilities 1/2, 1/4, 1/4: half of row 0's mistakes are b (5), half c (1): 3 on average."""
    logits, targets = torch.tensor([[LN2, 0, 0]] * 2), torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    value = build("softmax+weighted", "abc")(logits, targets, targets, torch.ones(2))
    assert value.item() == pytest.approx((3 * LN2 + 1 * 2 * LN2) / 2)


def test_weighted_averages_costs_over_soft_targets_and_is_never_negative():
    """Mistaking a for b costs 5: a quarter of a gives 1 + 0.25 x 4; a bce target may sum to more than 1."""
    free = losses.WeightedSettings(costs={"a": {"c": 0.0}, "b": {"c": 0.0}})
    quarter, double = torch.tensor([[0.25, 0.0, 0.75]]), torch.tensor([[0.9, 0.9, 0.1]])
    probs = torch.full((1, 3), 0.5)
    factors = losses.Weighted(WEIGHTED, "abc", "")(Outcome(probs, quarter, probs, torch.ones(1), False))
    assert factors.tolist() == [[1.0, 2.0, 1.0]]
    factors = losses.Weighted(free, "abc", "")(Outcome(probs, double, probs, torch.ones(1), False))
    assert factors[0].tolist() == pytest.approx([1, 1, 1 - 1.8 / 1.9])
    sure = torch.tensor([[1 - 3e-8, 2e-8, 1e-8]])
    free = losses.WeightedSettings(costs={"a": {"b": 0.0, "c": 0.0}})
    outcome = Outcome(sure, torch.tensor([[1.0, 0, 0]]), sure, torch.ones(1), per_sample=True)
    assert (losses.Weighted(free, "abc", "")(outcome) >= 0).all()


@pytest.mark.parametrize("base", BASES)
def test_costs_of_one_equal_no_weighting(batch, base):
    even = losses.WeightedSettings(costs={"a": {"b": 1.0}})
    assert torch.equal(build(f"{base}+weighted", weighted=even)(*batch), build(base)(*batch))


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({}, 2 * LN2 / 2),  # row 0 passes both bounds, row 1 none
        ({"high_of": {"a": 0.96}}, (2 * LN2 + math.log1p(math.exp(-3))) / 2),
        ({"low_of": {"a": {"b": 0.01}}}, (2 * LN2 + math.log1p(math.exp(-3))) / 2),
        ({"low_of": {"b": {"a": 0.01}}}, 2 * LN2 / 2),  # no row is of class b
    ],
)
def test_threshold_bce_by_hand(changes, expected):
    """Row 0 has probabilities 0.953 and 0.047, row 1 has 1/2 and 1/2; both are of class a."""
    settings = dataclasses.replace(THRESHOLD, **changes)
    logits, targets = torch.tensor([[3.0, -3], [0, 0]]), torch.tensor([[1.0, 0]] * 2)
    value = build("threshold", "ab", threshold=settings)(logits, targets, targets, torch.ones(2))
    assert value.item() == pytest.approx(expected)


def test_threshold_softmax_ignores_a_row_whose_true_class_is_certain():
    """Probabilities 0.953 and 1/2 of the true class."""
    logits, targets = torch.tensor([[3.0, 0], [0, 0]]), torch.tensor([[1.0, 0]] * 2)
    value = build("softmax+threshold", "ab")(logits, targets, targets, torch.ones(2))
    assert value.item() == pytest.approx(LN2 / 2)


@pytest.mark.parametrize(
    "base, probs, targets, signs",  # of the gradient of the logits: -1 raises a probability
    [
        ("bce", [0.05, 0.05, 0.05], [0.45, 0.3, 0.0], [-1, -1, 0]),
        ("bce", [0.95, 0.05, 0.05], [0.55, 0.45, 0.0], [1, -1, 0]),
        ("bce", [0.92, 0.92, 0.07], [0.95, 1.0, 0.05], [0, 0, 0]),  # past the bound, short of the target
        ("bce", [0.97, 0.02, 0.5], [0.95, 0.05, 0.5], [1, -1, 0]),  # past both: back
        ("softmax", [0.92, 0.0, 0.08], [0.95, 0.05, 0.0], [0, 0, 0]),
        ("softmax", [0.95, 0.03, 0.02], [0.6, 0.4, 0.0], [1, -1, 1]),
        ("softmax", [0.85, 0.05, 0.1], [0.95, 0.05, 0.0], [-1, 0, 1]),
    ],
)
def test_threshold_lets_rest_only_what_is_past_the_bound_before_its_target(base, probs, targets, signs):
    """The bounds are .1 and .9."""
    logits = BASES[base].logits(torch.tensor([probs]).clamp(min=1e-6)).requires_grad_()
    build(f"{base}+threshold", "abc")(logits, *2 * [torch.tensor([targets])], torch.ones(1)).backward()
    assert torch.where(logits.grad.abs() < 1e-5, 0, logits.grad).sign()[0].tolist() == signs


def test_threshold_learns_mixed_targets():
    """From 1/20 for each of 20 classes to .6 and .4; the second once stayed at 1/20."""
    logits = torch.full((1, 20), find_logit(1 / 20)).requires_grad_()
    optimizer, loss = torch.optim.SGD([logits], lr=5), build("threshold", [f"{c}" for c in range(20)])
    targets = torch.tensor([[0.6, 0.4] + [0.0] * 18])
    for _ in range(100):
        optimizer.zero_grad()
        loss(logits, targets, targets, torch.ones(1)).backward()
        optimizer.step()
    probs = torch.sigmoid(logits.detach())[0]
    assert torch.allclose(probs, torch.tensor([0.6, 0.4] + [1 / 20] * 18), atol=1e-4)


@pytest.mark.parametrize("base", BASES)
def test_threshold_of_hard_targets_tests_one_bound_each(base):
    """Also where a probability is rounded to 0 or 1."""
    torch.manual_seed(0)
    settings = losses.ThresholdSettings(0.1, 0.9, {"a": {"b": 0.0, "c": 1.0}}, {"b": 1.0, "c": 0.0})
    probs, targets = BASES[base].probs(torch.randn(400, 5) * 60), torch.eye(5)[torch.arange(400) % 5]
    assert (probs == 1).any() and (base == "softmax" or (probs == 0).any())
    low, high = torch.full((5, 5), 0.1), torch.tensor([0.9, 1, 0, 0.9, 0.9])
    low[0, 1:3] = torch.tensor([0.0, 1.0])
    expected = torch.where(targets == 1, probs < high, probs > low[targets.argmax(dim=1)]).float()
    if base == "softmax":
        expected = expected[targets == 1][:, None]
    outcome = Outcome(probs, targets, probs, torch.ones(400), BASES[base].per_sample)
    assert torch.equal(losses.Threshold(settings, CLASSES, "")(outcome), expected)


def test_ghm_by_hand():
    """Norms 0.2, 0.3, 0.4 in the first of two bins, 0.9 in the second: factors 4 / (2 x 3) and 4 / (2 x 1).

    In the next step all four are in the first bin. The average of counts 3 and 4 is
    (0.75 x 0.25 x 3 + 0.25 x 4) / (1 - 0.75^2) = 3.5714, the one bin in use gets 4 / 3.5714.
    """
    loss = build("ghm", "ab")
    logits = torch.tensor([[find_logit(0.2), find_logit(0.3)], [find_logit(0.4), find_logit(0.1)]])
    first = loss(logits, *2 * [torch.tensor([[0.0, 0], [0, 1]])], torch.ones(2)).item()
    easy = -math.log(0.8) - math.log(0.7) - math.log(0.6)
    assert first == pytest.approx((2 / 3 * easy - 2 * math.log(0.1)) / 2, rel=1e-5)
    second = loss(logits, torch.zeros(2, 2), torch.zeros(2, 2), torch.ones(2)).item()
    assert second == pytest.approx(1.12 * (easy - math.log(0.9)) / 2, rel=1e-5)


def run_slow_ghm(norms, bins, momentum, average, moves):
    """The paper's formula bin by bin, times bins / bins in use; changes the last two arguments in place."""
    inside, factors = {}, [0.0] * len(norms)
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside[number] = [low <= g < high or (number == bins - 1 and g >= high) for g in norms]
        if any(inside[number]):  # the authors' code does not update empty bins
            average[number] = momentum * average[number] + (1 - momentum) * sum(inside[number])
            moves[number] += 1
    used = sum(any(here) for here in inside.values())
    for number, here in inside.items():
        for place in (place for place, member in enumerate(here) if member):
            corrected = average[number] / (1 - momentum ** moves[number])
            factors[place] = len(norms) / (corrected * bins) * bins / used
    return factors


@pytest.mark.parametrize("base", BASES)
def test_ghm_matches_the_formula_of_the_paper_over_several_steps(base):
    torch.manual_seed(1)
    ghm = losses.Ghm(losses.GhmSettings(bins=30, momentum=0.6), (), "")
    average, moves = [0.0] * 30, [0] * 30
    for _ in range(5):
        logits, targets = torch.randn(40, 4) * 2, torch.eye(4)[torch.randint(0, 4, (40,))]
        probs = BASES[base].probs(logits)
        norms = (probs - targets).abs()
        if base == "softmax":
            norms = 1 - probs[targets.bool()][:, None]  # for hard targets
        ours = ghm(Outcome(probs, targets, probs, torch.ones(40), BASES[base].per_sample))
        slow = run_slow_ghm(norms.flatten().tolist(), 30, 0.6, average, moves)
        assert torch.allclose(ours, torch.tensor(slow).view_as(ours), rtol=1e-5)


@pytest.mark.parametrize("momentum", [0, 0.75, 0.99])
def test_factors_of_ghm_are_about_one_on_average(momentum):
    """Even if most norms are small and bins fill and empty again."""
    torch.manual_seed(0)
    ghm, means = losses.Ghm(losses.GhmSettings(bins=30, momentum=momentum), (), ""), []
    for _ in range(300):
        wrong = torch.rand(50) ** 6  # softmax of two classes, the first one true
        probs = torch.stack([1 - wrong, wrong], dim=1)
        targets = torch.tensor([[1.0, 0]]).expand(50, 2)
        means.append(ghm(Outcome(probs, targets, probs, torch.ones(50), per_sample=True)).mean().item())
    assert sum(means) / 300 == pytest.approx(1, abs=0.05)


def test_ghm_of_equal_norms_is_one():
    loss, plain = build("ghm", "ab"), build("bce", "ab")
    batch = torch.zeros(3, 2), *2 * [torch.eye(2)[[0, 1, 1]]], torch.ones(3)
    for _ in range(3):
        assert loss(*batch).item() == pytest.approx(plain(*batch).item())


@pytest.mark.parametrize("base", BASES)
def test_ghm_of_one_picture_and_of_weight_zero(base):
    ghm = build(f"{base}+ghm")
    logits, targets = torch.randn(1, 5), torch.eye(5)[[2]]
    assert ghm(logits, targets, targets, torch.ones(1)).isfinite()
    assert ghm(logits, targets, targets, torch.zeros(1)).item() == 0


def test_ghm_ignores_rows_of_weight_zero():
    logits, targets = torch.randn(6, 5), torch.eye(5)[[0, 1, 2, 3, 4, 0]]
    weights = torch.tensor([1.0, 1, 1, 1, 0, 0])
    whole, part = build("softmax+ghm"), build("softmax+ghm")
    expected = part(logits[:4], targets[:4], targets[:4], weights[:4]) * 4 / 6
    assert whole(logits, targets, targets, weights).item() == pytest.approx(expected.item())


def test_the_state_of_ghm_is_saved():
    assert set(build("ghm").state_dict()) == {"weightings.0.average", "weightings.0.mass"}


def test_focal_bce_matches_torchvision():
    from torchvision.ops import sigmoid_focal_loss

    torch.manual_seed(0)
    logits, targets = torch.randn(8, 5) * 3, torch.eye(5)[torch.arange(8) % 5]
    mine, other = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss = build("bce", gamma=2.0)(mine, targets, targets, torch.ones(8))
    reference = sigmoid_focal_loss(other, targets, alpha=-1, gamma=2.0, reduction="sum") / 8
    loss.backward(), reference.backward()
    assert torch.allclose(loss, reference) and torch.allclose(mine.grad, other.grad, atol=1e-6)


def test_focal_bce_of_soft_targets_by_hand(batch):
    """The formula of the quality focal loss."""
    logits, targets, *_ = batch
    p, t = logits.double().sigmoid(), targets.double()
    terms = -((t - p).abs() ** 2) * ((1 - t) * (1 - p).log() + t * p.log())
    value = build("bce", gamma=2.0)(logits, targets, targets, torch.ones(8))
    assert value.item() == pytest.approx(terms.sum().item() / 8, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("base", BASES)
def test_focal_of_soft_targets_rises_on_every_way_from_the_target(batch, base, gamma):
    logits, targets, *_ = (part.double() for part in batch)
    focal, way = apply_focal(BASES[base], gamma), BASES[base].probs(logits) - targets
    places = [BASES[base].logits(targets + share * way) for share in torch.linspace(0.01, 1, 100)]
    values = torch.stack([focal.terms(place, targets).sum(dim=1) for place in places])
    assert (values.diff(dim=0) > 0).all()


def test_focal_softmax_by_hand():
    """Probability 1/2 of the true class: (1/2)^3 ln 2."""
    value = build("softmax", "ab", gamma=3.0)(
        torch.zeros(1, 2), *2 * [torch.tensor([[1.0, 0]])], torch.ones(1)
    )
    assert value.item() == pytest.approx(LN2 / 8)


@pytest.mark.parametrize(
    "recipe, changes, message",
    [
        ("weighted", {"weighted": losses.WeightedSettings({"x": {"b": 2.0}})},
         "weighting.weighted.costs.x: no such class (5 classes: a, b, c, d, e)"),
        ("weighted", {"weighted": losses.WeightedSettings({"a": {"x": 2.0}})},
         "weighting.weighted.costs.a.x: no such class (5 classes: a, b, c, d, e)"),
        ("weighted", {"weighted": losses.WeightedSettings({"a": {"a": 2.0}})},
         "weighting.weighted.costs.a.a: a class cannot be mistaken for itself "
         "(use class_weights to weight whole classes)"),
        ("threshold", {"threshold": losses.ThresholdSettings(0.1, 0.9, {}, {"f": 0.8})},
         "weighting.threshold.high_of.f: no such class (5 classes: a, b, c, d, e)"),
    ],
)  # fmt: skip
def test_unknown_classes_are_refused(recipe, changes, message):
    with pytest.raises(UserError) as error:
        build(recipe, **changes)
    assert str(error.value) == f"params.yaml: {message}"
