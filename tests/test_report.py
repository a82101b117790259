"""The page of results: what is counted and drawn for it by hand, and the page itself in a browser."""

import html
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, draw_tiny_images, edit_params
from PIL import Image
from scipy.stats import binomtest

import src.export.gate
from src.ground.errors import UserError
from src.ground.files import write_json
from src.networks.checkpoint import Facts, save_weights
from src.networks.libraries import build_model
from src.pictures.manifest import Manifest, read_manifest
from src.report.charts import HEIGHT, WIDTH, Axis, draw_lines
from src.report.findings import compare_models, list_confused, measure_naive, rank_classes
from src.report.overlay import SIDE, overlay, spread
from src.report.picks import (
    find_share,
    pick_disagreements,
    pick_mistakes,
    pick_of_class,
    pick_random,
    pick_unsure,
)
from src.report.sections import fill_matrix, list_galleries, read_curves
from src.report.thumbnails import FULL, Thumbnails
from src.results.calibration import NEVER
from src.results.metrics import find_truth
from src.results.predictions import Measured, Predictions, read_predictions, write_predictions
from src.teaching.knowledge import Knowledge
from src.teaching.knowledge_file import write_knowledge
from stages import check_images, evaluate, export_jit, make_curriculum, report

NAMES = ("a", "b", "c")
STUDENT = Predictions(
    NAMES,
    np.array([0, 0, 1, 1, 2]),
    np.array([[0.9, 0.1, 0], [0.2, 0.7, 0.1], [0.3, 0.4, 0.3], [0.95, 0.05, 0], [0.1, 0.1, 0.8]]),
)
TEACHER = Predictions(
    NAMES,
    STUDENT.labels,
    np.array([[0.8, 0.1, 0.1], [0.6, 0.4, 0], [0.1, 0.1, 0.8], [0.3, 0.7, 0], [0.1, 0, 0.9]]),
)


def test_pictures_are_picked_by_how_sure_the_student_is():
    assert pick_mistakes(STUDENT).tolist() == [3, 1]
    assert pick_unsure(STUDENT).tolist() == [2, 1, 4, 0, 3]
    assert pick_of_class(STUDENT, 0).tolist() == [0, 1] and pick_of_class(STUDENT, 1).tolist() == [2, 3]
    assert pick_disagreements(STUDENT, TEACHER).tolist() == [3, 1, 2]  # sure by .7, .6, .4
    assert sorted(pick_random(STUDENT)) == list(range(5))


def test_sigmoids_are_shown_over_their_sum_as_they_are_sorted(tmp_path):
    """By the largest sigmoid alone picture 0 is the surest; over the sum it is 1: 0.9 / 1.8 and 0.6 / 0.8."""
    probs = np.array([[0.0, 0.9, 0.9], [0.1, 0.6, 0.1], [0.0, 0.0, 0.0]])
    sigmoids = Predictions(NAMES, np.array([0, 0, 1]), probs)
    gone = Thumbnails(tmp_path, 1, None, 96, 1)
    galleries = list_galleries(sigmoids, [Measured("big", sigmoids)], ["0.png", "1.png", "2.png"], gone, 9)
    assert [(item.path, item.text.striptags()) for item in galleries[0].items] == [
        ("1.png", "a, taken for b: 75%"),
        ("0.png", "a, taken for b: 50%"),
        ("2.png", "b, taken for a: 33%"),
    ]
    shares = [find_share(sigmoids, row, number) for row, number in enumerate(sigmoids.predicted)]
    assert np.allclose(shares, find_truth(sigmoids).of_predicted)


def test_agreement_by_hand():
    """The student alone is right on picture 2, the teacher alone on 1 and 3: p = 2 (1 + 3) / 2^3 at most."""
    found = compare_models(STUDENT, TEACHER)
    assert (found.same, found.student_alone, found.teacher_alone, found.p) == (0.4, 1, 2, 1.0)
    labels = np.zeros(12, int)
    right, wrong = np.eye(2)[labels], np.eye(2)[labels + 1]
    one = Predictions(("a", "b"), labels, np.where(np.arange(12)[:, None] < 10, right, wrong))
    other = Predictions(("a", "b"), labels, np.where(np.arange(12)[:, None] < 1, right, wrong))
    assert compare_models(one, other).p == pytest.approx(2 / 2**9)  # 9 to 0
    assert compare_models(one, one).p == 1.0


