"""Pretrained weights: what fits is loaded, what does not is reported, and no file is ever executed."""

import hashlib
import os
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from conftest import ROOT, wrap_network
from safetensors.torch import load_file, save_file

from src.ground.errors import UserError
from src.ground.files import sha256
from src.ground.weights import FETCHED, FOLDER, Fetched, find_file
from src.networks.checkpoint import Facts, save_weights
from src.networks.libraries import build_model
from src.networks.pretrained import fill, hash_tensors, load_pretrained
from src.networks.prior import set_bias

CLASSIFIERS = {
    "resnet18": "fc",
    "mobilenet_v2": "classifier.1",
    "squeezenet1_1": "classifier.1",
    "densenet121": "classifier",
    "mobilenetv3_small": "classifier.3",
    "timm/test_vit": "head",
    "timm/test_convnext": "head.fc",
    "timm/deit_tiny_distilled_patch16_224": "head, head_dist",
}
SIZE = (160, 160)


def save(net, path, **changes):
    """Save the state of a network with some tensors changed; returns the path as text."""
    state = {name: tensor.contiguous() for name, tensor in net.state_dict().items()} | changes
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return str(path)


def load(arch, pretrained, classes=3, wanted_hash="any", size=SIZE):
    model = build_model(arch, classes, "student")
    load_pretrained(model, arch, pretrained, wanted_hash, size, "student")
    return model


def catch_refusal(arch, pretrained, **options):
    """The one-line error that refuses the file, without its prefix."""
    with pytest.raises(UserError) as caught:
        load(arch, pretrained, **options)
    (line,) = caught.value.args
    assert "\n" not in line and line.startswith("params.yaml: student.pretrained")
    return line.removeprefix("params.yaml: student.pretrained")


@pytest.mark.parametrize("arch", CLASSIFIERS)
def test_all_but_the_classifier_is_loaded_and_reported(tmp_path, capsys, arch):
    source = build_model(arch, 10, "x").net
    path = save(source, tmp_path / "w.safetensors")
    model, heads = load(arch, path), CLASSIFIERS[arch]
    said = capsys.readouterr().out.splitlines()[0]
    assert said.endswith(f"tensors loaded, left out: {heads}, new: {heads}"), said
    ours = model.net.state_dict()
    equal = {name for name, tensor in source.state_dict().items() if torch.equal(tensor, ours[name])}
    rest = {name for name in ours if not name.startswith(tuple(f"{head}." for head in heads.split(", ")))}
    assert rest <= equal
    assert all(not model.net.get_submodule(head).weight.any() for head in heads.split(", "))


def test_only_the_last_layer_of_a_new_classifier_starts_from_zero():
    """Zeros in norms and hidden layers would block the gradient."""
    head = torch.nn.Sequential(torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 5), torch.nn.Linear(5, 3))
    net = torch.nn.Sequential(OrderedDict(body=torch.nn.Linear(2, 4), head=head))
    network = wrap_network(net, ["head"])
    fill(network, {"body.weight": torch.ones(4, 2), "body.bias": torch.ones(4)}, "w", "another")
    assert not head[2].weight.any() and head[1].weight.all() and head[0].weight.all()


def test_a_classifier_that_fits_is_loaded_with_its_bias(tmp_path, capsys):
    source = build_model("timm/test_resnet", 3, "x").net
    model = build_model("timm/test_resnet", 3, "student")
    set_bias(model, torch.full((3,), 9.0))
    path = save(source, tmp_path / "w.safetensors")
    load_pretrained(model, "timm/test_resnet", path, "any", SIZE, "student")
    assert torch.equal(model.net.fc.bias, source.fc.bias) and torch.equal(
        model.net.fc.weight, source.fc.weight
    )
    assert "left out: none, new: none" in capsys.readouterr().out


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"model": state, "epoch": 3}])
def test_checkpoints_of_training_scripts_are_loaded(tmp_path, wrap):
    """Plain or nested in a checkpoint, saved from DistributedDataParallel, without BatchNorm's counters."""
    source = build_model("mnasnet0_5", 3, "x").net
    state = {f"module.{name}": t for name, t in source.state_dict().items() if "num_batches" not in name}
    torch.save(wrap(state), tmp_path / "w.pth")
    model = load("mnasnet0_5", str(tmp_path / "w.pth"))
    assert torch.equal(model.net.layers[0].weight, source.layers[0].weight)


