"""Predictions and their metrics, by hand and against scikit-learn."""

import json
import math
import re
import tracemalloc
import warnings
from collections import Counter
from pathlib import Path
from time import process_time

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.text import Text
from PIL import Image
from scipy.sparse import coo_array
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    brier_score_loss,
    classification_report,
    confusion_matrix,
    f1_score,
    log_loss,
    recall_score,
    top_k_accuracy_score,
)

import stages.evaluate
from src.ground.digits import round_digits
from src.ground.errors import UserError
from src.pictures.manifest import Manifest
from src.results.drawing import count_confusions, draw_blocks, draw_confusion, draw_pairs
from src.results.figures import read_classes
from src.results.lettering import (
    LONGEST,
    NUMBERED,
    explain_numbers,
    find_family,
    has_glyph,
    letter_names,
    list_upright,
)
from src.results.metrics import (
    find_calibration_error,
    measure_classes,
    pair_labels,
    pick_charted,
    summarize,
    tabulate_classes,
)
from src.results.predictions import Measured, Predictions, read_predictions, write_predictions, write_table

CLASSES = ("a", "b,c", "d")
PROBS = np.array([[0.7, 0.2, 0.1], [0.4, 0.5, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]])
HAND = Predictions(CLASSES, np.array([0, 0, 1, 1]), PROBS)  # correct, wrong, correct, wrong; no picture of d


def test_summary_by_hand():
    figures = summarize(HAND)
    assert figures["accuracy"] == 0.5
    assert figures["log_loss"] == pytest.approx(-math.log(0.7 * 0.4 * 0.8 * 0.3) / 4, abs=1e-9)
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 0.5) / 2, abs=1e-9)  # a: 1 and 1/2, b: 1/2 and 1/2
    assert "top5" not in figures


def test_calibration_error_by_hand():
    """Of four pictures each is a bin: they are off by .3, .5, .2 and .4 (.7 and .8 are right)."""
    assert summarize(HAND)["ece"] == pytest.approx((0.3 + 0.5 + 0.2 + 0.4) / 4, abs=1e-9)


def test_calibration_error_of_bins_of_equal_numbers():
    """Confidences that are right as often as they say are off by chance alone; others by the rest."""
    generator = np.random.default_rng(0)
    sure = generator.uniform(0.5, 1, 30_000)
    right = generator.random(30_000) < sure
    assert find_calibration_error(sure, right) < 0.01
    assert find_calibration_error(sure, right & (np.arange(30_000) % 2 == 0)) == pytest.approx(
        0.375, abs=0.01
    )
    for bins in np.array_split(np.argsort(sure), 15):
        assert len(bins) == 2000
    by_hand = [abs(sure[one].mean() - right[one].mean()) for one in np.array_split(np.argsort(sure), 15)]
    assert find_calibration_error(sure, right) == pytest.approx(np.mean(by_hand))


def test_the_interval_is_the_wilson_interval():
    """(p + z^2 / 2n -+ z sqrt(pq / n + z^2 / 4n^2)) / (1 + z^2 / n) for z = 1.959964, n = 4, p = 1/2."""
    z, n, p = 1.959963985, 4, 0.5
    centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    figures = summarize(HAND)
    assert figures["accuracy_low"] == pytest.approx((centre - half) / (1 + z * z / n), abs=1e-8)
    assert figures["accuracy_high"] == pytest.approx((centre + half) / (1 + z * z / n), abs=1e-8)


def test_confusion_has_a_row_per_true_class():
    assert count_confusions(HAND).toarray().tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]


def test_the_table_of_classes_comes_back(tmp_path):
    """The student's rows are the first, even if a teacher has its name; d has no picture, so no AUC."""
    path, other = tmp_path / "classes.csv", Predictions(CLASSES, HAND.labels, PROBS[::-1])
    write_table(path, *tabulate_classes([Measured("student", HAND), Measured("student", other)]))
    rows, wanted = read_classes(path, CLASSES), measure_classes(HAND)
    assert [[*row] for row in rows] == [[*row] for row in wanted] and rows[2]["roc_auc"] == ""
    for row, computed in zip(rows, wanted, strict=True):
        assert row == {
            key: pytest.approx(value, abs=1e-8) if isinstance(value, float) else value
            for key, value in computed.items()
        }


