"""Exported files are self-contained, a fresh process agrees with the model, and wrong ones do not ship."""

import gc
import io
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from functools import partial
from threading import Event
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from conftest import COLOURS, ROOT, edit_params, load_demo
from PIL import Image

import src.export.gate
from src.export.deployed import Deployed, Product, Seen
from src.export.formats import FORMATS, find_writer
from src.export.gate import (
    Truth,
    Verdict,
    compare,
    find_other_class,
    judge,
    pick_rows,
    run_classifier,
    ship,
)
from src.export.papers import GOLDEN, write_golden
from src.export.settings import ExportSettings, PictureRule
from src.ground.errors import LONGEST, UserError
from src.ground.files import write_json
from src.losses.bases import BASES
from src.networks.checkpoint import Facts, save_weights
from src.networks.libraries import build_model
from src.networks.predict import predict_logits
from src.pictures import decode
from src.results.calibration import Calibration
from src.results.figures import CALIBRATED, FIGURES
from src.results.measuring import score
from stages import check_images, export_jit

DEMO = ROOT / "demos/classifier.py"
CLASSES = ("a,b", "\u732b", "c")
CALIBRATION = Calibration(temperature=2.5, threshold=0.341, wanted_accuracy=0.9)
SEEN = 60  # pictures by which weights are quantised
RULE = PictureRule(decode.FORMATS, 8, 64_000_000, "file")


def make_product(base="softmax", temperature=2.5):
    """A network with random weights, which has seen noise."""
    torch.manual_seed(0)
    model = build_model("timm/test_resnet", 3, "x").eval()
    none = {"pretrained": "none", "data": "", "params": "", "device": "cpu"}
    facts = Facts("timm/test_resnet", base, CLASSES, 33, 48, (0.5,) * 3, (0.5,) * 3, **none)
    calibration = replace(CALIBRATION, temperature=temperature)
    return Product(model, BASES[base], facts, RULE, calibration, "hash", partial(draw_seen, model))


def draw_pixels(number):
    return np.random.default_rng(0).integers(0, 256, (number, 33, 48, 3), dtype=np.uint8)


def draw_seen(model, max_drop=1.0):
    """Noise, whose classes are those that the model finds."""
    noise = draw_pixels(SEEN)
    labels = predict_logits(model, noise, 5, torch.device("cpu")).argmax(dim=1).numpy()
    return Seen(noise, noise, labels, max_drop)


def find_probs(product, pixels):
    logits = predict_logits(product.model, pixels, 5, torch.device("cpu")).double()
    return product.base.probs(logits / product.calibration.temperature).numpy()


@pytest.fixture(scope="module", params=["softmax", pytest.param("bce", marks=pytest.mark.slow)])
def shipped(request, tmp_path_factory):
    """The file of a network with random weights, five picture files, and their probabilities."""
    folder, product = tmp_path_factory.mktemp("export"), make_product(request.param)
    find_writer("torchscript")(folder / "student.pt", product)
    pixels = draw_pixels(5)
    pictures = [folder / f"{number}.png" for number in range(5)]
    for path, rows in zip(pictures, pixels, strict=True):
        Image.fromarray(rows).save(path)
    return folder / "student.pt", pictures, find_probs(product, pixels)


@pytest.mark.slow
def test_a_fresh_process_agrees_with_the_model(shipped):
    network, pictures, probs = shipped
    assert np.abs(run_classifier(network, pictures, CLASSES) - probs).max() < 1e-5


@pytest.mark.slow
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
    monkeypatch.setattr(src.export.gate, "CLASSIFIER", tmp_path / "killed.py")
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


@pytest.mark.parametrize("name", ["student.pt", "none.pt"])
def test_demo_collects_garbage_but_while_it_loads(shipped, capsys, monkeypatch, name):
    demo, found = load_demo(), []
    load = demo.load
    monkeypatch.setattr(demo, "load", lambda *given: found.append(gc.isenabled()) or load(*given))
    monkeypatch.setattr("sys.argv", ["classifier.py", str(shipped[0].with_name(name)), str(shipped[1][0])])
    with pytest.raises(SystemExit):
        demo.main()
    assert found == [False] and gc.isenabled()