@pytest.mark.parametrize("ours, theirs", [(1, 0), (5, 5), (3, 9), (40, 12), (0, 700)])
def test_agreement_is_tested_as_scipy_does(ours, theirs):
    labels = np.zeros(ours + theirs, int)
    right, wrong = np.eye(2)[labels], np.eye(2)[labels + 1]
    first = np.arange(ours + theirs)[:, None] < ours
    found = [Predictions(("a", "b"), labels, np.where(own, right, wrong)) for own in (first, ~first)]
    assert compare_models(*found).p == pytest.approx(binomtest(ours, ours + theirs).pvalue, rel=1e-9)


def test_confused_pairs_and_worst_classes():
    assert list_confused(STUDENT, 5) == [("a", "b", 1, 0.5), ("b", "a", 1, 0.5)]
    assert list_confused(STUDENT, 1)[0].label == "a"
    rows = [{"class": n, "pictures": p, "f1": f} for n, p, f in (("a", 3, 0.9), ("b", 0, 0), ("c", 2, 0.1))]
    assert [row["class"] for row in rank_classes(rows, 5)] == ["c", "a"]


def test_naive_answers_by_hand():
    """Two greys: train has more dark ones; of test three are dark, one of them under the other class."""

    def make(labels):
        return Manifest(
            [str(number) for number in range(len(labels))], np.array(labels), ("dark", "light"), ""
        )

    def paint(values):
        return np.stack([np.full((4, 6, 3), value, np.uint8) for value in values])

    train, test = make([0, 0, 0, 1]), make([0, 0, 1, 1, 1])
    naive = measure_naive(train, test, paint([10, 20, 30, 200]), paint([15, 40, 25, 180, 250]))
    assert naive == (0.4, "dark", 0.8)


@pytest.mark.parametrize("low, high", [(0, 1), (0.6, 1), (1, 20), (0, 0.0137), (-3, 3), (2, 2)])
def test_ticks_are_round_and_within_the_axis(low, high):
    ticks = Axis("x", low, high).ticks()
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks) and len(ticks) <= 11
    assert all(len(f"{tick:g}") <= 6 for tick in ticks) and (low == high or len(ticks) >= 3)


def test_lines_stay_on_the_chart_and_texts_are_escaped():
    points = [(x / 1000, (x / 1000) ** 2) for x in range(1001)]
    chart = str(draw_lines(Axis("<x>", 0, 1), Axis("y", 0, 1), {"<b>": points, "two": points[:2]}))
    assert "<b>" not in chart and "&lt;b&gt;" in chart and "<x>" not in chart
    places = [
        tuple(map(float, pair.split(","))) for pair in re.search(r'c0" points="(.*?)"', chart)[1].split()
    ]
    assert len(places) <= 401 and all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in places)
    assert places[0][0] < places[-1][0] and places[0][1] > places[-1][1]


def test_a_line_of_one_point_is_a_dot():
    chart = str(draw_lines(Axis("epoch", 1, 2), Axis("y", 0, 1), {"student": [(1.0, 0.5)], "none": []}))
    assert '<circle class="line c0" cx="52.0" cy="134.0"' in chart


@pytest.mark.parametrize("fit", ["letterbox", "crop", "stretch"])
def test_a_map_lies_on_what_the_network_saw(fit):
    """A picture twice as wide as high, its input square; the upper left quarter of the input is warm."""
    heat = np.zeros((8, 8))
    heat[:4, :4] = 1
    warm = spread(heat, (64, 64), fit, (200, 100)) > 0.5
    rows, columns = (np.flatnonzero(warm.any(axis=axis)) for axis in (1, 0))
    expected = {"letterbox": (0, 50, 0, 100), "crop": (0, 50, 50, 100), "stretch": (0, 50, 0, 100)}[fit]
    found = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    assert np.abs(np.subtract(found, expected)).max() <= 4


@pytest.mark.parametrize("shape", [(900, 10), (1280, 8), (8, 1280), (1, 1)])
@pytest.mark.parametrize("fit", ["letterbox", "crop", "stretch"])
def test_pictures_of_any_shape_are_drawn(fit, shape):
    drawn = overlay(Image.new("RGB", shape), np.ones((4, 4)), (64, 64), fit)
    assert max(drawn.size) == SIDE and np.asarray(drawn).any()


