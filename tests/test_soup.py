"""The mean of a row's students: what may be averaged, its weights and statistics, and val's word on it."""

import dataclasses
import re
import shlex
import shutil
import subprocess
import sys

import pytest
import torch
from conftest import CPU, LIGHT, ROOT, Project, make_training_set
from torch import nn

import tools.soup
from src.ground.errors import UserError
from src.networks.checkpoint import Facts, load_model
from src.networks.libraries import build_model
from tools.ablation.tables import read_table
from tools.soup import Student, average, check_students, cook, find_experiments

NONE = dataclasses.replace(LIGHT, policy="none")
TABLES = """
data:
  own: {set: []}
tables:
  losses:
    title: Losses
    baseline: plain
    seeds: [1, 2]
    metrics: [test.accuracy]
    rows: {plain: [distill.share=0], bce: [distill.share=0, loss=bce]}
"""
FACTS = Facts(
    arch="timm/test_resnet", base="softmax", classes=("a", "b"), height=32, width=32, mean=(0.5,) * 3,
    std=(0.2,) * 3, pretrained="1f", data="2e", params="3d", device="cpu",
)  # fmt: skip


@pytest.mark.parametrize("page", ["README.md", "docs/strategies.md", "Makefile"])
def test_the_examples_are_rows_of_fine_tuned_students(page, tmp_path):
    found = re.findall(r'make soup TABLE=(\S+) ROW=("[^"]+"|\S+) DATA=(\S+)', (ROOT / page).read_text())
    more = [f"data.root={tmp_path}"]
    assert found
    for table, row, data in found:
        (one,) = [one for one in read_table(table, data, more).rows if one.label == row.strip('"')]
        assert one.params["student.pretrained"] != "none"


def test_make_passes_a_row_whose_name_begins_with_a_dash(monkeypatch):
    words = ["TABLE=augmentation", "ROW=-aug", "DATA=clothing", "SET=seed=3 threads=1"]
    command = subprocess.check_output(
        ["make", "-n", "--no-print-directory", "-o", "install", "soup", *words], cwd=ROOT, text=True
    )
    asked = []
    monkeypatch.setattr(tools.soup, "find_experiments", lambda *words: asked.append(words) or sys.exit())
    monkeypatch.setattr("sys.argv", shlex.split(command)[2:])
    with pytest.raises(SystemExit):
        tools.soup.main()
    assert asked == [("augmentation", "-aug", "clothing", ["seed=3", "threads=1"])]


def build(seed):
    torch.manual_seed(seed)
    return build_model("timm/test_resnet", 3, "student").eval()


def read_mean(network):
    """The running mean of the first BatchNorm."""
    return network.net.conv1[1].running_mean


def test_the_mean_of_two_networks_by_hand(pack):
    one, other = build(1), build(2)
    mixed = average([one, other], make_training_set(pack)).state_dict()
    for name, parameter in one.named_parameters():
        mean = (parameter.double() + other.get_parameter(name).double()) / 2
        assert torch.allclose(mixed[name].double(), mean, atol=1e-7), name


def test_the_statistics_are_those_of_plain_pictures(pack):
    """The running mean is the mean over the batches of what the convolution before it gives."""
    one, other = build(1), build(2)
    read_mean(other).add_(0.1)
    data = make_training_set(pack, NONE, batch_size=10)
    mixed = average([one, other], data)
    with torch.no_grad():
        outputs = [mixed.net.conv1[0](mixed.normalize(batch.to(CPU).images)) for batch in data.epoch(1)]
    means = torch.stack([output.mean(dim=(0, 2, 3)) for output in outputs]).mean(dim=0)
    assert torch.allclose(read_mean(mixed), means, atol=1e-5)
    assert not torch.allclose(read_mean(mixed), read_mean(one), atol=1e-3)


def test_statistics_that_all_have_are_kept(pack):
    """As those of a frozen backbone: the mean of a network with itself is that network."""
    one, other = build(1), build(1)
    for network in (one, other):
        read_mean(network).add_(0.1)
    mixed = average([one, other], make_training_set(pack)).state_dict()
    assert all(torch.allclose(tensor, mixed[name]) for name, tensor in one.state_dict().items())


@pytest.fixture
def taste(monkeypatch, capsys):
    """A function: the best student and the soup, from the accuracies on val by the names of the students."""

    def call(**accuracies):
        students = [Student(name, nn.Identity(), FACTS) for name in accuracies if len(name) == 1]
        names = {id(one.network): one.name for one in students}

        def mix(networks, _):
            mixed = nn.Identity()
            names[id(mixed)] = "".join(sorted(names[id(network)] for network in networks))
            made.append(mixed)
            return mixed

        class Val:
            def measure(self, network):
                return accuracies[names[id(network)]], 1.0

        made = []
        monkeypatch.setattr(tools.soup, "average", mix)
        best, soup = cook(students, Val(), None)
        return "".join(best.names), "".join(sorted(soup.names)), capsys.readouterr().out

    return call


