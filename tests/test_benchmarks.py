"""Every benchmark runs to its end on tiny sizes and prints finite figures, so that none dies unnoticed."""

import importlib
import math
import re
import shutil
import sys
from collections import OrderedDict

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from conftest import ROOT, draw_tiny_images, edit_params
from ruamel.yaml import YAML
from timm.utils import update_summary

from benchmarks import (
    ablation,
    digits,
    dividing,
    external,
    fit,
    instructions,
    loading,
    losses,
    models,
    near_duplicates,
    pack_margin,
    peers,
    report,
    saving,
    startup,
    tenth,
    training,
    views,
)
from benchmarks.contestants import with_fastai, with_timm
from benchmarks.contestants.comparing import Task, compare, fit_epochs, print_summary
from benchmarks.contestants.dojo import Dojo
from benchmarks.timing import Usage, add_usages, run_program
from src.ground.errors import UserError
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
    """The table of timing.format_table: the reference's own ratio is 1, others may be rounded to 0."""
    rows = re.findall(rf"^(.+?) +{NUMBER} +{NUMBER} +{NUMBER} to {NUMBER}$", text, re.M)
    assert len(rows) == contestants, text
    for name, *numbers in rows:
        assert all(0 <= float(number) < math.inf for number in numbers), text
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_saving(monkeypatch, capsys, ready):
    quick = ["student.epochs=1", "student.warmup=0"]
    text = measure(monkeypatch, capsys, saving, ROUNDS=1, STUDENTS={"tiny": quick})
    assert find(r"^tiny: saving adds NUMBER %", text, 1)[0] > -100


def test_dividing(monkeypatch, capsys, place):
    tiny = dict(PHOTOS=20, WIDTH=64, HEIGHT=48, SIDE=32, PICTURES=300, CLASSES=3)
    text = measure(monkeypatch, capsys, dividing, **tiny)
    assert min(find(r"^checking a photo of 64 x 48: NUMBER ms of CPU", text, 1)) > 0
    assert find(r"to find NUMBER near duplicates$", text, 1)[0] in range(25, 31)
    assert min(find(r"pixels: NUMBER ms of CPU a picture", text, 1)) > 0


def test_external(monkeypatch, capsys, place):
    text = measure(monkeypatch, capsys, external, ("--classes", 150, "--pictures", 300))
    made, labels, taken, read = find(r"^(?:made|label|taken|curr)\D* [\d.]+ +\d+ +NUMBER$", text, 4)
    assert 0 < made < labels < taken == read


def test_near_duplicates(monkeypatch, capsys, place, tmp_path):
    root = draw_tiny_images(tmp_path / "pictures", 4)
    shutil.copy(root / "train/red/0.png", root / "val/red/copy.png")
    text = measure(monkeypatch, capsys, near_duplicates, (root, "--changed", 5))
    assert set(find(r"thumbnails too: NUMBER groups", text, 4)) == {1}
    assert all(0 <= share <= 1 for share in find(r"NUMBER within", text, 9 * 4))


@pytest.mark.slow
def test_pack_margin(monkeypatch, capsys, place, tmp_path):
    shutil.copy(ROOT / "libraries.yaml", place)
    root = draw_tiny_images(tmp_path / "pictures", 17)
    arguments = (root, "--side", 32, "--epochs", 5, "--seeds", 1)
    text = measure(monkeypatch, capsys, pack_margin, arguments, MARGINS=(0.0, 0.5))
    assert all(0 <= accuracy <= 1 for accuracy in find(r"^margin +[\d.]+ +NUMBER", text, 2))


