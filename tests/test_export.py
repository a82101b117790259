"""The exported file is self-contained, and a fresh process agrees with the model."""

import io
import json
import subprocess
import sys
from dataclasses import asdict
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from conftest import COLOURS, ROOT, edit_params, load_demo
from PIL import Image

import src.results.export
from src.ground.errors import LONGEST, UserError
from src.ground.files import write_json
from src.losses.bases import BASES
from src.networks.checkpoint import Facts, save_weights
from src.networks.libraries import build_model
from src.networks.predict import predict_logits
from src.pictures.decode import FORMATS
from src.results.calibration import Calibration
from src.results.export import PictureRule, compare, pick_rows, run_classifier, write_torchscript
from src.results.measuring import score
from stages import check_images, export_jit

DEMO = ROOT / "demos/classifier.py"
CLASSES = ("a,b", "\u732b", "c")
CALIBRATION = Calibration(temperature=2.5, threshold=0.341, wanted_accuracy=0.9)
RULE = PictureRule(FORMATS, 8, 64_000_000, "file")


@pytest.fixture(scope="module", params=["softmax", pytest.param("bce", marks=pytest.mark.slow)])
def shipped(request, tmp_path_factory):
    """The file of a network with random weights, five picture files, and their probabilities."""
    folder, base = tmp_path_factory.mktemp("export"), BASES[request.param]
    torch.manual_seed(0)
    model = build_model("timm/test_resnet", 3, "x").eval()
    none = {"pretrained": "none", "data": "", "params": "", "device": "cpu"}
    facts = Facts("timm/test_resnet", base.name, CLASSES, 33, 48, (0.5,) * 3, (0.5,) * 3, **none)
    write_torchscript(folder / "student.pt", model, base, facts, RULE, CALIBRATION)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 33, 48, 3), dtype=np.uint8)
    pictures = [folder / f"{number}.png" for number in range(5)]
    for path, rows in zip(pictures, pixels, strict=True):
        Image.fromarray(rows).save(path)
    logits = predict_logits(model, pixels, 5, torch.device("cpu")).double()
    return folder / "student.pt", pictures, base.probs(logits / 2.5).numpy()


def test_a_fresh_process_agrees_with_the_model(shipped):
    network, pictures, probs = shipped
    assert np.abs(run_classifier(network, pictures, CLASSES) - probs).max() < 1e-5


def test_more_pictures_than_a_command_line_holds(shipped, tmp_path):
    """4,000 names of 1,000 bytes: 4 MB, where Linux takes 2; the last one has a line end in it."""
    network, pictures, probs = shipped
    folder = tmp_path / "/".join(["x" * 200] * 4)
    folder.mkdir(parents=True)
    (folder / "line\nend.png").write_bytes(pictures[1].read_bytes())
    shorter, longer = folder / "none.png", folder / "line\nend.png"
    assert np.abs(run_classifier(network, [longer], CLASSES) - probs[1]).max() < 1e-5
    with pytest.raises(UserError, match="none.png: No such file") as error:
        run_classifier(network, [longer, *[shorter] * 4000], CLASSES)
    assert len(str(error.value)) <= LONGEST


def test_a_demo_that_ends_early_is_an_error(shipped, monkeypatch, tmp_path):
    network, pictures, _ = shipped
    (tmp_path / "killed.py").write_text("import os; print('{\"path', end='', flush=True); os.abort()")
    monkeypatch.setattr(src.results.export, "CLASSIFIER", tmp_path / "killed.py")
    with pytest.raises(UserError, match="killed.py failed: 0 of 5 answers, exit code -6"):
        run_classifier(network, pictures, CLASSES)


@pytest.mark.parametrize("end", ["\n", "\0"])
def test_demo_reads_the_names_of_pictures_from_standard_input(shipped, capsys, monkeypatch, end):
    network, pictures, probs = shipped
    names = "".join(f"{path}{end}" for path in pictures[1:])
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(names.encode())))
    lines, errors, code = call_demo(capsys, monkeypatch, network, pictures[0], "-")
    assert [line.split(": ")[0] for line in lines] == list(map(str, pictures)) and not errors and code == 0