@pytest.mark.parametrize(
    "old, new, problem",
    [
        ("student: d,student,d,0", "student: e,student,e,0", "figures of other classes than test's"),
        ("student: d,student,d,0", "student: d,student,d,x", r"line 4: must be a number in \[0, 1e\+15\]"),
        ('b,c",2,0.5', 'b,c",2,1.5', r"line 3: must be a number in \[0, 1\], got '1.5'"),
        ("f1", "F1", "line 1: must be name,model,class,pictures,precision,recall,f1,specificity"),
        ("student: a,student,a,2,", "student: a,student,a,", "line 2: 9 values, not 10"),
    ],
)
def test_a_table_of_classes_that_evaluate_did_not_write_is_refused(old, new, problem, tmp_path):
    path = tmp_path / "classes.csv"
    write_table(path, *tabulate_classes([Measured("student", HAND)]))
    text = path.read_text()
    assert old in text, text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=problem):
        read_classes(path, CLASSES)


def test_per_class_by_hand():
    rows = {row["class"]: row for row in measure_classes(HAND)}
    assert rows["a"] == {
        "class": "a",
        "pictures": 2,
        "precision": 1.0,
        "recall": 0.5,
        "f1": pytest.approx(2 / 3),
        "specificity": 1.0,
        "roc_auc": 1.0,
        "average_precision": 1.0,
    }
    undefined = {"precision": 0.0, "recall": 0.0, "f1": 0.0, "roc_auc": "", "average_precision": ""}
    assert rows["d"] == {"class": "d", "pictures": 0, "specificity": 0.75, **undefined}


def test_many_classes_have_top5_and_match_scikit_learn():
    generator = np.random.default_rng(0)
    probs, labels = generator.dirichlet(np.ones(8), 200), generator.integers(0, 8, 200)
    figures = summarize(Predictions(tuple("abcdefgh"), labels, probs))
    assert figures["accuracy"] == pytest.approx(accuracy_score(labels, probs.argmax(1)))
    assert figures["macro_f1"] == pytest.approx(f1_score(labels, probs.argmax(1), average="macro"), abs=1e-8)
    in_top5 = (np.argsort(-probs, axis=1)[:, :5] == labels[:, None]).any(axis=1).mean()
    assert figures["top5"] == pytest.approx(in_top5)


@pytest.mark.parametrize("kind", ["softmax", "bce", "ties", "certain"])
def test_metrics_are_those_of_scikit_learn(kind):
    generator = np.random.default_rng(0)
    probs = {
        "softmax": generator.dirichlet(np.ones(9), 300),
        "bce": generator.random((300, 9)),
        "ties": generator.integers(0, 3, (300, 9)) / 2,
        "certain": np.eye(9)[generator.integers(0, 9, 300)],
    }[kind]
    predictions = Predictions(tuple("abcdefghi"), generator.integers(0, 9, 300), probs)
    sums = probs.sum(axis=1, keepdims=True)
    scaled = np.where(sums > 0, probs / np.where(sums > 0, sums, 1), 1 / 9)
    figures, classes = summarize(predictions), range(9)
    assert figures["log_loss"] == round(log_loss(predictions.labels, scaled, labels=classes), 9)
    top5 = top_k_accuracy_score(predictions.labels, probs, k=5, labels=classes)
    assert figures["top5"] == round(float(top5), 9)
    assert figures["brier"] == pytest.approx(brier_score_loss(predictions.labels, scaled, labels=classes))
    assert figures["balanced_accuracy"] == pytest.approx(
        balanced_accuracy_score(predictions.labels, predictions.predicted), abs=1e-9
    )
    report = classification_report(
        predictions.labels, predictions.predicted, output_dict=True, zero_division=0
    )
    rows = measure_classes(predictions)
    assert [row["recall"] for row in rows] == [report[str(number)]["recall"] for number in classes]
    others = [recall_score(predictions.labels != n, predictions.predicted != n) for n in classes]
    assert [row["specificity"] for row in rows] == pytest.approx(others)
    reference = confusion_matrix(predictions.labels, predictions.predicted, labels=classes)
    assert np.array_equal(count_confusions(predictions).toarray(), reference)


def test_metrics_in_parts_take_no_memory_of_the_size_of_the_probabilities():
    """2,000 pictures of 5,000 classes: 80 MB of probabilities."""
    probs = np.random.default_rng(0).random((2000, 5000))
    predictions = Predictions(tuple(map(str, range(5000))), np.arange(2000), probs)
    tracemalloc.start()
    summarize(predictions)
    count_confusions(predictions)
    assert tracemalloc.get_traced_memory()[1] < 60e6
    tracemalloc.stop()


def test_bce_probabilities_are_normalised_for_the_log_loss():
    figures = summarize(Predictions(("a", "b"), np.array([0, 1]), np.array([[0.9, 0.3], [0.0, 0.0]])))
    assert figures["log_loss"] == pytest.approx(-math.log(0.75 * 0.5) / 2, abs=1e-9)


