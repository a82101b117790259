"""The knowledge files: lossless round trips, and every way in which a file can be invalid."""

import numpy as np
import pytest
import torch
from scipy.special import expit, logit, softmax

from src.ground.errors import UserError
from src.losses.bases import BASES
from src.teaching.curriculum import find_truth_probs
from src.teaching.knowledge import SUMS_TO_ONE, Knowledge, average_teachers
from src.teaching.knowledge_file import read_knowledge, write_knowledge
from src.teaching.knowledge_folder import read_folder

PATHS = ["train/a/co,mma.png", 'train/a/"q".png', "train/b/line\nbreak.png"]
CLASSES = ("a", "b,c")
SOFT = Knowledge("softmax", np.array([[0.9, 0.1], [0.25, 0.75], [1 / 3, 2 / 3]]))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "distill_x.txt"
    write_knowledge(path, SOFT, PATHS, CLASSES)
    return path


@pytest.mark.parametrize("base", ["softmax", "bce"])
def test_round_trip_keeps_nine_digits(tmp_path, base):
    path = tmp_path / "distill.txt"
    write_knowledge(path, Knowledge(base, SOFT.probs), PATHS, CLASSES)
    back = read_knowledge(path, PATHS, CLASSES)
    assert back.base == base and np.allclose(back.probs, SOFT.probs, rtol=1e-9, atol=0)


def test_rows_are_in_the_requested_order(file):
    assert np.allclose(read_knowledge(file, PATHS[::-1], CLASSES).probs, SOFT.probs[::-1])


def test_without_a_first_line_rows_that_sum_to_one_are_softmax(file):
    file.write_text(file.read_text().split("\n", 1)[1])
    assert read_knowledge(file, PATHS, CLASSES).base == "softmax"
    file.write_text(file.read_text().replace("0.25,0.75", "0.25,0.5"))
    assert read_knowledge(file, PATHS, CLASSES).base == "bce"


def test_rows_of_unknown_pictures_are_skipped_and_counted(file, capsys):
    assert len(read_knowledge(file, PATHS[:1], CLASSES).probs) == 1
    assert "ignored 2 rows of pictures that are not in train" in capsys.readouterr().out


def make_replacer(old, new):
    return lambda text: text.replace(old, new)


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda text: text[:-9], r"line\\nbreak.png: a softmax row must sum to 1"),
        (lambda text: text[: text.index('"train/a/""q')], "2 of 3 training pictures are missing"),
        (make_replacer("0.25", "nan"), r"line 4: .*a probability must be in \[0, 1\], got 'nan'"),
        (make_replacer("0.25", "-0.25"), r"line 4: .*a probability must be in \[0, 1\], got '-0.25'"),
        (make_replacer("0.25", "1.7"), r"line 4: .*a probability must be in \[0, 1\], got '1.7'"),
        (make_replacer("0.25", "x"), r"line 4: .*a probability must be in \[0, 1\], got 'x'"),
        (make_replacer("0.25,0.75", "0.25"), r"line 4: 1 of 2 values"),
        (make_replacer("0.25,0.75", "0.25,0.5"), r"a softmax row must sum to 1 within 0.001, got 0.75"),
        (make_replacer("base=softmax", "base=sotfmax"), r"line 1: must be '# base=softmax' or '# base=bce'"),
        (make_replacer('p_a,"p_b,c"', '"p_b,c",p_a'), r"line 2: probabilities of 2 classes \(b,c, a"),
        (make_replacer(',"p_b,c"', ""), r"line 2: probabilities of 1 classes"),
        (lambda text: text + '"train/a/co,mma.png",0.9,0.1\n', r"line 7: .* is listed twice"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused_with_file_and_line(file, damage, message):
    file.write_text(damage(file.read_text()))
    with pytest.raises(UserError, match=message) as error:
        read_knowledge(file, PATHS, CLASSES)
    assert str(error.value).startswith(f"{file}: ") and len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    "encoding, line", [("latin-1", 5), ("utf-16", 1), ("utf-16-le", 5), ("utf-8-sig", None), ("cp1252", 5)]
)
def test_a_file_in_another_encoding(tmp_path, encoding, line):
    """Refused with file and line, or read; a byte order mark is harmless."""
    file, names = tmp_path / "distill_x.txt", ["a.png", "b.png", "\u00fc.png"]
    write_knowledge(file, SOFT, names, CLASSES)
    file.write_bytes(file.read_text(encoding="utf-8").encode(encoding))
    if line is None:
        assert np.allclose(read_knowledge(file, names, CLASSES).probs, SOFT.probs)
        return
    with pytest.raises(
        UserError, match=f": line {line}: not UTF-8 \\(convert the file: iconv -f latin1"
    ) as error:
        read_knowledge(file, names, CLASSES)
    assert str(error.value).startswith(f"{file}: ")


@pytest.mark.parametrize("ending", ["\n", "\n\n\n", "\r\n", "\r\n\r\n"], ids=ascii)
def test_blank_lines_and_ends_of_lines_are_harmless(file, ending):
    names, text = ["a.png", "b.png", "c.png"], ""
    write_knowledge(file, SOFT, names, CLASSES)
    text = file.read_text().replace("\n", ending)
    file.write_bytes(text.encode())
    assert np.allclose(read_knowledge(file, names, CLASSES).probs, SOFT.probs)