def call_demo(capsys, monkeypatch, *arguments):
    """Run the demo; returns the lines of its stdout and stderr, and its exit code."""
    monkeypatch.setattr("sys.argv", ["classifier.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        load_demo().main()
    printed = capsys.readouterr()
    message = ended.value.code if isinstance(ended.value.code, str) else ""
    return printed.out.splitlines(), (printed.err + message).splitlines(), 1 if message else ended.value.code


def test_demo_prints_class_and_probability_of_each_picture(shipped, capsys, monkeypatch):
    network, pictures, probs = shipped
    lines, errors, code = call_demo(capsys, monkeypatch, network, *pictures)
    answers = [f"{CLASSES[row.argmax()]} {row.max():.4f}" for row in probs]
    unsure = [row.max() / row.sum() < CALIBRATION.threshold for row in probs]
    assert lines == [
        f"{path}: unsure, perhaps {answer}" if doubt else f"{path}: {answer}"
        for path, answer, doubt in zip(pictures, answers, unsure, strict=True)
    ]
    assert not errors and code == 0


def test_a_picture_is_unsure_below_the_threshold_of_the_sum():
    facts = {"calibration": {"threshold": 0.4}}
    is_unsure = load_demo().is_unsure
    assert [is_unsure(facts, probs) for probs in ([0.4, 0.6], [0.35, 0.35, 0.3], [0.3, 0.2, 0.0])] == [
        False, True, False
    ]  # fmt: skip
    assert is_unsure(facts, [0.0, 0.0]) and is_unsure({"calibration": {"threshold": 2.0}}, [1.0, 0.0])
    assert not is_unsure({}, [0.5, 0.5])


def test_demo_needs_only_torch_and_pillow_and_works_in_any_terminal(shipped, tmp_path):
    """In its own process, with all other packages hidden and ASCII output."""
    odd = tmp_path / "\u732b.png"
    odd.write_bytes(shipped[1][0].read_bytes())
    hidden = "import sys; sys.modules.update(dict.fromkeys(('numpy', 'torchvision', 'timm', 'src')));"
    code = f"{hidden} import runpy; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    command, environment = [sys.executable, "-c", code, DEMO, shipped[0], odd], {"PYTHONIOENCODING": "ascii"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0 and "\\u732b.png: " in result.stdout, result.stderr


def test_demo_reports_a_bad_picture_and_continues(shipped, tmp_path, capsys, monkeypatch):
    network, pictures, _ = shipped
    (tmp_path / "bad.jpg").write_text("no picture")
    bad = [tmp_path / "bad.jpg", tmp_path, tmp_path / "none.png"]
    lines, errors, code = call_demo(capsys, monkeypatch, network, *bad, pictures[0])
    assert code == 1 and len(lines) == 1
    assert [line.split(": ")[:2] for line in errors] == [["error", str(path)] for path in bad]


@pytest.mark.parametrize("content", [b"", b"hello", None])
def test_demo_refuses_a_file_that_is_not_a_network(tmp_path, capsys, monkeypatch, content):
    network = tmp_path / "x.pt"
    if content is not None:
        network.write_bytes(content)
    lines, errors, code = call_demo(capsys, monkeypatch, network, "y.png")
    assert code == 1 and not lines and len(errors) == 1
    assert errors[0].startswith(f"error: {network}: not an exported network")
    assert len(errors[0]) < len(str(network)) + 150


def test_facts_are_stored_in_the_file(shipped):
    extra = {"facts.json": ""}
    torch.jit.load(shipped[0], _extra_files=extra)
    facts = json.loads(extra["facts.json"])
    assert (facts["classes"], facts["height"], facts["width"]) == (list(CLASSES), 33, 48)
    assert "bilinear" in facts["letterbox"]
    assert facts["calibration"] == asdict(CALIBRATION)
    assert facts["pictures"] == asdict(RULE) | {"formats": list(FORMATS)}


def test_the_file_contains_no_paths_of_sources(shipped, tmp_path):
    """TorchScript's debug records would contain the paths of the sources."""
    with ZipFile(shipped[0]) as records:
        assert records.testzip() is None
        assert not [name for name in records.namelist() if str(ROOT).encode() in records.read(name)]


def test_a_demo_that_fails_is_an_error(shipped, tmp_path):
    with pytest.raises(UserError, match="classifier.py failed: "):
        run_classifier(shipped[0], [tmp_path / "none.png"], CLASSES)


def test_compared_pictures_are_spread_over_the_split():
    assert pick_rows(10, 4).tolist() == [0, 3, 6, 9]
    assert pick_rows(3, 100).tolist() == [0, 1, 2]


def test_the_largest_difference_and_its_picture():
    measured = np.array([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]])
    shipped = measured + np.array([[0, 0], [0, 0.25], [-0.125, 0]])
    assert compare(shipped, measured) == (pytest.approx(0.25), 1)
    shipped[2, 0] = np.nan
    difference, row = compare(shipped, measured)
    assert np.isnan(difference) and row == 2 and not difference <= 1.0


@pytest.fixture
def cropped(place, tiny_images, monkeypatch):
    """Pictures of 40 x 24 pixels, cropped to 32 x 32, and a student that knows it."""
    edit_params(place, data__root=str(tiny_images), images__fit="crop", export__pictures=9)
    monkeypatch.setattr(src.results.export, "CLASSIFIER", DEMO)
    check_images.main()
    torch.manual_seed(0)
    model = build_model("timm/test_resnet", 3, "x").eval()
    colours = (0.5,) * 3, (0.5,) * 3
    facts = Facts("timm/test_resnet", "softmax", tuple(COLOURS), 32, 32, *colours, "", "", "", "cpu", "crop")
    save_weights(export_jit.STUDENT, model, facts)
    write_json(export_jit.CALIBRATION, asdict(CALIBRATION))
    return place


@pytest.mark.slow
@pytest.mark.parametrize("pack", [True, False])
def test_a_student_of_cropped_pictures_ships(cropped, pack, capsys):
    edit_params(cropped, images__pack=pack)
    check_images.main()
    export_jit.main()
    assert "data/export/student.pt: 9 test pictures, largest probability" in capsys.readouterr().out
    _, facts = load_demo().load("data/export/student.pt")
    assert (
        facts["crop"] == "RGB, EXIF orientation applied, Pillow bilinear to cover, centred, the rest cut off"
    )
    assert "letterbox" not in facts


@pytest.mark.slow
def test_a_demo_that_fits_pictures_otherwise_does_not_ship(cropped, monkeypatch, tmp_path):
    """As one would that forgot the crop."""
    text = DEMO.read_text(encoding="utf-8").replace('"crop": crop', '"crop": stretch')
    (tmp_path / "forgetful.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr(src.results.export, "CLASSIFIER", tmp_path / "forgetful.py")
    with pytest.raises(UserError, match="student.pt: differs from the model by"):
        export_jit.main()


def test_a_student_of_cropped_pictures_is_not_measured_on_others(cropped):
    edit_params(cropped, images__fit="stretch")
    with pytest.raises(
        UserError,
        match=r"student.safetensors: trained on pictures fitted by crop, these are by stretch \(set",
    ):
        export_jit.main()
    with pytest.raises(UserError, match="trained on pictures fitted by crop"):
        score(export_jit.STUDENT, "test", 8, "letterbox", False, torch.device("cpu"))