def test_predictions_survive_a_round_trip(tmp_path):
    probs = round_digits(np.random.default_rng(0).dirichlet(np.ones(3), 4))
    predictions = Predictions(CLASSES, HAND.labels, probs)
    write_predictions(tmp_path / "p.csv", predictions, ["x,1", "y\n2", 'z"3', "w"])
    back, paths = read_predictions(tmp_path / "p.csv")
    assert (
        paths == ["x,1", "y\n2", 'z"3', "w"]
        and back.classes == CLASSES
        and np.array_equal(back.labels, HAND.labels)
        and np.array_equal(back.probs, probs)
    )
    assert summarize(back) == summarize(predictions)


def draw(path, classes):
    """The confusion matrices of two models on three pictures per class."""
    counts = np.repeat(np.arange(len(classes)), 3)
    guesses = np.random.default_rng(0).permutation(counts)
    probs = coo_array((np.ones(len(counts)), (counts, guesses)), shape=(len(classes),) * 2)
    draw_confusion(path, [("student", probs)], classes)


def test_the_confusion_plot_is_reproducible(tmp_path):
    for name in ("one", "two"):
        draw_confusion(
            tmp_path / f"{name}.png",
            [("student", count_confusions(HAND)), ("big", count_confusions(HAND))],
            CLASSES,
        )
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert (tmp_path / "one.png").stat().st_size > 5000


ODD_NAMES = {
    "formulas": ["$5_$10", "over $10", r"a_$\frac$", r"a\$b$", "US$ to CA$"],
    "no glyph": ["\u526a\u5200", "\u6b62\u8840\u94b3", "\u732b", "\U0001f469\u200d\U0001f467", "cat"],
    "right to left": ["\u05e2\u05d1\u05e8\u05d9\u05ea", "\u0627\u0644", "a \u05e2 1", "\u202eabc", "\u200f"],
    "unprintable": ["a\nb", "a\tb", "a\rb", "\x00", "\udce9", "\u2028", "\ufeff", "\x7f"],
    "long": ["x" * 255, "x" * 254 + "y", "\u00e9" * 120, "a b " * 60],
    "like numbers": ["#0", "\u732b", "#1", "1.10", "1.1"],
    "blank": ["", " ", "  ", "\u3000", "\\", "%", "{}", "_^"],
}


@pytest.mark.parametrize("names", ODD_NAMES.values(), ids=ODD_NAMES)
def test_names_of_any_characters_are_drawn_and_differ(tmp_path, names):
    """Without a warning, such as that of a missing glyph."""
    texts = letter_names(names)
    assert len(set(texts)) == len(names) and max(map(len, texts)) <= 2 * LONGEST
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(tmp_path / "matrix.png", names)