def test_auxiliary_classifiers_are_skipped(tmp_path, capsys):
    source = torchvision.models.googlenet(num_classes=3, aux_logits=True, init_weights=False)
    load("googlenet", save(source, tmp_path / "w.pth"))
    said = capsys.readouterr().out.splitlines()[0]
    assert "left out: aux1.conv.bn, aux1.conv.conv, aux1.fc1" in said and said.endswith("new: none")


def test_the_file_of_a_student_sets_mean_and_std(tmp_path, capsys):
    source = build_model("timm/test_resnet", 5, "x")
    source.normalize.mean.fill_(0.25)
    facts = Facts(
        "timm/test_resnet", "softmax", tuple("abcde"), 32, 32, (0.25,) * 3, (1,) * 3, "", "", "", ""
    )
    save_weights(tmp_path / "student.safetensors", source, facts)
    model = load("timm/test_resnet", str(tmp_path / "student.safetensors"))
    assert model.normalize.mean.flatten().tolist() == [0.25] * 3
    assert torch.equal(model.net.conv1[0].weight, source.net.conv1[0].weight)
    assert "warning" not in capsys.readouterr().out  # it was trained on the same letterboxed pictures


@pytest.mark.parametrize(
    "changes",
    [
        {"normalize.mean": torch.zeros(4, 1, 1)},
        {"normalize.mean": torch.full((3, 1, 1), float("nan"))},
        {"normalize.std": torch.zeros(3, 1, 1)},
        {"normalize.more": torch.ones(3, 1, 1)},
        {"normalize.std": None},
    ],
    ids=["four channels", "nan", "zero", "unknown", "missing"],
)
def test_a_students_file_with_a_wrong_mean_or_std_is_refused(tmp_path, changes):
    state = build_model("timm/test_resnet", 5, "x").state_dict() | changes
    path = tmp_path / "w.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in state.items() if tensor is not None}, path)
    assert catch_refusal("timm/test_resnet", str(path)) == (
        f": {path}: its normalize.mean and normalize.std are not those of three colours (use a file "
        "that a stage wrote)"
    )


def test_pictures_unlike_those_of_the_weights_are_a_warning(tmp_path, capsys):
    path = save(build_model("efficientnet_b0", 3, "x").net, tmp_path / "w.safetensors")
    load("efficientnet_b0", path, size=(96, 128))
    _, warning = capsys.readouterr().out.splitlines()
    assert warning == (
        "warning: params.yaml: student.pretrained: these weights were trained on pictures of 224 x 224, "
        "bicubic, but get 96 x 128, bilinear (accuracy may suffer)"
    )
    path = save(build_model("resnet18", 3, "x").net, tmp_path / "r.safetensors")
    load("resnet18", path, size=(224, 224))
    assert "warning" not in capsys.readouterr().out


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_pickle_is_refused_and_never_executed(tmp_path, name):
    marker = tmp_path / "marker"
    torch.save({"fc.weight": Evil(marker)}, tmp_path / name)
    assert f"{tmp_path / name}: not plain weights" in catch_refusal("resnet18", str(tmp_path / name))
    assert not marker.exists()
    torch.load((tmp_path / name).rename(tmp_path / "x.pth"), weights_only=False)  # an unsafe load executes it
    assert marker.exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("damage", ["half", "empty", "text"])