def test_the_greedy_soup_leaves_out_what_harms(taste):
    best, soup, printed = taste(a=0.8, b=0.9, c=0.5, ab=0.92, abc=0.7)
    assert (best, soup) == ("b", "ab")
    assert printed.splitlines() == [
        "on val: mean of 3 students: accuracy 0.7333",
        "on val: best student: accuracy 0.9000, loss 1.0000",
        "on val: soup of 3: accuracy 0.7000, loss 1.0000",
        "on val: greedy soup of 2: accuracy 0.9200, loss 1.0000",
    ]


def test_the_soup_of_all_may_be_the_better_one(taste):
    """The greedy one stops at the pair that val does not like."""
    assert taste(a=0.8, b=0.9, c=0.5, ab=0.85, bc=0.8, abc=0.95)[:2] == ("b", "abc")


def test_no_soup_is_better_than_the_best_student(taste):
    assert taste(a=0.8, b=0.9, c=0.5, ab=0.85, bc=0.8, abc=0.7)[:2] == ("b", "b")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"pretrained": "none"}, "^2: started from random weights"),
        ({"arch": "resnet18"}, "^2: its arch is resnet18, that of 1 is timm/test_resnet"),
        ({"classes": ("a", "c")}, "^2: its classes is"),
        ({"height": 64}, "^2: its height is 64, that of 1 is 32"),
        ({"data": "4f"}, "^2: its data is 4f, that of 1 is 2e"),
        ({"fit": "crop"}, "^2: its fit is crop, that of 1 is letterbox"),
    ],
)
def test_students_that_are_not_alike_are_refused(changes, message):
    students = [Student("1", None, FACTS), Student("2", None, dataclasses.replace(FACTS, **changes))]
    with pytest.raises(UserError, match=message):
        check_students(students, "2e", "letterbox")
    check_students(
        [students[0], Student("3", None, dataclasses.replace(FACTS, params="x", device="y"))],
        "2e",
        "letterbox",
    )


@pytest.mark.parametrize("data, fit", [("other", "letterbox"), ("2e", "crop")])
def test_students_of_other_pictures_are_refused(data, fit):
    with pytest.raises(
        UserError, match=r"^1: trained on other pictures than those in data/packed \(set data"
    ):
        check_students([Student("1", None, FACTS)], data, fit)


@pytest.fixture
def tables(place):
    """An ablations.yaml with one table in the working folder."""
    shutil.copy(ROOT / "ablations.schema.json", place)
    (place / "ablations.yaml").write_text(TABLES)
    return place / "ablations.yaml"


def test_students_that_started_from_nothing_in_common_are_refused(tables):
    with pytest.raises(
        UserError, match="^plain: student.pretrained is none: each seed starts from weights of"
    ):
        find_experiments("losses", "plain", "own", [])


def test_a_row_that_is_not_there_is_refused(tables):
    with pytest.raises(
        UserError, match=r"^ablations.yaml: tables.losses.rows: no row 'plan' on own, did you"
    ):
        find_experiments("losses", "plan", "own", [])


def test_a_row_that_has_not_run_is_refused(tables):
    tables.write_text(tables.read_text().replace("set: []", "set: [student.pretrained=default]", 1))
    with pytest.raises(
        UserError, match=r"^plain: not run yet \(make ablation TABLE=losses DATA=own runs it\)"
    ):
        find_experiments("losses", "plain", "own", [])


@pytest.mark.slow
def test_a_soup_of_recorded_students_is_written_if_val_agrees(tmp_path, tiny_images):
    project = Project(tmp_path / "dojo", tiny_images)
    weights = tmp_path / "weights.pth"
    torch.save(build(0).net.state_dict(), weights)
    shutil.copy(ROOT / "ablations.schema.json", project.folder)
    start = f"set: ['knowledge.teachers=[]', student.arch=timm/test_resnet, student.pretrained={weights}]"
    (project.folder / "ablations.yaml").write_text(TABLES.replace("set: []", start, 1))
    project.commit("table")
    project.run("python", "-m", "tools.ablation", "losses", "own")
    project.run("dvc", "repro", "check_images")
    printed = project.run("python", "-m", "tools.soup", "losses", "plain", "own")
    file = project.folder / "data/models/soup.safetensors"
    assert "on val: soup of 2: accuracy " in printed
    assert ("not kept: on val no better than losses-own-plain-" in printed) != file.exists()
    if file.exists():
        assert load_model(file)[1].pretrained != "none"
    project.run("python", "-m", "tools.soup", "losses", "other", "own", code=1)