def test_odd_names_are_drawn_beside_a_large_matrix(tmp_path):
    names = [f"{name}{number}" for group in ODD_NAMES.values() for name in group for number in range(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(tmp_path / "matrix.png", names)
    with Image.open(tmp_path / "matrix.png") as picture:
        assert min(picture.size) > 300 and len(picture.convert("L").getcolors()) > 20  # not blank


def test_names_are_drawn_as_they_are_if_the_font_has_them():
    names = ["cat", "b,c", "\u00fcber \u03b1", "price $5", "$5_$10"]
    assert [text.replace(r"\$", "$") for text in letter_names(names)] == names
    drawn = [Text(text=text)._preprocess_math(text) for text in letter_names(names)]
    assert drawn == [(name, False) for name in names]  # what matplotlib draws, and whether as a formula
    assert not explain_numbers(names, letter_names(names))


def test_names_that_no_font_has_are_numbers_with_a_legend():
    names = ["cat", "\u732b", "\u72ac"]
    assert letter_names(names) == ["cat", "#1", "#2"]
    assert explain_numbers(names, letter_names(names)) == NUMBERED
    assert letter_names(["#1", "\u732b"]) == ["#0", "#1"]  # not twice the same


def test_letters_are_taken_from_any_installed_font(tmp_path, monkeypatch):
    """A font with nothing but a square for one Chinese character."""
    pen = TTGlyphPen(None)
    for number, point in enumerate([(0, 0), (0, 700), (700, 700), (700, 0)]):
        (pen.lineTo if number else pen.moveTo)(point)
    pen.closePath()
    square = pen.glyph()
    font = FontBuilder(1000)
    font.setupGlyphOrder([".notdef", "cat"])
    font.setupCharacterMap({0x732B: "cat"})
    font.setupGlyf({".notdef": square, "cat": square})
    font.setupHorizontalMetrics({".notdef": (800, 0), "cat": (800, 0)})
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": "Only Cat", "styleName": "Regular"})
    font.setupOS2(usWeightClass=400)
    font.setupPost()
    font.save(tmp_path / "cat.ttf")
    monkeypatch.setattr(fontManager, "ttflist", [*fontManager.ttflist])
    for function in (find_family, has_glyph, list_upright):
        function.cache_clear()
    fontManager.addfont(tmp_path / "cat.ttf")
    assert letter_names(["\u732b", "\u72ac"]) == ["\u732b", "#1"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(tmp_path / "cat.png", ["\u732b", "\u72ac"])
    for function in (find_family, has_glyph, list_upright):
        function.cache_clear()


@pytest.mark.parametrize("num_classes", [41, 10_000])
def test_a_matrix_of_many_classes_is_cheap_and_of_bounded_size(tmp_path, num_classes):
    start = process_time()
    draw(tmp_path / "matrix.png", [f"class {number}" for number in range(num_classes)])
    with Image.open(tmp_path / "matrix.png") as picture:
        assert max(picture.size) < 2000
    assert process_time() - start < 5  # 51 s when every class of 1,000 had its name


def test_the_most_confused_pairs_are_named():
    figure = Figure()
    counts = np.zeros((50, 50), int)
    counts[3, 4], counts[4, 3], counts[7, 7] = 5, 9, 100
    draw_pairs(figure.subplots(), coo_array(counts), [f"c{number}" for number in range(50)])
    (axis,) = figure.axes
    texts = [re.sub("[^c0-9]+", " ", label.get_text()).strip() for label in axis.get_yticklabels()]
    assert texts == ["c4 c3", "c3 c4"] and [bar.get_width() for bar in axis.patches] == [9, 5]


def test_blocks_sum_the_counts_of_neighbouring_classes():
    """1,000 classes in blocks of 4: of block 0, one of two pictures is in block 0, the other in block 249."""
    figure = Figure()
    counts = coo_array(([1, 1, 5], ([0, 3, 999], [2, 998, 999])), shape=(1000, 1000))
    draw_blocks(figure.subplots(), "student", counts)
    shares = figure.axes[0].images[0].get_array()
    assert shares.shape == (250, 250) and shares[0, 0] == shares[0, 249] == 0.5 and shares[249, 249] == 1
    assert shares.sum() == 2 and figure.axes[0].get_title() == "student: 5 of 7 right"


def test_charts_of_many_classes_show_the_most_confused():
    """100 classes of 10 pictures; of class c, c // 20 are mistaken for class 7."""
    classes = tuple(f"class {number}" for number in range(100))
    labels = np.repeat(np.arange(100), 10)
    guesses = np.where(np.tile(np.arange(10), 100) < labels // 20, 7, labels)
    predictions = Predictions(classes, labels, np.eye(100)[guesses])
    charted = pick_charted(predictions)
    assert charted == [7, *range(60, 79), *range(80, 100)]  # of 60 to 79, which are equal, the first
    pairs = Counter(pair_labels(predictions, charted))
    rest = "60 other classes"
    assert pairs[rest, rest] == 19 * 10 + 20 * 9 + 20 * 8 + 7 and pairs[rest, "class 7"] == 20 + 40 + 3
    assert pairs["class 98", "class 7"] == 4 and pairs["class 98", "class 98"] == 6
    assert sum(pairs.values()) == 1000 and len({name for pair in pairs for name in pair}) == 41


def test_charts_of_few_classes_show_all_and_the_rest_has_a_name_of_its_own():
    assert pick_charted(HAND) == [0, 1, 2]
    assert pair_labels(HAND, [0, 1, 2]) == [("a", "a"), ("a", "b,c"), ("b,c", "b,c"), ("b,c", "d")]
    named = Predictions(("a", "1 other classes", "c"), HAND.labels, HAND.probs)
    assert pair_labels(named, [0, 1])[3] == ("1 other classes", "(1 other classes)")


def test_a_teacher_called_like_the_student_stays_apart(tmp_path, monkeypatch):
    """The schema refuses the name, but the figures must not depend on that."""
    monkeypatch.chdir(tmp_path)
    paths = [f"test/a/{number}.png" for number in range(4)]
    better = Predictions(CLASSES, HAND.labels, np.eye(3)[HAND.labels])
    models = [Measured("student", HAND), Measured("student", better)]
    figures = [summarize(model.predictions) for model in models]
    calibrated = dict.fromkeys(("temperature", "log_loss", "ece", "threshold", "coverage", "accuracy"), 1.0)
    stages.evaluate.write_metrics(models, figures, calibrated, "test", stages.evaluate.PIPELINE.metrics)
    stages.evaluate.write_tables(models, Manifest(paths, HAND.labels, CLASSES, ""), stages.evaluate.PIPELINE)
    test = json.loads(Path("metrics/test.json").read_text())["test"]
    assert test["accuracy"] == 0.5 and test["teacher"]["student"]["accuracy"] == 1.0
    assert len(Path("plots/test/per_class.csv").read_text().splitlines()) == 1 + 2 * 3