def test_a_picture_is_unsure_below_the_threshold_of_the_sum():
    facts = {"calibration": {"threshold": 0.4}}
    is_unsure = load_demo().is_unsure
    assert [is_unsure(facts, probs) for probs in ([0.4, 0.6], [0.35, 0.35, 0.3], [0.3, 0.2, 0.0])] == [
        False, True, False
    ]  # fmt: skip
    assert is_unsure(facts, [0.0, 0.0]) and is_unsure({"calibration": {"threshold": 2.0}}, [1.0, 0.0])
    assert not is_unsure({}, [0.5, 0.5])


@pytest.mark.slow
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
    bad = [tmp_path / "bad.jpg", tmp_path / "none.png"]
    lines, errors, code = call_demo(capsys, monkeypatch, network, *bad, pictures[0])
    assert code == 1 and len(lines) == 1
    assert [line.split(": ")[:2] for line in errors] == [["error", str(path)] for path in bad]


@pytest.mark.parametrize("name", ["x.pt", "x.pt2", "x.onnx", "x.xml", "x.zip"])
@pytest.mark.parametrize("content", [b"", b"hello", None])
def test_demo_refuses_a_file_that_is_not_a_network(tmp_path, capfd, monkeypatch, name, content):
    network = tmp_path / name
    if content is not None:
        network.write_bytes(content)
        network.with_suffix(".bin").write_bytes(content)
    lines, errors, code = call_demo(capfd, monkeypatch, network, "y.png")
    assert code == 1 and not lines and len(errors) == 1
    assert errors[0].startswith(f"error: {network}: not an exported network")
    assert len(errors[0]) < len(str(network)) + 200


def test_facts_are_stored_in_the_file(shipped):
    extra = {"facts.json": ""}
    torch.jit.load(shipped[0], _extra_files=extra)
    facts = json.loads(extra["facts.json"])
    assert (facts["classes"], facts["height"], facts["width"]) == (list(CLASSES), 33, 48)
    assert "bilinear" in facts["letterbox"]
    assert facts["calibration"] == asdict(CALIBRATION)
    assert facts["pictures"] == asdict(RULE) | {"formats": list(decode.FORMATS)}


def test_the_file_contains_no_paths_of_sources(shipped, tmp_path):
    """TorchScript's debug records would contain the paths of the sources."""
    with ZipFile(shipped[0]) as records:
        assert records.testzip() is None
        assert not [name for name in records.namelist() if str(ROOT).encode() in records.read(name)]


@pytest.mark.slow
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


# every format through the gate

SETTINGS = ExportSettings(("onnx",), True, 1e-5, 0.01, "all")


def make_truth(product, folder, number=5, shape=(48, 33), colour=(1, 1, 1)):
    """Picture files, and what the product's network says of them, which are the labels too."""
    pixels = (draw_pixels(number) * np.array(colour)).astype(np.uint8)
    images = [Image.fromarray(rows).resize(shape) for rows in pixels]
    files, fit = [folder / f"{row}.png" for row in range(number)], load_demo().fit_picture
    for path, image in zip(files, images, strict=True):
        image.save(path)
    pixels = np.stack([np.asarray(fit(image, 33, 48, "letterbox")) for image in images])
    probs = find_probs(product, pixels)
    return Truth(files, probs, probs.argmax(axis=1), CLASSES)


QUICK = ("torchscript", "onnx")
EACH = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in FORMATS]


@pytest.mark.parametrize("name", EACH)
@pytest.mark.slow
def test_every_format_passes_the_gate_and_proves_itself_later(name, tmp_path, capsys, monkeypatch):
    form, product = FORMATS[name], make_product()
    path, truth = tmp_path / form.file, make_truth(product, tmp_path)
    find_writer(name)(path, product)
    verdict = judge(path, form, truth, replace(SETTINGS, int8_max_drop=1.0))
    assert verdict.difference < (1e-5 if form.exact else 0.5)
    assert all((tmp_path / one).exists() for one in form.list_files())
    write_golden(tmp_path, truth, {name: verdict}, SETTINGS, "hash")
    lines, errors, code = call_demo(capsys, monkeypatch, "--check", tmp_path / GOLDEN, path)
    assert code == 0 and not errors and lines[0].startswith(f"{path}: 5 golden pictures, largest difference")
    _, facts = load_demo().load(path)
    assert facts["classes"] == list(CLASSES) and facts["student"] == "hash"


