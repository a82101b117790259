"""Every benchmark runs to its end on tiny sizes and prints finite figures, so that none dies unnoticed."""

import importlib
import math
import re
import shutil
import sys

import pytest
import torch
from conftest import ROOT, draw_tiny_images, edit_params

from benchmarks import (
    ablation,
    digits,
    instructions,
    loading,
    losses,
    models,
    pack_margin,
    saving,
    teacher_in_the_loop,
    training,
)
from src.networks.checkpoint import Facts, save_weights
from src.networks.libraries import build_model

ARCH = "timm/test_resnet"
NUMBER = r"(-?\d+\.?\d*|-?inf|nan)"


@pytest.fixture(autouse=True)
def machine():
    """Restores what benchmarks set in their process."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


def measure(monkeypatch, capsys, program, arguments=(), **constants):
    """What the program prints, with other constants than its own."""
    for name, value in constants.items():
        monkeypatch.setattr(program, name, value)
    monkeypatch.setattr(sys, "argv", [program.__name__, *map(str, arguments)])
    program.main()
    return capsys.readouterr().out


def find(pattern, text, count):
    """The `count` numbers that stand in the text where the pattern says NUMBER, all of them finite."""
    found = [float(number) for number in re.findall(pattern.replace("NUMBER", NUMBER), text, re.M)]
    assert len(found) == count and all(map(math.isfinite, found)), text
    return found


def check_table(text, contestants, reference):
    """The table of timing.format_table: positive seconds and ratios, the reference's own ratio is 1."""
    rows = re.findall(rf"^(.+?) +{NUMBER} +{NUMBER} +{NUMBER} to {NUMBER}$", text, re.M)
    assert len(rows) == contestants, text
    for name, *numbers in rows:
        assert all(0 < float(number) < math.inf for number in numbers[1:]), text
        assert name != reference or numbers[1:] == ["1.00"] * 3


def test_losses(monkeypatch, capsys):
    tiny = dict(ROUNDS=1, STEPS=1, CALLS=2, ARCH=ARCH, BATCH=4, PICTURES=8, CLASSES=10)
    text = measure(monkeypatch, capsys, losses, **tiny)
    find(r"^\w+: ghm and ohm add NUMBER %", text, 2)
    check_table(text, 2, "loop over bins")


def test_the_loop_over_bins_is_what_ghm_computes():
    torch.manual_seed(0)
    probs, targets = torch.rand(16, 10), torch.eye(10)[torch.arange(16) % 10]
    ghm = losses.Ghm(losses.GhmSettings(losses.BINS, 0.0), (), "")
    ours = ghm(losses.Outcome(probs, targets, probs, torch.ones(16), per_sample=False))
    loop = losses.loop_over_bins((probs - targets).abs(), torch.zeros(losses.BINS), 0.0)
    assert torch.allclose(ours, loop)


def test_loading(monkeypatch, capsys, place):
    tiny = dict(SIZES={(60, 45): 4}, SIDE=32, BATCH=2, WORKERS=0, ROUNDS=1, PACKED=4)
    text = measure(monkeypatch, capsys, loading, **tiny)
    for part, reference in zip(text.split("times as fast")[1:], ("crop", "plain"), strict=True):
        check_table(part, 13, f"torchvision, {reference}")


def test_digits(monkeypatch, capsys):
    text = measure(monkeypatch, capsys, digits, COUNT=2000)
    assert set(find(r"NUMBER of 2000 differ", text, 11)) == {0}
    assert min(find(r"NUMBER ns each", text, 11)) > 0 < min(find(r"Python NUMBER ns", text, 11))


@pytest.mark.parametrize("side", training.SIDES)
def test_both_sides_of_a_training_take_the_same_steps(monkeypatch, place, side):
    norms, step = [], torch.optim.SGD.step

    def take_step(optimizer, *arguments):
        weights = [weights for group in optimizer.param_groups for weights in group["params"]]
        norms.append(float(torch.nn.utils.get_total_norm([one.grad for one in weights])))
        return step(optimizer, *arguments)

    monkeypatch.setattr(torch.optim.SGD, "step", take_step)
    training.SIDES[side]("mobilenet_v3_small", 32, 32, 4, 2)()
    assert len(norms) == 2 and all(0 < norm < math.inf for norm in norms)