@pytest.mark.slow
def test_fit(monkeypatch, capsys, place, tiny_images):
    """The differences are those of the accuracies above them."""
    torch.save(build_model(ARCH, 3, "x").net.state_dict(), place / "weights.pth")
    tiny = ("--arch", ARCH, "--size", 32, "--epochs", 1, "--batch-size", 8, "--lr", 0.003, "--seeds", 2)
    text = measure(monkeypatch, capsys, fit, (tiny_images, "weights.pth", *tiny, "--fits", "crop", "stretch"))
    assert min(find(r"^seed \d, \w+ +val .*, NUMBER s of CPU", text, 4)) > 0
    crop, stretch = (
        np.array(find(rf"^seed \d, {name} +val NUMBER, test", text, 2)) for name in ("crop", "stretch")
    )
    (mean,) = find(r"^stretch - crop, val: \+?NUMBER", text, 1)
    assert mean == pytest.approx((stretch - crop).mean(), abs=2e-4) and ((0 <= crop) & (crop <= 1)).all()
    assert len(find(r"^stretch - crop, test: \+?NUMBER", text, 1)) == 1


@pytest.mark.slow
def test_views(monkeypatch, capsys, ready):
    facts = Facts(ARCH, "softmax", ("blue", "green", "red"), 32, 32, *[(0.5,) * 3] * 2, "", "", "", "cpu")
    save_weights(ready / "data/models/teachers/big.safetensors", build_model(ARCH, 3, "x"), facts)
    arguments = ("--rounds", 1, "--epochs", 1, "knowledge.min_accuracy=0")
    dumps, students = measure(monkeypatch, capsys, views, arguments).split("student, 1 epochs")
    check_table(dumps, 3, "plain")
    check_table(students, 5, "plain")


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
def test_startup(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    small = dict(STAGES=("plan_views",), FIRST_STEPS={"train_student": ARCH})
    text = measure(monkeypatch, capsys, startup, [ROOT, "--rounds", 1], **small)
    start, step = find(r"(?:start|step) +NUMBER \(", text, 2)
    assert step > start > 0 and min(find(r"\)  NUMBER \(", text, 2)) > 0


def test_the_ratio_of_two_starts():
    """2 / 4, 3 / 4 and 6 / 8: of each round, not of the medians."""
    assert startup.format_row("", {"a": [2, 3, 6], "b": [4, 4, 8]}).endswith("  0.75 (0.50 to 0.75)")


@pytest.mark.slow
def test_ablation(monkeypatch, capsys, project):
    monkeypatch.chdir(project.folder)
    check_table(measure(monkeypatch, capsys, ablation, ROUNDS=1), 2, "train_student, evaluate")


def test_what_a_program_used(tmp_path):
    """Its own time and that of a process that it waited for: a fifth of a second of CPU each."""
    burn = "import time\nwhile time.process_time() < 0.2: pass"
    both = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}])\n{burn}\nprint('done')"
    usage, text = run_program(tmp_path, sys.executable, "-c", both)
    assert text == "done\n" and 0.4 <= usage.cpu < 2 and usage.seconds > 0.4 and usage.memory > 1000
    assert add_usages([Usage(1, 2, 30), Usage(10, 20, 3)]) == Usage(11, 22, 30)
    with pytest.raises(UserError, match=r"exit code 3: no such day \(run it in "):
        run_program(tmp_path, sys.executable, "-c", "import sys; print('no such day'); sys.exit(3)")


@pytest.mark.parametrize(
    "one, epochs, took, seconds, most",
    [
        (30, 2, 50, 100, 4),  # 10 s, and 20 s for each epoch
        (30, 2, 50, 90, 4),
        (30, 2, 50, 89, 3),
        (30, 2, 50, 5, 1),
        (30, 5, 110, 89, 3),
        (30, 2, 29, 100, 3),  # 30 s for each epoch
    ],
)
def test_epochs_that_fit_into_the_time(one, epochs, took, seconds, most):
    assert fit_epochs(one, epochs, took, seconds) == most


class Fake:
    """A contestant whose training takes 5 s and 10 s per epoch, but for `odd`; it records its trainings."""

    def __init__(self, name, takes_epochs, test, odd=()):
        self.name, self.takes_epochs, self.test, self.odd, self.calls = (
            name,
            takes_epochs,
            test,
            dict(odd),
            [],
        )

    def describe(self, epochs):
        return f"{epochs} epochs"

    def train(self, epochs, seed, folder):
        assert list(folder.iterdir()) == []
        (folder / "weights").write_text(f"{seed}")
        self.calls.append((epochs, seed))
        return Usage(self.odd.get(epochs, 5 + 10 * (epochs or 4)), 100, 2048)

    def measure(self, folder):
        return 0.5, self.test + int((folder / "weights").read_text()) / 100