@pytest.mark.parametrize("name", EACH)
@pytest.mark.slow
def test_a_file_names_no_source_of_this_machine(name, tmp_path):
    find_writer(name)(tmp_path / FORMATS[name].file, make_product())
    for file in FORMATS[name].list_files():
        assert str(ROOT).encode() not in (tmp_path / file).read_bytes()


def use_bgr(product, monkeypatch):
    monkeypatch.setattr(Deployed, "forward", lambda self, images: FORWARD(self, images.flip(1)))


def use_train_mode(product, monkeypatch):
    """As without eval(), which the writers would call: BatchNorm by the statistics of the batch."""
    for module in product.deployed.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean = module.running_var = None


def use_other_normalisation(product, monkeypatch):
    product.deployed.model[0].mean += 0.02


def use_other_temperature(product, monkeypatch):
    product.deployed.temperature = 1.0


def use_another_resize(product, monkeypatch):
    """The demo fits by another rule than the model saw."""
    vars(product)["facts"] = replace(product.facts, fit="crop")


FORWARD = Deployed.forward
MISTAKES = [use_bgr, use_train_mode, use_other_normalisation, use_other_temperature, use_another_resize]


@pytest.mark.parametrize("name", ["torchscript", pytest.param("onnx", marks=pytest.mark.slow)])
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
@pytest.mark.slow
def test_a_wrong_export_does_not_ship(mistake, name, tmp_path, monkeypatch):
    product, form = make_product(), FORMATS[name]
    truth = make_truth(product, tmp_path, shape=(90, 40))  # of the input's own shape all fits are the same
    mistake(product, monkeypatch)
    find_writer(name)(tmp_path / form.file, product)
    with pytest.raises(UserError, match=rf"{form.file}: differs from the model by .* \(file removed"):
        judge(tmp_path / form.file, form, truth, SETTINGS)
    assert not (tmp_path / form.file).exists()


def test_the_first_wrong_format_is_named_and_none_of_the_wrong_ships(tmp_path, monkeypatch):
    product = make_product()
    truth = make_truth(product, tmp_path)
    use_bgr(product, monkeypatch)
    with pytest.raises(UserError, match="student.pt: differs from the model"):
        ship(tmp_path, product, truth, replace(SETTINGS, formats=("torchscript", "onnx")))
    assert not [form.file for form in FORMATS.values() if (tmp_path / form.file).exists()]


def test_a_format_is_judged_while_the_next_is_written(tmp_path, monkeypatch):
    judging, written = Event(), []

    def write(path, product):
        assert not written or judging.wait(60)
        written.append(path.name)

    def judge_slowly(path, form, truth, settings):
        judging.set()
        return path.name

    monkeypatch.setattr(src.export.gate, "find_writer", lambda name: write)
    monkeypatch.setattr(src.export.gate, "judge", judge_slowly)
    verdicts = ship(tmp_path, None, None, replace(SETTINGS, formats=("torchscript", "onnx", "web")))
    assert verdicts == {"torchscript": "student.pt", "onnx": "student.onnx", "web": "student.html"}
    assert written == [*verdicts.values()]


@pytest.mark.slow
def test_eight_bits_that_cost_too_much_do_not_ship(tmp_path):
    """The true classes are those of a model that says the opposite of what was exported."""
    product, form = make_product(), FORMATS["openvino_int8"]
    truth = make_truth(product, tmp_path)
    other = truth.probs[:, ::-1] if (truth.labels != 1).any() else np.roll(truth.probs, 1, axis=1)
    truth = replace(truth, probs=other, labels=other.argmax(axis=1))
    find_writer("openvino_int8")(tmp_path / form.file, product)
    with pytest.raises(UserError, match="the model has 1.0000, export.int8_max_drop is 0.01 \\(file removed"):
        judge(tmp_path / form.file, form, truth, SETTINGS)
    assert not [name for name in form.list_files() if (tmp_path / name).exists()]


