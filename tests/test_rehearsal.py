"""All trainings of a run are built before the first one starts, and their problems reported together."""

import pytest
import torch
from conftest import edit_params

from src.ground.errors import UserError
from src.ground.params import read_top
from src.machine.runtime import MachineSettings
from src.pictures.manifest import Manifest
from src.pictures.reading import LearningPictures
from src.training.rehearsal import rehearse

CLASSES = ("blue", "green", "red")


@pytest.fixture
def pictures(pack, place):
    """30 pictures of three colours, 32 x 32, for train and val, and settings that suit them."""
    images, targets = pack
    manifest = Manifest([f"train/{number}.png" for number in range(30)], targets.argmax(axis=1), CLASSES, "")
    edit_params(place, teacher__big__arch="timm/test_resnet", teacher__big__batch_size=10)
    edit_params(place, student__arch="timm/test_resnet", student__batch_size=10)
    return LearningPictures(manifest, manifest, images, images, "letterbox")


def catch_refusal(pictures):
    with pytest.raises(UserError) as error:
        rehearse("big", pictures, read_top(MachineSettings))
    return str(error.value).splitlines()


def test_a_sound_run_passes_and_draws_no_random_number(pictures, capsys):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    rehearse("big", pictures, read_top(MachineSettings))
    assert torch.equal(torch.get_rng_state(), before) and capsys.readouterr().out == ""


def test_problems_of_all_trainings_are_found_before_the_first(pictures, place):
    edit_params(place, teacher__big__slim=0.1, teacher__big__freeze="backbone", device="cpu", processes=1)
    edit_params(place, teacher__second__arch="timm/vit_tiny_patch16_224", teacher__second__batch_size=10)
    edit_params(place, student__pretrained="none.safetensors", knowledge__teachers=["big", "second"])
    slim, size, weights = catch_refusal(pictures)
    assert slim == "params.yaml: teacher.big.slim: the network has no trainable BatchNorm (set 0)"
    assert size.startswith(
        "params.yaml: teacher.second.arch: the network cannot take pictures of 32 x 32: Input height (32)"
    )
    assert weights.startswith("params.yaml: student.pretrained: none.safetensors: no such file")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"student__freeze": 99}, "params.yaml: student.freeze: must be in [1, "),
        ({"student__batch_size": 2, "processes": 2, "teacher__big__batch_size": 4},
         "params.yaml: student.batch_size: 2 for 2 processes, but the network has BatchNorm"),
        ({"student__sync_batchnorm": True},
         "params.yaml: student.sync_batchnorm: true, but it runs on GPUs only"),
        ({"student__arch": "timm/vit_tiny_patch16_224"},
         "params.yaml: student.arch: the network cannot take"),
        ({"student__arch": "timm/test_vit", "augment__train_scales": [0.75, 1.0]},
         "params.yaml: student.arch: the network cannot take pictures of 24 x 24"),
        ({"student__arch": "alexnet"}, "params.yaml: student.arch: the network cannot take"),
    ],
)  # fmt: skip
@pytest.mark.skipif(torch.cuda.is_available(), reason="sync_batchnorm is refused on a CPU")
def test_the_student_is_built_before_its_teacher_is_trained(pictures, place, changes, message):
    edit_params(place, **changes)
    (problem,) = catch_refusal(pictures)
    assert problem.startswith(message)


def test_weights_that_the_run_will_write_need_not_exist(pictures, place, capsys):
    edit_params(place, student__pretrained="data/others/big.safetensors")
    (problem,) = catch_refusal(pictures)
    assert "data/others/big.safetensors: no such file" in problem
    edit_params(place, student__pretrained="data/models/teachers/big.safetensors")
    rehearse("big", pictures, read_top(MachineSettings))
    assert not (place / "data/models").exists() and capsys.readouterr().out == ""


def test_only_the_student_must_be_exportable(pictures, monkeypatch):
    traced = []
    monkeypatch.setattr("src.training.rehearsal.check_trace", lambda _, size, key: traced.append((size, key)))
    rehearse("big", pictures, read_top(MachineSettings))
    assert traced == [((32, 32), "student")]


def test_processes_that_were_started_leave_it_to_the_one_that_started_them(pictures, place, monkeypatch):
    edit_params(place, student__freeze=99)
    assert len(catch_refusal(pictures)) == 1
    built = []
    monkeypatch.setattr("src.training.rehearsal.build", lambda *_: built.append(1))
    rehearse("big", pictures, read_top(MachineSettings))
    assert built == [1, 1]  # teacher and student
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "dojo")
    rehearse("big", pictures, read_top(MachineSettings))
    assert built == [1, 1]


def test_knowledge_from_outside_is_read_before_a_teacher_is_trained(pictures, place):
    (place / "data/external").mkdir(parents=True)
    (place / "data/external/distill_x.txt").write_text("path,p_blue,p_grene\n")
    (problem,) = catch_refusal(pictures)
    assert problem.startswith("data/external/distill_x.txt: line 1: ")