def test_peers_get_the_time_that_dojo_took(tmp_path, capsys):
    ours, theirs = Fake("Dojo", False, 0.8), Fake("other", True, 0.7)
    print_summary(compare([ours, theirs], 2, None, tmp_path))
    assert ours.calls == [(0, 1), (0, 2)] and list(tmp_path.iterdir()) == []
    assert theirs.calls == [(1, 1), (2, 1), (4, 1), (4, 2)]  # 4 epochs take the 45 s that Dojo took
    text = capsys.readouterr().out
    assert "other: epochs to fit into 45 s: 4 (tried 1: 15 s, 2: 25 s, 4: 45 s)\nother: 4 epochs\n" in text
    assert re.search(r"^seed 2, other +val 0.5000, test 0.7200, 45 s, 100 s of CPU, 2 MB$", text, re.M)
    assert re.search(r"^Dojo +test 0.8150 sd 0.0071  0.8100 0.8200$", text, re.M)
    assert re.search(r"^Dojo +took 45 s, 100 s of CPU, 2 MB on average$", text, re.M)
    assert text.endswith("Dojo's mean accuracy on test less that of other: +0.1000\n")


@pytest.mark.parametrize(
    "odd, seconds, tried",
    [
        ({}, 30, [1, 2]),  # a third epoch does not fit
        ({}, 14, [1]),
        ({}, 106, [1, 2, 10]),
        ({2: 17.0}, 45, [1, 2, 16, 4]),  # two seemed fast: 16 would fit, but take 165 s
        ({2: 40.0}, 45, [1, 2]),  # two seemed slow, and no more to fit
    ],
)
def test_trials_until_a_peer_takes_the_time(tmp_path, odd, seconds, tried):
    given = Fake("other", True, 0.7, odd)
    compare([given], 1, seconds, tmp_path)
    assert given.calls == [(epochs, 1) for epochs in tried]


def test_peers_need_a_time(tmp_path):
    with pytest.raises(UserError, match="^--seconds: needed where Dojo's own time is not measured"):
        compare([Fake("other", True, 0.7)], 1, None, tmp_path)


def test_dojo_checks_once_and_trains_with_each_seed(tmp_path, monkeypatch):
    """The seeds of the first training are those of the params, seed 5 and the teacher's 2."""
    monkeypatch.chdir(ROOT)
    dojo, ran = Dojo("Dojo", tmp_path / "dojo", ROOT / "params.yaml", ["seed=5", "student.epochs=2"]), []

    def run_stage(*words):
        params = YAML(typ="safe").load(tmp_path / "dojo/params.yaml")
        assert params["student"]["epochs"] == 2
        ran.append((*words, params["seed"], params["teacher"]["big"]["seed"]))
        return Usage(1, 2, 3)

    monkeypatch.setattr(dojo, "run_stage", run_stage)
    assert dojo.train(0, 1, tmp_path) == dojo.train(0, 3, tmp_path) == Usage(6, 12, 3)
    last = ["plan_views", "dump_knowledge", "make_curriculum", "train_student"]
    first = [("check_images", 5, 2), ("train_teacher", "big", 5, 2), *((stage, 5, 2) for stage in last)]
    assert ran == [*first, ("train_teacher", "big", 7, 4), *((stage, 7, 4) for stage in last)]
    dojo.overrides = ["student.epoch=2"]
    with pytest.raises(UserError, match="^.*params.yaml: Could not override 'student.epoch'"):
        dojo.train(0, 1, tmp_path)


def test_the_record_of_train_py(tmp_path):
    """As timm writes it: accuracies in per cent; the first of two equally good epochs is kept."""
    for epoch, top1 in enumerate((40.0, 62.5, 62.5)):
        measured = OrderedDict(loss=1.0, top1=top1, top5=90.0)
        update_summary(epoch, OrderedDict(loss=2.0), measured, tmp_path / "summary.csv", 0.1, epoch == 0)
    assert with_timm.read_summary(tmp_path / "summary.csv") == with_timm.Record(3, 0.625)