@pytest.mark.slow
def test_layers_that_cost_accuracy_on_val_stay_float32(tmp_path):
    """The pictures of train are so dark that the ranges seen on them are far too small for val."""
    product = make_product()
    logits = predict_logits(product.model, draw_pixels(SEEN), 5, torch.device("cpu"))
    product.model.net.fc.bias.data -= logits.mean(dim=0)  # so that each class is found somewhere
    truth, accuracies = make_truth(product, tmp_path, SEEN), {}
    for max_drop in (1.0, 0.0):
        seen = draw_seen(product.model, max_drop)
        dark = replace(product, seen=lambda seen=seen: seen._replace(train=seen.train // 16))
        path = tmp_path / f"{max_drop}.xml"
        find_writer("openvino_int8")(path, dark)
        accuracies[max_drop] = truth.find_accuracy(run_classifier(path, truth.files, CLASSES))
    assert accuracies[1.0] < accuracies[0.0] == 1.0


def test_another_first_class_is_found_unless_it_is_rounding():
    measured = np.array([[0.5, 0.5 - 1e-6, 0], [0.2, 0.7, 0.1]])
    assert find_other_class(np.array([[0.4, 0.5, 0.1], [0.2, 0.7, 0.1]]), measured, 1e-5) is None
    assert find_other_class(np.array([[0.4, 0.5, 0.1], [0.8, 0.1, 0.1]]), measured, 1e-5) == 1


@pytest.mark.slow
def test_onnx_has_a_free_batch_and_the_standard_keys_of_images(tmp_path):
    onnx = pytest.importorskip("onnx")
    find_writer("onnx")(tmp_path / "student.onnx", make_product())
    model = onnx.load(tmp_path / "student.onnx")
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert told["Image.BitmapPixelFormat"] == "Rgb8" and json.loads(told["facts.json"])["height"] == 33
    (given,), (answer,) = model.graph.input, model.graph.output
    assert (given.name, answer.name) == ("images", "probabilities")
    assert [dimension.dim_value for dimension in given.type.tensor_type.shape.dim] == [0, 3, 33, 48]


# the demo, whatever the format


@pytest.mark.parametrize("name", ["onnx", pytest.param("openvino", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_demo_needs_neither_torch_nor_the_project(name, tmp_path):
    """In its own process, where torch and all of the project's own packages are hidden."""
    product = make_product()
    find_writer(name)(tmp_path / FORMATS[name].file, product)
    truth = make_truth(product, tmp_path, 1)
    hidden = "import sys; sys.modules.update(dict.fromkeys(('torch', 'torchvision', 'timm', 'src')));"
    code = f"{hidden} import runpy; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", code, DEMO, "--all", tmp_path / FORMATS[name].file, truth.files[0]]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    probs = list(json.loads(result.stdout)["probabilities"].values())
    assert np.abs(np.array(probs) - truth.probs[0]).max() < 1e-5


def test_a_library_that_is_missing_is_one_line(shipped, capsys, monkeypatch, tmp_path):
    (tmp_path / "student.onnx").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    lines, errors, code = call_demo(capsys, monkeypatch, tmp_path / "student.onnx", shipped[1][0])
    assert code == 1 and errors == [
        f"error: {tmp_path / 'student.onnx'}: needs onnxruntime (pip install onnxruntime)"
    ]


def test_openvino_without_its_weights_is_one_line(shipped, capsys, monkeypatch, tmp_path):
    (tmp_path / "student.xml").write_text("<net/>")
    _, errors, code = call_demo(capsys, monkeypatch, tmp_path / "student.xml", shipped[1][0])
    assert code == 1 and errors == [
        f"error: {tmp_path / 'student.xml'}: needs student.bin beside it (copy both files)"
    ]


def test_folders_top_k_json_and_batches(shipped, capsys, monkeypatch, tmp_path):
    network, pictures, probs = shipped
    (tmp_path / "below").mkdir()
    for number, path in enumerate(pictures):
        (tmp_path / "below" / f"{number}.PNG").write_bytes(path.read_bytes())
    (tmp_path / "notes.txt").write_text("no picture")
    for size in (1, 2, 5, 9):
        options = ("--json", "--top", 2, "--batch", size, "--threads", 1)
        lines, errors, code = call_demo(capsys, monkeypatch, *options, network, tmp_path)
        assert code == 0 and not errors and len(lines) == 5
        for line, row in zip(map(json.loads, lines), probs, strict=True):
            assert [one["class"] for one in line["classes"]] == [CLASSES[n] for n in np.argsort(-row)[:2]]
            assert line["classes"][0]["probability"] == pytest.approx(row.max(), abs=1e-5)
            assert line["unsure"] == (row.max() / row.sum() < CALIBRATION.threshold)
    (tmp_path / "below/bad.png").write_bytes(b"x")
    lines, errors, code = call_demo(capsys, monkeypatch, "--batch", 2, network, tmp_path)
    assert (
        code == 1
        and len(lines) == 5
        and errors == [f"error: {tmp_path / 'below/bad.png'}: not a readable picture"]
    )
    (tmp_path / "empty").mkdir()
    _, errors, code = call_demo(capsys, monkeypatch, network, tmp_path / "empty")
    assert code == 1 and len(errors) == 1
    assert errors[0].startswith(f"error: {tmp_path / 'empty'}: no picture in this folder (named as a JPEG, ")


def test_a_deployed_file_that_says_something_else_is_found(tmp_path, capsys, monkeypatch):
    product = make_product()
    truth = make_truth(product, tmp_path)
    find_writer("torchscript")(tmp_path / "student.pt", make_product(temperature=2.4))
    write_golden(tmp_path, truth, {"torchscript": Verdict(0.0, 1.0, truth.probs)}, SETTINGS, "hash")
    lines, errors, code = call_demo(
        capsys, monkeypatch, "--check", tmp_path / GOLDEN, tmp_path / "student.pt"
    )
    assert code == 1 and "allowed 1e-05" in lines[0] and len(lines) == 1
    assert errors == ["error: too far (script, network and golden.npz must be of one export)"]
    (tmp_path / GOLDEN).write_bytes(b"x")
    _, errors, code = call_demo(capsys, monkeypatch, "--check", tmp_path / GOLDEN, tmp_path / "student.pt")
    assert code == 1 and len(errors) == 1 and errors[0].startswith(f"error: {tmp_path / GOLDEN}: ")


def use_another_class_order(product, monkeypatch):
    monkeypatch.setattr(Deployed, "forward", lambda self, images: FORWARD(self, images).flip(1))


LOSSY = [use_bgr, use_train_mode, use_another_class_order, use_another_resize]


@pytest.mark.parametrize("name", ["torchscript", pytest.param("openvino_int8", marks=pytest.mark.slow)])
@pytest.mark.parametrize("mistake", [None, *LOSSY])
@pytest.mark.slow
def test_a_wrong_lossy_file_is_refused_later(mistake, name, tmp_path, capsys, monkeypatch):
    """Whatever its bits cost: it must repeat what it said at its export, up to another CPU's rounding."""
    monkeypatch.setitem(FORMATS, name, FORMATS[name]._replace(exact=False))
    form, product = FORMATS[name], make_product(temperature=0.05)  # sure of itself, as trained ones are
    truth = make_truth(product, tmp_path, shape=(90, 40), colour=(1, 0.5, 0))
    find_writer(name)(tmp_path / form.file, product)
    verdict = judge(tmp_path / form.file, form, truth, replace(SETTINGS, int8_max_drop=1.0))
    far = replace(truth, probs=np.roll(truth.probs, 1, axis=1))  # as if the bits had cost all
    write_golden(tmp_path, far, {name: verdict}, SETTINGS, "hash")
    if mistake:
        wrong = make_product(temperature=0.05)
        mistake(wrong, monkeypatch)
        find_writer(name)(tmp_path / form.file, wrong)
    lines, errors, code = call_demo(capsys, monkeypatch, "--check", tmp_path / GOLDEN, tmp_path / form.file)
    assert "allowed 0.05" in lines[0] and (code, len(errors)) == ((1, 1) if mistake else (0, 0)), lines


@pytest.mark.slow
def test_eight_bits_say_the_same_on_cpus_without_vnni(tmp_path, monkeypatch):
    """There sums of 16 bits overflow, unless weights leave a bit free."""
    product = make_product(temperature=0.05)
    truth = make_truth(product, tmp_path)
    form = FORMATS["openvino_int8"]
    find_writer("openvino_int8")(tmp_path / form.file, product)
    found = []
    for isa in ("DEFAULT", "AVX2", "SSE41"):
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", isa)
        found.append(run_classifier(tmp_path / form.file, truth.files, CLASSES))
    assert max(np.abs(found[0] - other).max() for other in found[1:]) < 0.01


def test_a_golden_file_of_another_network_or_damaged_is_one_line(shipped, capsys, monkeypatch, tmp_path):
    network, pictures, probs = shipped
    truth = Truth(pictures, probs, probs.argmax(axis=1), CLASSES)
    write_golden(tmp_path, truth, {"torchscript": Verdict(0.0, 1.0, probs)}, SETTINGS, "hash")
    golden, sound = tmp_path / GOLDEN, dict(np.load(tmp_path / GOLDEN))
    for changes, reason in (
        ({"student": np.array("x")}, "it was made for other weights"),
        ({"classes": np.array(["a", "b", "c"])}, "its classes are others"),
        ({"classes": sound["classes"][:2]}, "no golden.npz: its arrays do not fit each other"),
        ({"probabilities": sound["probabilities"][0]}, "no golden.npz: its arrays do not fit each other"),
        ({"ends": sound["ends"][:0]}, "no golden.npz: "),
        ({"content": sound["content"][::-1]}, "not a readable picture"),
        ({"classes": np.array([None], object)}, "no golden.npz: Object arrays cannot be loaded"),
    ):
        np.savez(golden, **sound | changes)
        lines, errors, code = call_demo(capsys, monkeypatch, "--check", golden, network)
        assert (code, lines, len(errors)) == (1, [], 1) and errors[0].startswith(f"error: {golden}: {reason}")


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": None}, {"pictures": None}, {"pictures": 3}, {"height": "33"}, {"height": -1},
        {"classes": ["a", "b"]}, {"letterbox": None, "tile": "x"}, {"classes": [1, 2, 3]},
    ],
)  # fmt: skip
def test_facts_that_do_not_fit_the_network_are_one_line(shipped, capsys, monkeypatch, tmp_path, changes):
    extra = {"facts.json": ""}
    network = torch.jit.load(shipped[0], _extra_files=extra)
    facts = {
        key: value for key, value in (json.loads(extra["facts.json"]) | changes).items() if value is not None
    }
    torch.jit.save(network, tmp_path / "student.pt", _extra_files={"facts.json": json.dumps(facts)})
    lines, errors, code = call_demo(capsys, monkeypatch, tmp_path / "student.pt", shipped[1][0])
    assert (code, lines, len(errors)) == (1, [], 1)
    assert errors[0].startswith(f"error: {tmp_path / 'student.pt'}: ")


@pytest.mark.slow
def test_a_page_without_its_end_is_refused(tmp_path):
    """A browser would show nothing, even if all of the network has arrived."""
    find_writer("web")(tmp_path / "student.html", make_product())
    demo, content = load_demo(), (tmp_path / "student.html").read_bytes()
    demo.load(tmp_path / "student.html")
    (tmp_path / "student.html").write_bytes(content[:-1000])
    with pytest.raises(demo.NoNetwork, match="the end of this page is missing"):
        demo.load(tmp_path / "student.html")


def test_odd_names_and_files_are_one_line_each(shipped, capsys, monkeypatch, tmp_path):
    """Line ends and orders to the terminal are shown as escapes; pipes and folders are not waited for."""
    network, pictures, _ = shipped
    for name in ("a\nb.png", "c\x1b[31m.png"):
        (tmp_path / name).write_bytes(pictures[0].read_bytes())
    (tmp_path / "d\ne.png").write_text("no picture")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "gone.png").symlink_to("nowhere")
    lines, errors, code = call_demo(capsys, monkeypatch, network, tmp_path, "x" * 300)
    assert code == 1 and [line.split(": ")[0] for line in lines] == [
        f"{tmp_path}/a\\nb.png", f"{tmp_path}/c\\x1b[31m.png"
    ]  # fmt: skip
    assert [error.partition(": ")[2] for error in errors] == [
        f"{tmp_path}/d\\ne.png: not a readable picture",
        f"{tmp_path}/gone.png: No such file or directory",
        f"{tmp_path}/pipe.png: not a file: a device or a pipe",
        f"{'x' * 300}: File name too long",
    ]
    _, errors, _ = call_demo(capsys, monkeypatch, f"{'x' * 300}\n.pt", pictures[0])
    assert errors == [f"error: {'x' * 300}\\n.pt: not an exported network (no such file)"]


def test_a_folder_that_is_shut_is_one_line(shipped, capsys, monkeypatch, tmp_path):
    for name in ("open", "shut"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(shipped[1][0].read_bytes())
    scan, real = os.scandir, open

    def refuse(ask, path, *rest, **options):
        if str(path) == str(tmp_path / "shut"):
            raise PermissionError(13, "Permission denied", str(path))
        return ask(path, *rest, **options)

    monkeypatch.setattr("os.scandir", lambda path: refuse(scan, path))
    monkeypatch.setattr("builtins.open", lambda path, *rest, **options: refuse(real, path, *rest, **options))
    lines, errors, code = call_demo(capsys, monkeypatch, shipped[0], tmp_path)
    assert code == 1 and len(lines) == 1 and lines[0].startswith(f"{tmp_path}/open/a.png: ")
    assert errors == [f"error: {tmp_path}/shut: Permission denied"]


@pytest.mark.parametrize("threads", [-1, os.cpu_count() + 1, 10**6])
def test_more_threads_than_the_cpu_has_are_refused(shipped, capsys, monkeypatch, threads):
    """onnxruntime hangs and torch crashes of 100,000."""
    _, errors, code = call_demo(capsys, monkeypatch, "--threads", threads, *shipped[1][:1], "x")
    assert code == 2 and len(errors) == 1 and errors[0].startswith("error: --threads is from 0 to ")


def test_a_batch_that_fails_is_one_line(shipped, capsys, monkeypatch):
    demo = load_demo()
    run, _ = demo.load(shipped[0])
    with pytest.raises(demo.NoNetwork, match="cannot classify 1 pictures at once: .* need less memory"):
        run([b"too short"])


@pytest.mark.parametrize("answers", ["/dev/full", None])
def test_answers_that_cannot_be_written_are_one_line(shipped, answers):
    command = f"{sys.executable} {DEMO} {shipped[0]} {shipped[1][0]} {f'>{answers}' if answers else '>&-'}"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert result.returncode == 1 and result.stderr.startswith("error: standard output")
    assert len(result.stderr.splitlines()) == 1


def test_no_names_on_standard_input(shipped, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    _, errors, code = call_demo(capsys, monkeypatch, shipped[0], "-")
    assert code == 1 and errors == ["error: -: no name on standard input (one a line, or ended by NUL)"]


@pytest.mark.slow
def test_openvino_without_space_leaves_no_file(tmp_path, monkeypatch):
    """Its library throws an error that names nothing."""
    monkeypatch.setattr(
        "openvino.save_model", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("iostream"))
    )
    with pytest.raises(UserError, match=r"student.xml: iostream \(free some space in "):
        find_writer("openvino")(tmp_path / "student.xml", make_product())
    assert not list(tmp_path.iterdir())


@pytest.fixture
def cropped(place, tiny_images, monkeypatch):
    """Pictures of 40 x 24 pixels, cropped to 32 x 32, and a student that knows it."""
    edit_params(place, data__root=str(tiny_images), images__fit="crop", export__pictures=9)
    monkeypatch.setattr(src.export.gate, "CLASSIFIER", DEMO)
    check_images.main()
    torch.manual_seed(0)
    model = build_model("timm/test_resnet", 3, "x").eval()
    colours = (0.5,) * 3, (0.5,) * 3
    facts = Facts("timm/test_resnet", "softmax", tuple(COLOURS), 32, 32, *colours, "", "", "", "cpu", "crop")
    save_weights(export_jit.STUDENT, model, facts)
    write_json(export_jit.CALIBRATION, asdict(CALIBRATION))
    figures = dict.fromkeys(FIGURES, 0.5) | {"calibrated": dict.fromkeys(CALIBRATED, 0.5)}
    write_json(export_jit.TEST, {"test": figures})
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
    monkeypatch.setattr(src.export.gate, "CLASSIFIER", tmp_path / "forgetful.py")
    with pytest.raises(UserError, match="student.pt: differs from the model by"):
        export_jit.main()


@pytest.mark.slow
def test_a_picture_that_is_gone_is_told_before_anything_is_written(cropped, tiny_images):
    for path in (tiny_images / "test").rglob("*.png"):
        path.unlink()
    with pytest.raises(UserError, match=r"0.png: a picture of test is gone \(restore it, or dvc repro\)$"):
        export_jit.main()
    assert not export_jit.EXPORT.exists()


@pytest.mark.slow
def test_a_student_of_cropped_pictures_is_not_measured_on_others(cropped):
    edit_params(cropped, images__fit="stretch")
    with pytest.raises(
        UserError,
        match=r"student.safetensors: trained on pictures fitted by crop, these are by stretch \(set",
    ):
        export_jit.main()
    with pytest.raises(UserError, match="trained on pictures fitted by crop"):
        score(export_jit.STUDENT, "test", 8, "letterbox", False, torch.device("cpu"))