def test_a_damaged_file_is_reported(tmp_path, suffix, damage):
    path = Path(save(build_model("timm/test_resnet", 3, "x").net, tmp_path / f"w{suffix}"))
    content = path.read_bytes()
    path.write_bytes({"half": content[: len(content) // 2], "empty": b"", "text": b"weights"}[damage])
    size = path.stat().st_size
    assert catch_refusal("timm/test_resnet", str(path)).startswith(
        f": {path}: not plain weights, {size} bytes: "
    )


def test_a_file_without_named_tensors_is_refused(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    torch.save({"lr": 0.1}, tmp_path / "numbers.pth")
    torch.save(build_model("timm/test_resnet", 3, "x").net, tmp_path / "module.pth")
    for name in ("list.pth", "numbers.pth", "module.pth"):
        assert "not plain weights" in catch_refusal("resnet18", str(tmp_path / name))
    assert "no such file" in catch_refusal("resnet18", str(tmp_path))


def test_weights_of_another_network_are_a_one_line_error(tmp_path):
    path = save(build_model("resnet50", 1000, "x").net, tmp_path / "resnet50.pth")
    line = catch_refusal("resnet18", path)
    assert "does not fit the network: " in line and "first layer1.0.bn3.bias" in line and len(line) < 300


def test_missing_tensors_and_wrong_shapes_are_reported(tmp_path):
    source = build_model("timm/test_resnet", 3, "x").net
    path = save(source, tmp_path / "w.safetensors", **{"bn1.weight": torch.ones(5)})
    assert "1 tensors are missing, unknown or of another shape, first bn1.weight" in catch_refusal(
        "timm/test_resnet", path
    )
    state = load_file(path)
    del state["bn1.weight"]
    save_file(state, path)
    assert "first bn1.weight" in catch_refusal("timm/test_resnet", path)


def test_non_finite_values_are_refused(tmp_path):
    source = build_model("timm/test_resnet", 3, "x").net
    path = save(source, tmp_path / "w.safetensors", **{"fc.bias": torch.tensor([0.0, float("nan"), 0.0])})
    assert "fc.bias holds non-finite values" in catch_refusal("timm/test_resnet", path)


def test_a_pinned_hash_is_checked(tmp_path):
    path = save(build_model("timm/test_resnet", 3, "x").net, tmp_path / "w.safetensors")
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    load("timm/test_resnet", path, wanted_hash=digest)
    assert catch_refusal("timm/test_resnet", path, wanted_hash="0" * 64) == (
        f"_sha256: {path} has {digest} (use other weights, or set any)"
    )


def test_a_shortened_network_computes_what_the_first_stages_of_the_whole_do(tmp_path):
    """As timm reads features out of the whole network, whose other tensors are left out."""
    torch.manual_seed(0)
    whole = build_model("timm/tf_efficientnet_lite0", 7, "x").eval()
    path = save(whole.net, tmp_path / "whole.safetensors")
    short = load("lite0_short", path, size=(64, 64)).eval()
    assert sum(parameter.numel() for parameter in short.parameters()) < 0.71e6
    images = torch.rand(2, 3, 64, 64)
    (expected,) = whole.net.forward_intermediates(
        whole.normalize(images), indices=[3], intermediates_only=True
    )
    found = short.net.forward_features(short.normalize(images))
    assert found.shape == (2, 112, 4, 4) and torch.equal(found, expected)
    tensors = load_file(path)
    del tensors["blocks.4.0.conv_pw.weight"]
    save_file(tensors, path)
    assert "1 tensors are missing, unknown or of another shape, first blocks.4.0.conv_pw.weight" in (
        catch_refusal("lite0_short", path, size=(64, 64))
    )


# files that make weights writes


@pytest.fixture
def fetched(tmp_path, monkeypatch):
    """Weights by the name tiny, as make weights would have written them for timm/test_resnet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    path = FOLDER / "test_resnet.safetensors"
    path.parent.mkdir(parents=True)
    save(build_model("timm/test_resnet", 3, "x").net, path)
    monkeypatch.setitem(FETCHED, "tiny", Fetched("timm/test_resnet", sha256(path)))
    return path


def test_fetched_weights_are_loaded_by_name(fetched, capsys):
    (fetched.parents[2] / "tiny").write_bytes(b"a file of this name in the working folder is not meant")
    model = load("timm/test_resnet", "tiny", wanted_hash=sha256(fetched))
    assert model.pretrained == sha256(fetched)
    assert torch.equal(model.net.conv1[0].weight, load_file(fetched)["conv1.0.weight"])
    said = capsys.readouterr().out.splitlines()[0]
    assert said.startswith("params.yaml: student.pretrained: tiny, data/pretrained/test_resnet.safetensors: ")
    assert catch_refusal("timm/test_resnet", "tiny", wanted_hash="0" * 64) == (
        f"_sha256: tiny, data/pretrained/test_resnet.safetensors has {sha256(fetched)} (use other weights, "
        "or set any)"
    )


def test_an_experiment_in_a_copy_of_the_project_finds_fetched_weights(fetched, tmp_path, monkeypatch):
    """DVC names the main checkout in DVC_ROOT; the copy lacks what git ignores."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    (tmp_path / "copy").mkdir()
    monkeypatch.chdir(tmp_path / "copy")
    assert load("timm/test_resnet", "tiny").pretrained == sha256(find_file("tiny"))


def test_fetched_weights_of_another_network_name_theirs(fetched):
    line = catch_refusal("resnet18", "tiny")
    assert line.startswith(": tiny, data/pretrained/test_resnet.safetensors does not fit the network: ")
    assert line.endswith(" (set arch to timm/test_resnet)")


def test_fetched_weights_that_have_changed_are_refused(fetched):
    fetched.write_bytes(fetched.read_bytes()[:-1] + b"!")
    assert catch_refusal("timm/test_resnet", "tiny") == (
        ": tiny, data/pretrained/test_resnet.safetensors: not as make weights wrote it (remove it, then make "
        "weights)"
    )


def test_missing_fetched_weights_name_the_command(fetched):
    fetched.unlink()
    assert catch_refusal("timm/test_resnet", "tiny") == (
        ": tiny: data/pretrained/test_resnet.safetensors: no such file (make weights)"
    )


# the libraries' own weights, placed in the libraries' caches


def test_default_loads_the_weights_of_torchvision(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    url = torchvision.models.get_model_weights("squeezenet1_1").DEFAULT.url
    (tmp_path / "checkpoints").mkdir()
    source = torchvision.models.squeezenet1_1()
    torch.save(source.state_dict(), tmp_path / "checkpoints" / url.rpartition("/")[2])
    model = load("squeezenet1_1", "default")
    assert torch.equal(model.net.features[0].weight, source.features[0].weight)
    said = capsys.readouterr().out
    assert "squeezenet1_1: 50 tensors loaded, left out: classifier.1, new: classifier.1" in said
    assert f"params.yaml: student.pretrained_sha256: {model.pretrained} (set it to make sure" in said
    load("squeezenet1_1", "default", wanted_hash=model.pretrained)
    assert "_sha256" not in capsys.readouterr().out
    wrong = catch_refusal("squeezenet1_1", "default", wanted_hash="0" * 64)
    source = "the library's weights of squeezenet1_1"
    assert wrong == f"_sha256: {source} has {model.pretrained} (use other weights, or set any)"


def test_the_hash_of_tensors_depends_on_names_types_shapes_and_values():
    state = {"a": torch.arange(6.0), "b": torch.tensor(3), "c": torch.zeros(0)}
    assert hash_tensors(dict(reversed(state.items()))) == hash_tensors(state)
    first = hashlib.sha256(b"a torch.float32 (6,)\n" + np.arange(6, dtype="<f4").tobytes())
    assert hash_tensors({"a": state["a"]}) == first.hexdigest()
    changed = (
        {"a": state["a"].view(2, 3)},
        {"a": state["a"].half()},
        {"b": torch.tensor(4)},
        {"d": state["a"]},
    )
    found = {hash_tensors(state | change) for change in changed}
    assert len(found | {hash_tensors(state)}) == 5


def test_default_loads_the_weights_of_timm(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    source = build_model("timm/test_resnet", 1000, "x").net
    cache = tmp_path / f"models--timm--{source.pretrained_cfg['hf_hub_id'].partition('/')[2]}"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs/main").write_text("abc")
    (cache / "snapshots/abc").mkdir(parents=True)
    save(source, cache / "snapshots/abc/model.safetensors")
    model = load("timm/test_resnet", "default")
    assert torch.equal(model.net.conv1[0].weight, source.conv1[0].weight)
    assert "left out: fc, new: fc" in capsys.readouterr().out


def test_default_is_refused_for_a_variant_without_weights():
    assert "no library has weights for resnest50_fast_2s2x40d" in catch_refusal(
        "resnest50_fast_2s2x40d", "default", size=(32, 32)
    )


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["resnet18", "timm/resnet10t"])
def test_default_without_an_internet_connection_is_a_one_line_error(tmp_path, arch):
    """In its own process: the libraries read these variables at import."""
    program = (
        "from src.ground.errors import run; from src.networks.libraries import build_model; "
        "from src.networks.pretrained import fill, load_pretrained; "
        f"model = build_model('{arch}', 3, 'x'); "
        f"run(lambda: load_pretrained(model, '{arch}', 'default', 'any', (64, 64), 'x'))"
    )
    nowhere = {"HF_HOME": str(tmp_path), "TORCH_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    nowhere |= {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=os.environ | nowhere, capture_output=True, text=True
    )
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert len(errors) == 1 and f"the library's weights of {arch} could not be loaded" in errors[0]