def test_what_the_network_did_not_see_stays_as_it_is():
    picture = Image.new("RGB", (320, 160), (10, 200, 30))
    drawn = np.asarray(overlay(picture, np.ones((4, 4)), (64, 64), "crop"))
    assert drawn.shape == (SIDE // 2, SIDE, 3)
    assert (drawn[:, : SIDE // 4 - 1] == (10, 200, 30)).all() and (drawn[:, SIDE // 2] != (10, 200, 30)).all()
    cold = np.asarray(overlay(picture, np.zeros((4, 4)), (64, 64), "stretch"))
    assert (cold == (10, 200, 30)).all()


def test_each_picture_is_in_the_page_once_and_what_is_gone_is_told(tmp_path):
    for number in range(3):
        Image.new("RGB", (300, 100), (number * 80, 0, 0)).save(tmp_path / f"{number}.png")
    (tmp_path / "bad.png").write_bytes(b"bad")
    found = Thumbnails(tmp_path, 10**6, None, 96, 10**6)
    assert [found.find(name) for name in ("0.png", "1.png", "0.png", "none.png", "bad.png")] == [
        0,
        1,
        0,
        None,
        None,
    ]
    assert len(found.sources) == 2 and found.left_out == 0
    small = Thumbnails(tmp_path, 10**6, None, 96, len(found.sources[0]) + 10)
    assert [small.find(name) for name in ("0.png", "1.png", "2.png")] == [0, FULL, FULL]
    assert small.left_out == 2


def test_cells_hold_the_surest_pictures(tmp_path):
    matrix = fill_matrix(
        STUDENT, [f"{number}.png" for number in range(5)], Thumbnails(tmp_path, 1, None, 96, 1)
    )
    assert matrix.counts == [[1, 1, 0], [1, 1, 0], [0, 0, 1]] and matrix.shares[0] == [0.5, 0.5, 0]
    assert matrix.cells["1-0"] == [(None, "3.png", "<bdi>b</bdi>, taken for <bdi>a</bdi>: 95%")]
    assert set(matrix.cells) == {"0-0", "0-1", "1-0", "1-1", "2-2"}


@pytest.mark.parametrize(
    "old, new, line, what",
    [
        ("", "", 1, "must be path,label,prediction,p_<class>,... "),
        ("path,", "file,", 1, "must be path,label,prediction,p_<class>,... "),
        (",p_b", ",b", 1, "must be path,label,prediction,p_<class>,... "),
        (",p_b", ",p_x", 3, "no class 'b'"),
        ("4.png,c,c,0.1,0.1,0.8\n", "4.png,c,c,0.1,0.", 6, "5 values, not 6"),
        ("4.png,c,c,0.1,0.1,0.8\n", "4.png,c,c,0.1,0.1,0.", 6, "cut off"),
        ("0.1,0\n1.png", "0.1\n1.png", 2, "5 values, not 6"),
        ("0.1,0\n1.png", "0.1,0,0\n1.png", 2, "7 values, not 6"),
        ("0.1,0\n1.png", "0.1,0\n  \n1.png", 3, "1 values, not 6"),
        ("0.9", "abc", 2, "must be a number in [0, 1], got 'abc'"),
        ("0.9", "nan", 2, "must be a number in [0, 1], got 'nan'"),
        ("0.9", "inf", 2, "must be a number in [0, 1], got 'inf'"),
        ("0.9", "-0.9", 2, "must be a number in [0, 1], got '-0.9'"),
        ("0.9", "1.01", 2, "must be a number in [0, 1], got '1.01'"),
        ("0.png,a", "0.png,d", 2, "no class 'd'"),
        ("0.png,a,a", "0.png,a,d", 2, "no class 'd'"),
        ("0.png", "0\udcff.png", 2, "not UTF-8"),
    ],
)
def test_a_line_that_no_stage_wrote_is_named(tmp_path, old, new, line, what):
    path = tmp_path / "p.csv"
    write_predictions(path, STUDENT, [f"{number}.png" for number in range(5)])
    text = path.read_text().replace(old, new, 1) if old else ""
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError) as error:
        read_predictions(path)
    assert str(error.value).startswith(f"{path}: line {line}: {what}") and "\n" not in str(error.value)
    assert ("dvc repro" in str(error.value)) == (what != "not UTF-8")


def test_a_blank_line_is_none(tmp_path):
    paths = [f"{number}.png" for number in range(5)]
    write_predictions(tmp_path / "p.csv", STUDENT, paths)
    (tmp_path / "p.csv").write_text((tmp_path / "p.csv").read_text().replace("\n2.png", "\n\n2.png"))
    back, found = read_predictions(tmp_path / "p.csv")
    assert found == paths and np.array_equal(back.probs, STUDENT.probs)


CURVE = "epoch,lr,train_loss,val_loss,val_accuracy\n1,1,2,inf,0.3\n2,1,nan,1.2,0.5\n"


@pytest.mark.parametrize(
    "old, new, what",
    [
        (CURVE, "", "line 1: must be epoch,lr,train_loss,val_loss,val_accuracy (run dvc repro)"),
        (CURVE, CURVE[:42], "no epochs (run dvc repro)"),
        (",0.3", "", "line 2: 4 values, not 5"),
        ("0.5\n", "0.", "line 3: cut off"),
        ("1.2", "low", "line 3: must be a number in [0, inf], got 'low'"),
        ("2,1,nan", "nan,1,nan", "line 3: must be a number in [1, 1e+15], got 'nan'"),
        ("0.5", "nan", "line 3: must be a number in [0, 1], got 'nan'"),
    ],
)
def test_what_are_no_curves_is_refused(tmp_path, old, new, what):
    path = tmp_path / "student.csv"
    path.write_text(CURVE)
    assert [row["val_loss"] for row in read_curves(path)] == ["inf", "1.2"]
    path.write_text(CURVE.replace(old, new, 1))
    with pytest.raises(UserError) as error:
        read_curves(path)
    assert str(error.value).startswith(f"{path}: {what}") and "\n" not in str(error.value)


ODD = "r<b>\"&'\u202e</script>"  # a class name; its override of the direction ends with it


def save_untrained(path, classes, side=32, fit="letterbox"):
    colours = (0.5, 0.5, 0.5)
    facts = Facts(
        "timm/test_resnet", "softmax", classes, side, side, colours, colours, "", "", "", "cpu", fit
    )
    save_weights(path, build_model(facts.arch, len(classes), "x").eval(), facts)


@pytest.fixture
def finished(place, tmp_path, monkeypatch):
    """All files that report reads: of tiny pictures, an untrained student, and a teacher."""
    root = draw_tiny_images(tmp_path / "pictures", 8)
    edit_params(
        place, data__root=str(root), export__formats=["torchscript"], report__heatmaps__pictures=2, threads=1
    )
    monkeypatch.setattr(src.export.gate, "CLASSIFIER", ROOT / "demos/classifier.py")
    check_images.main()
    train = read_manifest("train")
    for path in (evaluate.STUDENT, evaluate.TEACHERS / "big.safetensors"):
        save_untrained(path, train.classes)
    probs = np.full((24, 3), 0.1) + 0.7 * np.eye(3)[train.labels]
    probs[5] = [0.05, 0.9, 0.05]
    write_knowledge(
        Path("data/distill/distill_big.txt"), Knowledge("softmax", probs), train.paths, train.classes
    )
    make_curriculum.main()
    monkeypatch.setattr("sys.argv", ["evaluate"])
    evaluate.main()
    export_jit.main()
    write_json(Path("metrics/student.json"), {"student": {"best_epoch": 2, "parameters": 1234}})
    for path in (Path("plots/student.csv"), Path("plots/teacher/big.csv")):
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text("epoch,lr,train_loss,val_loss,val_accuracy\n1,1,2,1.5,0.3\n2,1,1,1.2,0.5\n")
    return place


class Reader(HTMLParser):
    """The ids, links, numbered pictures and external sources of a page."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.numbers, self.sources = set(), set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.ids |= {named["id"]} if "id" in named else set()
        self.links |= {named["href"]} if tag == "a" else set()
        self.numbers += [int(named["data-number"])] if "data-number" in named else []
        self.sources += [named[key] for key in ("src", "href") if key in named and tag != "a"]


def read_page():
    text = Path("plots/report.html").read_text(encoding="utf-8")
    data = re.search(r'<script id="page-data" type="application/json">(.*?)</script>', text, re.DOTALL)
    return text, Reader(text), json.loads(data[1])


@pytest.mark.slow
@pytest.mark.parametrize("module", ["sklearn", "sklearn.metrics", "scipy.stats"])
def test_the_page_is_made_without_what_takes_long_to_import(finished, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)  # to import it is an error
    report.main()
    assert "average precision" in read_page()[0]


@pytest.mark.slow
def test_the_page_is_complete_in_itself(finished):
    report.main()
    text, page, data = read_page()
    assert (
        page.links == {f"#{name}" for name in page.ids if f"#{name}" in page.links} and len(page.links) == 10
    )
    assert page.sources == ["latency.js"] and "http" not in re.sub(r"data:[^\"]*", "", text)
    assert page.numbers and max(page.numbers) < len(data["pictures"])
    assert all(
        picture.startswith(("data:image/png;base64,", "data:image/jpeg;base64,"))
        for picture in data["pictures"]
    )
    assert sum(len(cell) for cell in data["cells"].values()) == 24
    assert re.search("<bdi>(green|blue)</bdi>, believed <bdi>", text)
    assert re.match(
        r'window.latency = ".* ms as student.pt: on this machine', Path("plots/latency.js").read_text()
    )
    first = Path("plots/report.html").read_bytes()
    report.main()
    assert Path("plots/report.html").read_bytes() == first


def read_captions():
    """The page's text without tags."""
    return re.sub(r"<[^>]*>", "", read_page()[0])


@pytest.mark.parametrize(
    "threshold, said",
    [
        (NEVER, "On val no confidence gave an accuracy of"),
        (0.999, "No picture here reaches the threshold 0.999"),
    ],
)
@pytest.mark.slow
def test_a_student_that_is_never_sure_enough(finished, threshold, said):
    calibration, metrics = Path("data/calibration.json"), Path("metrics/test.json")
    write_json(calibration, json.loads(calibration.read_text()) | {"threshold": threshold})
    measured = json.loads(metrics.read_text())
    measured["test"]["calibrated"] |= {"threshold": threshold, "coverage": 0.0, "accuracy": 0.0}
    write_json(metrics, measured)
    report.main()
    text = read_captions()
    assert "can be answered surely: it is never sure enough" in text and said in text
    assert "2.000" not in text and "The dot is" not in text and "0.0% of the answers" not in text


@pytest.mark.parametrize("calibrate", [True, False])
@pytest.mark.slow
def test_a_temperature_of_1_is_told_of_as_it_came_about(finished, calibrate):
    edit_params(finished, export__calibrate=calibrate)
    path = Path("data/calibration.json")
    write_json(path, json.loads(path.read_text()) | {"temperature": 1.0})
    report.main()
    assert ("The temperature, 1, was fitted on val" in read_captions()) == calibrate
    assert ("export.calibrate is off" in read_captions()) != calibrate


@pytest.mark.slow
def test_one_test_picture(finished):
    """Singular words, one group, dots for lines; a class without pictures has no figures."""
    root = Path(str(finished)).parent / "pictures"
    for path in sorted((root / "test").rglob("*.png"))[1:]:
        path.unlink()
    check_images.main()
    for path in (evaluate.STUDENT, evaluate.TEACHERS / "big.safetensors"):
        save_untrained(path, read_manifest("test").classes)
    evaluate.main()
    report.main()
    text = read_captions()
    assert "Figures of the 1 picture of test" in text and "of 1 picture taken" in text
    assert "1 group of equal size" in text and not re.search(r"\b1 pictures", text)
    rows = re.search(r'id="classes".*?<tbody>(.*?)</tbody>', read_page()[0], re.DOTALL)[1].split("</tr>")[:3]
    empty = [row for row in rows if '<td class="number">0</td>' in row]
    assert len(empty) == 2 and all(row.count('<td class="number">-</td>') == 5 for row in empty)
    assert read_page()[0].count('<circle class="line c') == 3  # reliability twice, coverage


@pytest.mark.slow
def test_a_picture_that_has_gone_is_told_of_and_the_rest_is_drawn(finished, capsys):
    root = Path(str(finished)).parent / "pictures"
    for path in (root / "test/red").iterdir():
        path.unlink()
    report.main()
    text, page, data = read_page()
    assert "gone or unreadable" in text and page.numbers and len(data["pictures"]) > 8


@pytest.mark.slow
def test_odd_names_are_escaped(finished, tmp_path, monkeypatch):
    root = tmp_path / "pictures"
    for split in ("train", "val", "test"):
        (root / split / "red").rename(root / split / ODD.replace("/", "\u2215"))
    name = ODD.replace("/", "\u2215")
    check_images.main()
    for path in (evaluate.STUDENT, evaluate.TEACHERS / "big.safetensors"):
        save_untrained(path, read_manifest("test").classes)
    evaluate.main()
    report.main()
    text, _, data = read_page()
    assert (
        name not in text
        and "<b>" not in text
        and any(name in html.unescape(item[2]) for cell in data["cells"].values() for item in cell)
    )
    captions = re.findall(r"<(?:figcaption|h3|p)\b.*?</(?:figcaption|h3|p)>", text)
    assert all(
        caption.count("\u202e") == len(re.findall("<bdi>[^<]*\u202e[^<]*</bdi>", caption))
        for caption in (re.sub("<(?!/?bdi)[^>]*>", "", one) for one in captions)
    )


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda: Path("data/predictions.csv").unlink(), "data/predictions.csv: no such file"),
        (
            lambda: shutil.copy("data/predictions.csv", "data/teacher_predictions/big.csv"),
            None,
        ),
        (
            lambda: Path("data/predictions.csv").write_text(
                Path("data/predictions.csv").read_text().replace("p_red", "p_pink").replace(",red", ",pink")
            ),
            "data/predictions.csv: predictions of other classes or pictures than test's (run dvc repro)",
        ),
    ],
)
@pytest.mark.slow
def test_predictions_of_other_pictures_are_refused(finished, damage, message):
    damage()
    if message is None:
        report.main()
        return
    with pytest.raises(UserError) as error:
        report.main()
    assert str(error.value).startswith(message)