def test_the_best_weights_of_train_py_are_measured_by_class(tmp_path, tiny_images):
    """Weights that always answer green are right for a third of the pictures, or half without blue ones."""
    model = timm.create_model("test_resnet", num_classes=3)
    with torch.no_grad():
        model.fc.weight.zero_()
        model.fc.bias.copy_(torch.tensor([0.0, 1.0, 0.0]))
    (tmp_path / with_timm.RUN).mkdir()
    torch.save({"state_dict": model.state_dict()}, tmp_path / with_timm.RUN / "model_best.pth.tar")
    task = Task(tiny_images, tmp_path, "test_resnet", 32, 5)
    assert with_timm.measure_best(task, tmp_path, "test") == 1 / 3
    shutil.rmtree(tiny_images / "test/blue")
    assert with_timm.measure_best(task, tmp_path, "test") == 1 / 2


def test_an_environment_with_the_same_packages_is_kept(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(with_fastai, "run_program", lambda folder, *words: commands.append(words))
    monkeypatch.setattr(with_fastai, "find_site", lambda folder: folder)
    for packages in (["a==1"], ["a==1"], ["a==2"]):
        python = with_fastai.make_environment(tmp_path, packages)
    assert python == tmp_path / "bin/python"
    assert [words[2] for words in commands] == ["venv", "pip"] * 2 and commands[-1][-1] == "a==2"
    assert (tmp_path / "project.pth").read_text().endswith("site-packages")


@pytest.mark.slow
def test_peers(monkeypatch, capsys, tiny_images, tmp_path):
    """Those that can be had here; Dojo's student is alone, since a teacher of one epoch is refused."""
    monkeypatch.chdir(ROOT)
    safetensors.torch.save_file(
        timm.create_model("test_resnet").state_dict(), tmp_path / "weights.safetensors"
    )
    size, batch = ["--size", 32, "--batch-size", 8], ["student.batch_size=8", "threads=1", "student.warmup=0"]
    words = [tiny_images, tmp_path / "weights.safetensors", "--arch", "test_resnet", *size, "--seeds", 1]
    quick = ["student.epochs=1", "knowledge.teachers=[]", "distill.share=0", *batch]
    here = {
        "Dojo": True,
        "fastai": (peers.SCRATCH / "venv/installed.txt").exists(),
        "timm": (peers.SCRATCH / "train.py").exists(),
    }
    for name in [name for name, is_here in here.items() if is_here]:
        text = measure(monkeypatch, capsys, peers, [*words, "--rows", name, "--seconds", 1, "--set", *quick])
        assert 0 <= find(r"^seed 1, .* test NUMBER, ", text, 1)[0] <= 1, text
        assert 0 < find(r" took NUMBER s, ", text, 1)[0]


def test_tenth(monkeypatch, capsys, tiny_images):
    target = tiny_images.parent / "tenth"
    text = measure(monkeypatch, capsys, tenth, (tiny_images, target, "--share", 0.5))
    count = len(list((tiny_images / "train").glob("*/*")))
    assert find("NUMBER pictures of train with labels, ", text, 1) == [count / 2]
    assert find(r"labels, NUMBER without", text, 1) == [count / 2]
    for split in ("val", "test"):
        names = sorted(path.relative_to(tiny_images) for path in (tiny_images / split).glob("*/*"))
        assert sorted(path.relative_to(target) for path in (target / split).glob("*/*")) == names
    with pytest.raises(UserError, match="is there already"):
        tenth.main()


def test_report(monkeypatch, capsys, place):
    arguments = ("--pictures", 60, "--classes", 6, "--arch", "resnet18", "--heatmaps", 1)
    shutil.copy(ROOT / "libraries.yaml", place)
    text = measure(monkeypatch, capsys, report, arguments)
    assert all(seconds >= 0 for seconds in find(r"^(?:made|evaluate|report|1 heat).* NUMBER s", text, 4))
    assert find(r"^page NUMBER MB", text, 1)[0] < 1
