"""Targets and weights: labels, the teachers' predictions, the curriculum."""

import numpy as np
import pytest
from conftest import edit_params

import src.teaching.targets
from src.ground.chunks import list_chunks
from src.ground.errors import UserError
from src.ground.params import read
from src.teaching.curriculum import (
    CurriculumSettings,
    assign_weights,
)
from src.teaching.curriculum_file import check_weights, choose_weights, read_weights, write_weights
from src.teaching.knowledge import Knowledge, average_teachers
from src.teaching.targets import build_soft

TEACHER = Knowledge("softmax", np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]))


def test_the_word_of_several_teachers_by_hand():
    """A softmax student reads independent probabilities of .9 and .5 as odds of 9 and 1."""
    other = Knowledge("bce", np.array([[0.9, 0.5, 0.5], [0.5, 0.5, 0.9]]))
    (soft,) = build_soft([TEACHER, other], "softmax")
    expected = [[(0.5 + 9 / 11) / 2, (0.3 + 1 / 11) / 2, (0.2 + 1 / 11) / 2]]
    assert np.allclose(soft[:1], expected) and soft.dtype == np.float32
    assert np.allclose(build_soft([TEACHER, other], "bce")[0], (TEACHER.probs + other.probs) / 2)


def test_averaging_in_parts_changes_no_bit(monkeypatch):
    generator = np.random.default_rng(0)
    teachers = [
        Knowledge("softmax", generator.dirichlet(np.ones(20), 50)),
        Knowledge("bce", generator.random((50, 20))),
    ]
    (whole,) = build_soft(teachers, "softmax")
    assert np.array_equal(whole, average_teachers(teachers, "softmax").astype(np.float32))
    monkeypatch.setattr(src.teaching.targets, "list_chunks", lambda *size: list_chunks(*size, most=60))
    assert np.array_equal(build_soft(teachers, "softmax")[0], whole)


def test_curriculum_assigns_the_weight_of_the_first_threshold_reached():
    settings = CurriculumSettings((0.7, 0.5, 0.3, 0.0), (1.0, 0.7, 0.4, 0.1), "teacher", 0)
    probs = np.array([1.0, 0.7, 0.69, 0.5, 0.3, 0.29, 0.0])
    assert assign_weights(probs, settings).tolist() == [1.0, 1.0, 0.7, 0.7, 0.4, 0.1, 0.1]


def test_controls_assign_the_same_weights_to_other_pictures():
    thresholds, weights = (0.7, 0.5, 0.0), (1.0, 0.5, 0.1)
    probs = np.array([0.9, 0.2, 0.6, 0.8])
    teacher, anti, random, other = (
        assign_weights(probs, CurriculumSettings(thresholds, weights, order, seed))
        for order, seed in (("teacher", 0), ("anti", 0), ("random", 0), ("random", 1))
    )
    assert teacher.tolist() == [1.0, 0.1, 0.5, 1.0]
    assert anti.tolist() == [0.1, 1.0, 1.0, 0.5]  # the hardest, 0.2, gets the weight of the easiest
    assert sorted(random) == sorted(other) == sorted(teacher)
    many = np.linspace(0, 1, 100)
    orders = [assign_weights(many, CurriculumSettings(thresholds, weights, "random", s)) for s in (0, 0, 1)]
    assert np.array_equal(orders[0], orders[1]) and not np.array_equal(orders[0], orders[2])


@pytest.mark.parametrize(
    "thresholds, weights, message",
    [
        ([0.7, 0.0], [1.0], "thresholds and weights must have the same length, got 2 and 1"),
        ([0.5, 0.7, 0.0], [1, 1, 1], "thresholds must decrease and end at 0, got [0.5, 0.7, 0.0]"),
        ([0.7, 0.5], [1, 1], "thresholds must decrease and end at 0, got [0.7, 0.5]"),
        ([0.7, 0.0], [0, 0], "at least one weight must be positive, got [0, 0]"),
    ],
)
def test_invalid_curricula_are_refused(place, thresholds, weights, message):
    edit_params(place, curriculum__thresholds=thresholds, curriculum__weights=weights)
    with pytest.raises(UserError) as error:
        read(CurriculumSettings, "curriculum")
    assert str(error.value) == f"params.yaml: curriculum: {message}"