def write(path, content):
    return lambda: Path(path).write_bytes(content.encode())


def change(path, old, new):
    return lambda: Path(path).write_text(Path(path).read_text().replace(old, new, 1))


def cut_half(path):
    return lambda: Path(path).write_bytes(Path(path).read_bytes()[: Path(path).stat().st_size // 2])


def save(path, *classes, **facts):
    return lambda: save_untrained(Path(path), classes or ("blue", "green", "red"), **facts)


def drop_rows(path):
    return lambda: np.save(path, np.load(path)[:-3])


BIG, WEIGHTS = "data/models/teachers/big.safetensors", "data/models/student.safetensors"
OTHERS = "predictions of other classes or pictures than test's (run dvc repro)"
DAMAGES = [
    (write("data/predictions.csv", ""), "data/predictions.csv: line 1: must be path,label,prediction,p_<cl"),
    (change("data/predictions.csv", "blue/1", "blue/9"), f"data/predictions.csv: {OTHERS}"),
    (write("data/teacher_predictions/big.csv", "\xff"), "data/teacher_predictions/big.csv: line 1: must be "),
    (change("data/teacher_predictions/big.csv", "p_red", "p_b"), "data/teacher_predictions/big.csv: line "),
    (change("data/teacher_predictions/big.csv", "red/1", "red/9"), "data/teacher_predictions/big.csv: pred"),
    (write("data/calibration.json", "{}"), "data/calibration.json: temperature is missing (run dvc repro)"),
    (write("data/suspects.csv", ""), "data/suspects.csv: line 1: must be path,label,believed,confidence (ru"),
    (write("metrics/test.json", "{}"), "metrics/test.json: test.calibrated.coverage is missing (run dvc rep"),
    (write("metrics/test.json", "[1]"), "metrics/test.json: test.calibrated.coverage is missing (run dvc re"),
    (change("metrics/test.json", '"macro_f1"', '"f1"'), "metrics/test.json: test.macro_f1 is missing (run"),
    (change("metrics/test.json", '"big"', '"old"'), "metrics/test.json: test.teacher: other teachers tha"),
    (write("metrics/student.json", "{}"), "metrics/student.json: student.parameters is missing (run dvc"),
    (write("metrics/student.json", '{"student": 1}'), "metrics/student.json: student.parameters is missing"),
    (write("metrics/data.json", "[1]"), "metrics/data.json: data.train is missing (run dvc repro)"),
    (write("metrics/data.json", '{"data": {"train": "x"}}'), "metrics/data.json: data.train must be a"),
    (write("data/counts.csv", ""), "data/counts.csv: line 1: must be class,train,val,test,refused (run dvc "),
    (write("data/counts.csv", "class\n"), "data/counts.csv: line 1: must be class,train,val,test,refused ("),
    (change("data/counts.csv", "8", "x"), "data/counts.csv: line 2: must be a number in [0, 1e+15], got 'x'"),
    (change("data/counts.csv", "red,8,8,8,0\n", ""), "data/counts.csv: counts of other classes than test's"),
    (write("data/bad_images.csv", ""), "data/bad_images.csv: line 1: must be path,reason (run dvc repro)"),
    (write("data/bad_images.csv", "path\n"), "data/bad_images.csv: line 1: must be path,reason (run dvc re"),
    (write("plots/student.csv", ""), "plots/student.csv: line 1: must be epoch,lr,train_loss,val_loss,val_"),
    (write("plots/teacher/big.csv", CURVE[:42]), "plots/teacher/big.csv: no epochs (run dvc repro)"),
    (cut_half("data/export/student.pt"), "data/export/student.pt: cannot be run: "),
    (write("data/export/student.pt", "x"), "data/export/student.pt: cannot be run: "),
    (write("data/export/student.onnx", "x"), "data/export/student.onnx: cannot be run: "),
    (save(WEIGHTS, "a", "b"), f"{WEIGHTS}: trained on 2 classes, the data has 3: "),
    (save(BIG, "a", "b"), f"{BIG}: trained on 2 classes, the data has 3: "),
    (save(WEIGHTS, side=64), f"{WEIGHTS}: trained at 64 x 64 pixels, the pictures are packed at 32 x 32 ("),
    (save(BIG, side=64), f"{BIG}: trained at 64 x 64 pixels, the pictures are packed at 32 x 32 ("),
    (save(BIG, fit="crop"), f"{BIG}: trained on pictures fitted by crop, these are by letterbox ("),
    (drop_rows("data/packed/train.npy"), "data/packed/train.npy: 21 pictures, data/manifest/train.csv lists"),
    (drop_rows("data/packed/test.npy"), "data/packed/test.npy: 21 pictures, data/manifest/test.csv lists 24"),
]  # fmt: skip


@pytest.mark.slow
def test_damage_is_named_in_one_line_and_the_page_stays(finished):
    """Each in turn, mended before the next."""
    report.main()
    paths = [
        path for folder in ("data", "metrics", "plots") for path in Path(folder).rglob("*") if path.is_file()
    ]
    sound = {path: path.read_bytes() for path in paths}
    for damage, message in DAMAGES:
        damage()
        with pytest.raises(UserError) as error:
            report.main()
        assert str(error.value).startswith(message) and "\n" not in str(error.value)
        for path in (report.PAGE, report.LATENCY):
            assert path.read_bytes() == sound[path]
        Path("data/export/student.onnx").unlink(missing_ok=True)
        for path, content in sound.items():
            path.write_bytes(content)
    Path("data/export/student.pt").unlink()
    report.main()
    assert "student.pt" not in read_page()[0]


@pytest.mark.parametrize(
    "damage, message",
    [
        (
            write("data/calibration.json", '{"temperature": 0}'),
            "data/calibration.json: threshold is missing (",
        ),
        (
            write("metrics/test.json", "{}"),
            "metrics/test.json: test.calibrated.coverage is missing (run dvc ",
        ),
    ],
)
@pytest.mark.slow
def test_the_export_refuses_what_evaluate_did_not_write(finished, damage, message):
    damage()
    before = sorted((path, path.read_bytes()) for path in Path("data/export").iterdir())
    with pytest.raises(UserError) as error:
        export_jit.main()
    assert str(error.value).startswith(message)
    assert sorted((path, path.read_bytes()) for path in Path("data/export").iterdir()) == before


@pytest.mark.slow
def test_a_network_without_a_map_is_told_of(finished):
    edit_params(finished, report__heatmaps__methods=["cam", "grad-cam++"], report__heatmaps__split="val")
    report.main()
    text = read_page()[0]
    assert "big: cam: needs a network" in text and "big, grad-cam++" in text
    edit_params(finished, report__heatmaps__methods=[])
    report.main()
    assert "heat" not in read_page()[1].ids


@pytest.mark.slow
def test_without_a_teacher_and_with_a_loss_that_was_infinite(finished):
    edit_params(finished, knowledge__teachers=[], report__heatmaps__pick="disagree")
    shutil.rmtree("data/teacher_predictions")
    evaluate.main()
    make_curriculum.main()
    Path("plots/student.csv").write_text(
        "epoch,lr,train_loss,val_loss,val_accuracy\n1,1,2,inf,0.3\n2,1,1,nan,0.5\n"
    )
    report.main()
    text, page, _ = read_page()
    assert "McNemar" not in text and page.numbers and "nan" not in re.sub(r"data:[^\"]*", "", text)


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PROBE = """<script>
addEventListener("load", () => setTimeout(() => {
  const images = [...document.images], root = document.documentElement;
  const table = document.querySelector("#classes table"), button = table.querySelectorAll("th button")[4];
  const read = () => [...table.tBodies[0].rows].map((row) => row.cells[4].textContent);
  button.click(); const rising = read(); button.click(); const falling = read();
  document.querySelector(".matrix button").click();
  const cell = [...document.querySelectorAll("#cell img")];
  const isBroken = (one) => !one.complete || !one.naturalWidth;
  setTimeout(() => parent.postMessage(JSON.stringify({
    width: root.clientWidth, scroll: root.scrollWidth, images: images.length, rising, falling,
    cell: cell.length, broken: [...images, ...cell].filter(isBroken).length,
    background: getComputedStyle(document.body).backgroundColor,
    latency: document.getElementById("latency").textContent,
  }), "*"), 300);
}, 200));
</script>"""
FRAME = """<!DOCTYPE html>
<iframe src="probed.html" style="width:WIDTHpx;height:900px"></iframe><pre id="told"></pre>
<script>
addEventListener("message", (event) => document.getElementById("told").textContent = event.data);
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium (apt-get install chromium)")
@pytest.mark.parametrize("width, dark", [(390, False), (390, True), (1400, False)])
@pytest.mark.slow
def test_in_a_browser(finished, width, dark):
    """No error, no horizontal scroll, every picture loads, tables sort, cells show their pictures."""
    report.main()
    text = Path("plots/report.html").read_text(encoding="utf-8")
    for before, after in (
        (">", "<"),
        ("&#x2068;", "&#x2069;"),
        (r"\u003e", r"\u003c"),
    ):  # a name of 200 letters
        text = text.replace(f"{before}red{after}", f"{before}{'r' * 200}{after}")
    Path("plots/probed.html").write_text(text.replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    frame = Path("plots/frame.html")
    frame.write_text(FRAME.replace("WIDTH", str(width)))
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
               f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--virtual-time-budget=10000",
               "--window-size=1500,1000", "--dump-dom", frame.absolute().as_uri()]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    told = json.loads(
        re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.DOTALL)[1].replace("&amp;", "&")
    )
    assert told["width"] == told["scroll"] and 0 <= width - told["width"] <= 20  # a scroll bar at the side
    assert told["images"] > 20 and told["broken"] == 0 and told["cell"] > 0
    assert told["rising"] == told["falling"][::-1] == sorted(told["rising"])
    assert (told["background"] == "rgb(13, 17, 23)") == dark and "on this machine" in told["latency"]


@pytest.mark.slow
def test_the_page_is_the_same_whoever_checks_and_dumps(finished):
    report.main()
    before = Path("plots/report.html").read_bytes()
    edit_params(Path(), executor="dask://localhost:8786")
    report.main()
    assert Path("plots/report.html").read_bytes() == before
    edit_params(Path(), report__gallery=7)
    report.main()
    assert Path("plots/report.html").read_bytes() != before


def test_the_shipped_settings_are_those_of_params():
    """If this fails after a change of a default: cp params.yaml src/report/shipped.yaml"""
    text = (ROOT / "params.yaml").read_text()
    if "root: data/demo" not in text:
        pytest.skip("params.yaml is of own pictures")
    assert (ROOT / "src/report/shipped.yaml").read_text() == text