def test_damaged_files_never_raise_anything_else(file):
    """300 files with bytes changed, inserted, cut and doubled: read, or refused in one line."""
    generator, sound, refused = np.random.default_rng(0), file.read_bytes(), 0
    for _ in range(300):
        data = bytearray(sound)
        for _ in range(generator.integers(1, 4)):
            place, byte = int(generator.integers(len(data) + 1)), int(generator.integers(256))
            kind = generator.integers(5)
            if kind == 0:
                data[place : place + 1] = bytes([byte])
            elif kind == 1:
                data[place:place] = bytes([byte, *b'",\n\x00'][: 1 + byte % 5])
            elif kind == 2:
                del data[place : place + 1 + byte // 8]
            elif kind == 3:
                data[place:place] = data[max(0, place - byte) : place]
            else:
                data[place:] = b""
        file.write_bytes(data)
        try:
            probs = read_knowledge(file, PATHS, CLASSES).probs
        except UserError as error:
            message, refused = str(error), refused + 1
            assert message.startswith(f"{file}: ") and len(message) < 600 and "\n" not in message
        else:
            assert probs.shape == (3, 2) and ((probs >= 0) & (probs <= 1)).all()
    assert 100 < refused < 300


def test_a_folder_in_place_of_a_file(tmp_path):
    (tmp_path / "distill_x.txt").mkdir()
    with pytest.raises(UserError, match="distill_x.txt: a folder, not a file"):
        read_folder(tmp_path, PATHS, CLASSES)


def test_messages_of_a_thousand_classes_are_short(file):
    names = [f"class_{number:04d}" for number in range(1000)]
    with pytest.raises(UserError, match=r"2 classes \(a, b,c\), but train has 1000 \(the header") as error:
        read_knowledge(file, PATHS, names)
    assert len(str(error.value)) - len(str(file)) < 250


def test_paths_are_never_opened(file):
    file.write_text(file.read_text() + "../../../etc/passwd,0.5,0.5\n")
    assert len(read_knowledge(file, PATHS, CLASSES).probs) == 3


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("temperature", [0.01, 0.1, 0.5, 1, 2, 10, 100, 1000])
def test_temperature_divides_the_logits(base, temperature):
    """Against scipy, at 10,000 classes too; 0.0001 ** (1 / 0.01) alone is 0, and so is the sum of a row."""
    generator = np.random.default_rng(0)
    for logits in (generator.normal(0, 3, (20, 5)), generator.normal(0, 0.1, (3, 10_000))):
        link, softened = (softmax, softmax) if base == "softmax" else (expit, expit)
        options = {"axis": 1} if base == "softmax" else {}
        probs = torch.from_numpy(link(logits, **options))
        expected = softened(logits / temperature, **options)
        assert np.allclose(BASES[base].soften(probs, temperature), expected, rtol=1e-6, atol=1e-300)


@pytest.mark.parametrize("temperature", [0.01, 1, 4])
def test_certain_probabilities_stay_finite(temperature):
    sure = torch.tensor([[1.0, 0.0]])
    assert torch.equal(BASES["softmax"].soften(sure, temperature), sure)
    clamped = expit(logit(np.array([[1 - 1e-7, 1e-7]])) / temperature)
    assert np.allclose(BASES["bce"].soften(sure, temperature), clamped, rtol=0.02)  # float32 near 1


@pytest.mark.parametrize("classes, expected", [(10, 0.94), (1000, 0.12)])
def test_a_bce_teacher_is_softened_by_its_logits(classes, expected):
    """One that is sure at .95, of the others at .001; each sigmoid by itself would give .75 and .03."""
    probs = np.full((1, classes), 0.001)
    probs[0, 3] = 0.95
    read = torch.from_numpy(average_teachers([Knowledge("bce", probs)], "softmax"))
    assert BASES["softmax"].soften(read, 2.0)[0, 3].item() == pytest.approx(expected, abs=0.005)
    assert find_truth_probs([Knowledge("bce", probs)], np.array([3])) == pytest.approx(0.95)  # p itself


def test_average_of_a_softmax_and_a_bce_teacher_by_hand():
    bce = Knowledge("bce", np.array([[0.9, 0.25]]))  # odds of 9 and 1 / 3
    softmax = Knowledge("softmax", np.array([[0.6, 0.4]]))
    assert np.allclose(
        average_teachers([softmax, bce], "softmax"), [[(0.6 + 27 / 28) / 2, (0.4 + 1 / 28) / 2]]
    )
    assert np.allclose(average_teachers([softmax, bce], "bce"), [[0.75, 0.325]])


def test_the_labels_file_can_be_another_teacher(tmp_path):
    """Averaged with a teacher, it moves the target half way to the label."""
    names, classes = ["a.png", "b.png"], ["x", "y"]
    write_knowledge(tmp_path / "label.txt", Knowledge("softmax", np.eye(2)), names, classes)
    label = read_knowledge(tmp_path / "label.txt", names, classes)
    teacher = Knowledge("softmax", np.array([[0.6, 0.4], [0.2, 0.8]]))
    assert np.allclose(average_teachers([teacher, label], "softmax"), [[0.8, 0.2], [0.1, 0.9]])


def test_truth_probs_are_the_mean_probability_of_the_label(tmp_path, file):
    write_knowledge(tmp_path / "distill_y.txt", Knowledge("softmax", 1 - SOFT.probs), PATHS, CLASSES)
    both = read_folder(tmp_path, PATHS, CLASSES)
    assert np.allclose(find_truth_probs(both[:1], np.array([0, 0, 1])), [0.9, 0.25, 2 / 3])
    assert np.allclose(find_truth_probs(both, np.array([0, 0, 1])), 0.5)
    assert find_truth_probs([], np.array([0, 1])).tolist() == [1, 1]


def test_knowledge_has_the_bases_of_the_losses():
    assert {name: base.per_sample for name, base in BASES.items()} == SUMS_TO_ONE