def test_weights_survive_a_round_trip(tmp_path):
    path, names = tmp_path / "curriculum.txt", ["a,b", "c\nd", "e"]
    write_weights(path, names, np.array([1, 0.7, 0.1]))
    assert read_weights(path, names[::-1]).tolist() == [0.1, 0.7, 1]
    with pytest.raises(UserError, match="1 of 2 training pictures have no weight, first f"):
        read_weights(path, ["e", "f"])


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "line 1: must be path,weight (run dvc repro -f make_curriculum)"),
        ("path;weight\na;1\n", "line 1: must be path,weight ("),
        ("path,weight\na,1\nb\n", "line 3: a weight must be finite and non-negative, got '' ("),
        ("path,weight\na,1\nb,x\n", "line 3: a weight must be finite and non-negative, got 'x' ("),
        ("path,weight\na,1\nb,1,2\n", "line 3: a weight must be finite and non-negative, got '1,2' ("),
        ("path,weight\na,nan\nb,1\n", "line 2: a weight must be finite and non-negative, got 'nan' ("),
        ("path,weight\na,-1\nb,1\n", "line 2: a weight must be finite and non-negative, got '-1' ("),
        ("path,weight\na,inf\nb,1\n", "line 2: a weight must be finite and non-negative, got 'inf' ("),
        ("path,weight\na,1\nb,1\na,1\n", "line 4: a is listed twice ("),
        ("path,weight\na,1\n\u00fc,1\nb,1\n", "line 3: not UTF-8 ("),
        ("path,weight\na," + "1" * 200_000 + "\n", "line 2: not CSV: field larger than field limit"),
    ],
)
def test_a_damaged_curriculum_is_refused_with_file_and_line(tmp_path, text, message):
    path = tmp_path / "curriculum.txt"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError) as error:
        read_weights(path, ["a", "b"])
    assert str(error.value).startswith(f"{path}: {message}") and len(str(error.value).splitlines()) == 1


def test_damaged_curricula_never_raise_anything_else(tmp_path):
    """300 files with bytes changed, inserted, cut and doubled: read, or refused in one line."""
    path, names, refused = tmp_path / "curriculum.txt", ["a,b", "c\nd", "\u00fc"], 0
    write_weights(path, names, np.array([1, 0.7, 0.1]))
    sound, generator = path.read_bytes(), np.random.default_rng(0)
    for _ in range(300):
        data = bytearray(sound)
        for place in generator.integers(len(data), size=generator.integers(1, 4)).tolist():
            byte = int(generator.integers(256))
            if byte % 3 == 0:
                data[place : place + 1] = bytes([byte])
            elif byte % 3 == 1:
                data[place:place] = data[max(0, place - byte % 20) : place] + b'\x00",\n'[: byte % 5]
            else:
                del data[place : place + 1 + byte // 16]
        path.write_bytes(data)
        try:
            weights = read_weights(path, names)
        except UserError as error:
            message, refused = str(error), refused + 1
            assert message.startswith(f"{path}: ") and len(message) < 400 and "\n" not in message
        else:
            assert weights.shape == (3,) and np.isfinite(weights).all() and (weights >= 0).all()
    assert 100 < refused < 300


def test_a_curriculum_with_a_byte_order_mark_and_blank_lines(tmp_path):
    (tmp_path / "c.txt").write_bytes(b"\xef\xbb\xbfpath,weight\r\n\r\nb,0.5\r\na,1\r\n\r\n")
    assert read_weights(tmp_path / "c.txt", ["a", "b"]).tolist() == [1, 0.5]


def test_weights_have_an_effect_only_with_the_curriculum():
    weights = np.array([0.1, 1.0])
    assert choose_weights(weights, used=True) is weights
    assert choose_weights(weights, used=False).tolist() == [1, 1]


def test_a_student_without_a_picture_of_positive_weight_is_refused():
    """It would end as it started, after all epochs."""
    check_weights(np.array([0.0, 1e-9]))
    with pytest.raises(
        UserError, match=r"^params.yaml: student.curriculum: all pictures .* weight 0 \(set it"
    ):
        check_weights(np.zeros(2))