def test_models(monkeypatch, capsys, place):
    edit_params(place, models__archs=[ARCH], models__height=32, models__width=32)
    text = measure(monkeypatch, capsys, models, ROUNDS=1, BATCH=2, CALLS=1, ALL=1, TABLE=place / "table.csv")
    assert min(find(rf"^{ARCH} +\w+ +1 +\d +NUMBER", text, 5)) > 0
    assert (place / "table.csv").read_text().count(ARCH) == 5


def test_saving(monkeypatch, capsys, ready):
    quick = ["student.epochs=1", "student.warmup=0"]
    text = measure(monkeypatch, capsys, saving, ROUNDS=1, STUDENTS={"tiny": quick})
    assert find(r"^tiny: saving adds NUMBER %", text, 1)[0] > -100


def test_pack_margin(monkeypatch, capsys, place, tmp_path):
    shutil.copy(ROOT / "libraries.yaml", place)
    root = draw_tiny_images(tmp_path / "pictures", 17)
    arguments = (root, "--side", 32, "--epochs", 5, "--seeds", 1)
    text = measure(monkeypatch, capsys, pack_margin, arguments, MARGINS=(0.0, 0.5))
    assert all(0 <= accuracy <= 1 for accuracy in find(r"^margin +[\d.]+ +NUMBER", text, 2))


def test_teacher_in_the_loop(monkeypatch, capsys, ready):
    for kind in ("manifest/val.csv", "packed/val.npy"):
        shutil.copy(ready / "data" / kind, ready / "data" / kind.replace("val", "test"))
    rows = [f"train/{number}.png,0.5,0.25,0.25" for number in range(30)]
    knowledge = "\n".join(["# base=softmax", "path,p_blue,p_green,p_red", *rows, ""])
    (ready / "data/distill/distill_big.txt").write_text(knowledge)
    facts = Facts(ARCH, "softmax", ("blue", "green", "red"), 32, 32, *[(0.5,) * 3] * 2, "", "", "", "cpu")
    save_weights(ready / teacher_in_the_loop.TEACHER, build_model(ARCH, 3, "x"), facts)
    arguments = ("--seeds", 1, "student.epochs=1", "student.warmup=0")
    text = measure(monkeypatch, capsys, teacher_in_the_loop, arguments, VIEWS=2)
    assert all(0 <= accuracy <= 1 for accuracy in find(r"(?:light|none) +NUMBER sd", text, 8))


@pytest.mark.slow
def test_training(monkeypatch, capsys):
    tiny = dict(NETS={("mobilenet_v3_small", 32): (4, 1)}, ROUNDS=1)
    text = measure(monkeypatch, capsys, training, **tiny)
    assert find(r"ours NUMBER pictures per second", text, 1)[0] > 0
    check_table(text, 2, "reference")


@pytest.mark.slow
def test_instructions(monkeypatch, capsys):
    nets, groups = {(ARCH, 32): (4, 1)}, {"cpu": instructions.GROUPS["cpu"]}
    text = measure(monkeypatch, capsys, instructions, NETS=nets, GROUPS=groups, ROUNDS=1)
    check_table(text, 4, "auto")


@pytest.mark.slow
def test_stages(monkeypatch, capsys, project):
    monkeypatch.chdir(project.folder)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # the project has no benchmarks
    stages = importlib.import_module("benchmarks.stages")  # the package has another `stages` by that name
    few = dict(STAGES=("make_demo", "train_student"), INSIDE={"train_student": []})
    text = measure(monkeypatch, capsys, stages, ROUNDS=1, **few)
    assert min(find(r"starts in NUMBER s of CPU", text, 2)) > 0
    whole, core = (find(pattern, text, 1)[0] for pattern in ("repro: NUMBER s, of", "of which NUMBER s are"))
    assert whole > core >= 0


@pytest.mark.slow
def test_ablation(monkeypatch, capsys, project):
    monkeypatch.chdir(project.folder)
    check_table(measure(monkeypatch, capsys, ablation, ROUNDS=1), 2, "train_student, evaluate")
