"""Labels that teachers deny, and the folds whose teachers have not seen them."""

import numpy as np
import pytest
import torch
from conftest import edit_params

from src.ground.errors import UserError
from src.ground.params import read_params
from src.losses.bases import BASES
from src.networks.predict import predict_each
from src.teaching.folds import FOLDER, assign_folds, choose_fold, find_dropped_folds, name_weights
from src.teaching.knowledge import Knowledge
from src.teaching.suspects import find_suspects, read_suspects, write_suspects
from tools import tidy

PATHS, NAMES = ["a.png", "b.png", "c.png", "d.png"], ("x", "y,z")
LABELS = np.array([0, 0, 1, 1])
ONE = Knowledge("softmax", np.array([[0.9, 0.1], [0.3, 0.7], [0.2, 0.8], [0.95, 0.05]]))
OTHER = Knowledge("softmax", np.array([[0.2, 0.8], [0.3, 0.7], [0.1, 0.9], [0.85, 0.15]]))


def test_suspects_by_hand():
    """The mean of both teachers: a .55 for its label; b .3 against .7; c .85; d .1 against .9."""
    found = list(find_suspects([ONE, OTHER], PATHS, LABELS, NAMES))
    assert [(one.path, one.label, one.believed) for one in found] == [
        ("d.png", "y,z", "x"),
        ("b.png", "x", "y,z"),
    ]
    assert [one.confidence for one in found] == pytest.approx([0.8, 0.4])
    assert list(find_suspects([], PATHS, LABELS, NAMES)) == []


def test_views_are_averaged():
    class Seen(Knowledge):
        views = 2

        def take(self, view, rows):
            return (ONE, OTHER)[view].probs[rows]

    once = list(find_suspects([Seen("softmax", ONE.probs)], PATHS, LABELS, NAMES))
    assert once == list(find_suspects([ONE, OTHER], PATHS, LABELS, NAMES))


def test_suspects_survive_a_round_trip(tmp_path):
    found = list(find_suspects([ONE], PATHS, LABELS, NAMES))
    write_suspects(tmp_path / "suspects.csv", found)
    back = read_suspects(tmp_path / "suspects.csv")
    assert [one[:3] for one in back] == [one[:3] for one in found]
    assert back[0].confidence == pytest.approx(0.9)
    write_suspects(tmp_path / "suspects.csv", [])
    assert read_suspects(tmp_path / "suspects.csv") == []


@pytest.mark.parametrize(
    "content, line, what",
    [
        ("", 1, "must be path,label,believed,confidence"),
        ("path,label\na.png,x\n", 1, "must be path,label,believed,confidence"),
        ("path,label,believed,confidence,more\n", 1, "must be path,label,believed,confidence"),
        ("path,label,believed,confidence\na.png,x\n", 2, "2 values, not 4"),
        ("path,label,believed,confidence\na.png,x,y,high\n", 2, "must be a number in .0, 1., got 'high'"),
        ("path,label,believed,confidence\na.png,x,y,1.5\n", 2, "must be a number in .0, 1., got '1.5'"),
        ("path,label,believed,confidence\na.png,x,y,0.5\nb.png,x,y,0.", 3, "cut off"),
    ],
)
def test_what_are_no_suspects_is_refused(tmp_path, content, line, what):
    (tmp_path / "suspects.csv").write_text(content)
    with pytest.raises(
        UserError, match=rf"^{tmp_path}/suspects.csv: line {line}: {what}.* \(run dvc repro\)$"
    ):
        read_suspects(tmp_path / "suspects.csv")


def test_folds_are_equal_in_every_class():
    labels = np.array([0] * 33 + [1] * 10 + [2] * 57)
    folds = assign_folds(labels, 4)
    for number in range(3):
        counts = np.bincount(folds[labels == number], minlength=5)[1:]
        assert counts.max() - counts.min() <= 1
    assert np.bincount(folds)[1:].tolist() == [25] * 4
    assert np.array_equal(folds, assign_folds(labels, 4))


def test_each_picture_is_told_of_by_its_own_model():
    class Constant(torch.nn.Module):
        def __init__(self, value):
            super().__init__()
            self.value = value

        def forward(self, images):
            return (
                torch.tensor([[self.value, 0.0]]).expand(len(images), 2)
                + images.mean(dim=(1, 2, 3))[:, None] * 0
            )

    asked = np.array([2, 0, 1, 1, 2, 0, 2])
    pictures = np.zeros((7, 4, 4, 3), np.uint8)
    parts = predict_each([Constant(0.0), Constant(1.0), Constant(2.0)], asked, pictures, BASES["softmax"], 2,
                         torch.device("cpu"), 2)  # fmt: skip
    probs = np.concatenate([part for _, part in parts])
    assert np.allclose(np.log(probs[:, 0] / probs[:, 1]), asked)


@pytest.mark.parametrize("folds", [[1], [2, 3], [1, 3], [0, 1], [1, 2, 3.0]])
def test_folds_count_from_one(place, folds):
    edit_params(place, knowledge__folds=folds)
    with pytest.raises(UserError, match=r"^params.yaml: knowledge.folds"):
        read_params()


@pytest.mark.parametrize("arguments", [[], ["4"], ["1", "2"], ["x"]])
def test_an_unknown_fold_is_refused(arguments):
    with pytest.raises(
        UserError, match=r"^train_fold: needs the number of a fold, got .*knowledge.folds has 1, 2, 3"
    ):
        choose_fold(arguments, [1, 2, 3])


def test_what_is_left_of_dropped_folds_is_removed(place, capsys):
    for fold, name in ((1, "big"), (2, "big"), (3, "big"), (1, "old")):
        name_weights(fold, name).parent.mkdir(parents=True, exist_ok=True)
        name_weights(fold, name).write_bytes(b"x")
    assert find_dropped_folds([1, 2], ["big"]) == [FOLDER / "1/old.safetensors", FOLDER / "3/big.safetensors"]
    edit_params(place, knowledge__folds=[1, 2])
    tidy.main()
    assert "3/big.safetensors: removed, it is not in knowledge.folds" in capsys.readouterr().out
    assert sorted(path.name for path in FOLDER.rglob("*.safetensors")) == ["big.safetensors"] * 2
