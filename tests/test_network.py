"""What a network knows about itself, and whether it and its weights can be used."""

import copy
import json
import pickle
import random
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import edit_params, make_settings, wrap_network
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from src.ground.errors import UserError
from src.losses.bases import BASES
from src.networks.checkpoint import Facts, load_model, save_weights
from src.networks.checks import check_round_trip, check_step, check_trace
from src.networks.initial import build_initial
from src.networks.libraries import build_model, skip_pixels_first
from src.pictures.grey import GREY_RANGE
from src.pictures.manifest import CLASSES, manifest_path, pack_path
from stages import dump_knowledge, export_jit


@pytest.mark.parametrize(
    "arch, classifier, feature_map, channels",
    [
        ("resnet18", ("fc",), "layer4", 512),
        ("mobilenetv3_small", ("classifier.3",), "features", 576),
        ("squeezenet1_1", ("classifier.1",), "classifier.0", 512),
        ("timm/test_resnet", ("fc",), "layer4", 96),
        ("timm/test_vit", ("head",), None, None),
    ],
)
def test_classifier_and_feature_map(arch, classifier, feature_map, channels):
    """The classifier's features are the mean of this map; a vision transformer ends in tokens."""
    network = build_model(arch, 3, "x").train()
    found = network.feature_map_name()
    assert network.training and network.classifier_names == classifier
    if feature_map is None:
        assert found is None
        return
    assert found.startswith(feature_map)
    maps = []
    network.net.get_submodule(found).register_forward_hook(lambda _, __, output: maps.append(output))
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, network.expected.height, network.expected.width))
    assert maps[0].ndim == 4 and maps[0].shape[1] == channels


def test_only_weights_of_two_dimensional_convolutions_are_channels_last():
    """timm's lambda networks have one of three dimensions too, which torch refuses to lay out so."""
    weights = build_model("timm/lambda_resnet26t", 3, "x").state_dict().values()
    assert any(weight.ndim == 5 for weight in weights)
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights if w.ndim == 4)


def test_a_strided_convolution_of_single_pixels_gives_the_same_logits_and_gradient():
    """The reference is a matrix product: oneDNN's own gradient writes beyond its memory."""
    network = build_model("timm/mobileone_s0", 3, "x")
    (first,) = [layer for layer in network.net.stem.modules() if isinstance(layer, nn.Conv2d)
                and layer.kernel_size == (1, 1)]  # fmt: skip
    assert first.in_channels == 3 and first.stride == (1, 1)
    images = torch.rand(2, 3, 32, 32)
    ours = first(images.contiguous(memory_format=torch.channels_last))
    theirs = torch.einsum("oi,nihw->nohw", first.weight[..., 0, 0], images[..., ::2, ::2])
    assert ours.shape == theirs.shape and torch.allclose(ours, theirs, atol=1e-6)
    weights = torch.rand_like(theirs)
    one, other = (torch.autograd.grad((out * weights).sum(), first.weight)[0] for out in (ours, theirs))
    assert torch.allclose(one, other, rtol=1e-4)
    check_step(network, (64, 64), 3, "x")


def differ_from_double(layer, reference, images):
    """The largest error of output and gradients beside `reference` in float64, which oneDNN does not take."""
    images = [images.to(kind, copy=True).requires_grad_() for kind in (torch.float32, torch.float64)]
    found = []
    for one, some in zip((layer, reference), images, strict=True):
        out = one(some.contiguous(memory_format=torch.channels_last))
        (out * torch.linspace(-1, 1, out.numel()).view(out.shape)).sum().backward()
        found.append([out, some.grad, *(parameter.grad for parameter in one.parameters())])
    errors = [((a.double() - b).abs().max() / b.abs().max()).item() for a, b in zip(*found, strict=True)]
    return max(errors)


def pass_through_pickle(layer):
    return pickle.loads(pickle.dumps(layer))


def load_into_another(layer):
    other = nn.Conv2d(layer.in_channels, layer.out_channels, 1, (3, 2))
    skip_pixels_first(other)
    other.load_state_dict(layer.state_dict())
    return other


def trace(layer):
    return torch.jit.trace(layer, torch.rand(1, 3, 8, 8), check_trace=False)


def export(layer):
    return torch.export.export(layer, (torch.rand(2, 3, 16, 15),)).module()


@pytest.mark.parametrize(
    "change",
    [lambda layer: layer, copy.deepcopy, pass_through_pickle, load_into_another, trace, export],
    ids=["itself", "deepcopy", "pickle", "state_dict", "trace", "export"],
)
def test_skipping_pixels_first_survives_what_is_done_to_a_layer(change):
    plain = nn.Conv2d(3, 8, 1, (3, 2)).to(memory_format=torch.channels_last)
    skipping = copy.deepcopy(plain)
    skip_pixels_first(skipping)
    layer, images = change(skipping), torch.rand(2, 3, 16, 15)
    assert differ_from_double(layer, plain.double(), images) < 1e-5
    assert plain.stride == (3, 2) and skipping.stride == (1, 1)


@pytest.mark.parametrize(
    "inputs, options",
    [
        (3, {"kernel_size": 1, "stride": 2, "padding": 1}),
        (3, {"kernel_size": 3, "stride": 2, "padding": 1}),
        (3, {"kernel_size": (1, 3), "stride": 2}),
        (3, {"kernel_size": 2, "stride": 2}),
        (6, {"kernel_size": 1, "stride": 2, "groups": 3, "padding": 1}),
        (16, {"kernel_size": 1, "stride": 2}),
        (12, {"kernel_size": 1, "stride": (1, 2), "groups": 4}),
        (3, {"kernel_size": 1}),
    ],
)
def test_the_other_convolutions_of_few_channels_are_right_as_they_are(inputs, options):
    """The neighbours of the one that oneDNN computes wrongly in the channels-last layout (oneDNN#6035)."""
    torch.manual_seed(0)
    layer = nn.Conv2d(inputs, 24, **options).to(memory_format=torch.channels_last)
    images = torch.rand(4, inputs, 32, 32)
    assert differ_from_double(layer, copy.deepcopy(layer).double(), images) < 1e-5


def test_layers_of_the_classifier():
    network = build_model("mobilenetv3_small", 3, "x")
    assert network.is_in_classifier("classifier.3.weight") and not network.is_in_classifier(
        "classifier.0.weight"
    )
    assert [layer.out_features for layer in network.classifiers()] == [3]
    assert copy.deepcopy(network).classifier_names == network.classifier_names


def test_names_of_the_state_are_stable():
    """Existing weights files use these names."""
    names = list(build_model("timm/test_resnet", 3, "x").state_dict())
    assert names[:2] == ["normalize.mean", "normalize.std"]
    assert all(name.startswith("net.") for name in names[2:])


# what is found before a training: networks that cannot be saved, loaded, trained or exported


class Odd(nn.Module):
    """A classifier of 3 classes with one fault."""

    def __init__(self, fault):
        super().__init__()
        self.fault = fault
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, 3)
        self.scale = nn.Parameter(torch.ones(1))
        if fault == "random buffer that is not saved":
            self.register_buffer("offset", torch.rand(3), persistent=False)
        if fault == "no finite weights":
            nn.init.constant_(self.fc.bias, float("nan"))

    def forward(self, images):
        fault, features = self.fault, self.conv(images).mean(dim=(2, 3))
        logits = self.fc(features.detach() if fault == "no gradient" else features)
        if fault == "random buffer that is not saved":
            return logits + self.offset
        if fault == "a tuple in training" and self.training:
            return logits, features
        if fault == "features in training" and self.training:
            return features
        if fault == "always a tuple":
            return logits, features
        if fault == "infinite":
            return logits / 0
        if fault == "no gradient":
            return logits.detach()
        if fault == "no finite gradient":
            return logits + (0 * self.scale).sqrt()
        if fault == "fails in training" and self.training:
            raise KeyError("aux")
        if fault == "made for the traced batch":
            return logits[: int(len(images))] + torch.arange(len(images)).view(-1, 1) * int(len(images))
        if fault == "no trace":
            return self.fc(torch.from_numpy(features.numpy())) if not torch.is_grad_enabled() else logits
        return logits

    def get_extra_state(self):
        return {"a": 1} if self.fault == "state without a tensor" else torch.zeros(1)

    def set_extra_state(self, state):
        if self.fault == "loads something else":
            nn.init.zeros_(self.scale)


def build_odd(fault):
    return wrap_network(Odd(fault), ["fc"])


@pytest.mark.parametrize(
    "fault, message",
    [
        ("state without a tensor", "the network cannot be saved and loaded: "),
        ("loads something else", "the network cannot be saved and loaded: net.scale differs"),
        ("random buffer that is not saved", "the network cannot be saved and loaded: its logits differ"),
        ("a tuple in training", r"the network's output in training is a tuple, not \(2, 3\)"),
        ("features in training", r"the network's output in training has shape \(2, 4\), not \(2, 3\)"),
        ("always a tuple", r"the network's output in evaluation is a tuple, not \(1, 3\)"),
        ("infinite", "the network's output in evaluation is not finite"),
        ("no finite weights", "the network's output in evaluation is not finite"),
        ("no gradient", "the network cannot take a training step: element 0 of tensors does not require"),
        ("fails in training", "the network cannot take a training step: 'aux'"),
        ("no finite gradient", "the network cannot take a training step: the gradient of net.scale is not"),
    ],
)
def test_a_network_that_cannot_be_used_is_refused_before_it_is_trained(monkeypatch, fault, message):
    for module in ("initial", "checkpoint"):
        monkeypatch.setattr(f"src.networks.{module}.build_model", lambda *_: build_odd(fault))
    with pytest.raises(UserError, match=f"^params.yaml: student.arch: {message}") as caught:
        build_initial(
            make_settings(arch="resnet18"), BASES["softmax"], "abc", (32, 32), [(32, 32)], "student"
        )
    assert "\n" not in str(caught.value) and "(use " in str(caught.value)


@pytest.mark.parametrize("fault", ["made for the traced batch", "no trace"])
def test_a_network_that_cannot_be_exported_is_refused(fault):
    check_trace(build_odd("none"), (32, 32), "student")
    with pytest.raises(
        UserError, match="^params.yaml: student.arch: the network cannot be exported as TorchScript: "
    ):
        check_trace(build_odd(fault), (32, 32), "student")


def test_checks_change_no_random_number_and_no_weight():
    def build():
        torch.manual_seed(0)
        network = build_model("timm/test_mambaout", 3, "x")
        if checked:
            check_step(check_round_trip(network, "timm/test_mambaout", (32, 32), 3, "x"), (32, 32), 3, "x")
            check_trace(network, (32, 32), "x")
        return [*network.state_dict().values(), torch.rand(1)]

    checked = False
    plain = build()
    checked = True
    assert all(torch.equal(one, other) for one, other in zip(plain, build(), strict=True))


def test_layers_that_are_used_twice_are_saved_and_loaded(tmp_path):
    """timm's CoaT uses one module in every block of a stage: its tensors have several names."""
    network = build_model("timm/coat_lite_tiny", 3, "x").eval()
    names = [name for name in network.state_dict() if name.endswith("crpe.conv_list.0.weight")]
    assert len(names) > 4
    check_round_trip(network, "timm/coat_lite_tiny", (224, 224), 3, "x")
    facts = Facts(
        "timm/coat_lite_tiny", "softmax", tuple("abc"), 224, 224, (0.5,) * 3, (1.0,) * 3, "", "", "", ""
    )
    save_weights(tmp_path / "w.safetensors", network, facts)
    loaded, _ = load_model(tmp_path / "w.safetensors")
    images = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(loaded(images), network(images))


# weights files that no stage of this version wrote


def change_facts(**changes):
    return lambda facts, state: (
        {name: value for name, value in (facts | changes).items() if value is not None},
        state,
    )


FOREIGN = {
    "other version": (change_facts(new=1), "have an unknown 'new'"),
    "older version": (change_facts(base=None), "lack base"),
    "unknown network": (change_facts(arch="resnet19"), "have a wrong arch: resnet19"),
    "network of a hub": (change_facts(arch="timm/hf-hub:someone/else"), "have a wrong arch: timm/hf-hub"),
    "tag of a hub": (change_facts(arch="timm/test_resnet.a:b"), "timm/test_resnet.a:b cannot be built"),
    "number as a name": (change_facts(arch=18), "have a wrong arch: 18"),
    "base": (change_facts(base="hinge"), "have a wrong base: hinge"),
    "no classes": (change_facts(classes=[]), r"have a wrong classes: \[\]"),
    "a class twice": (change_facts(classes=["a", "b", "a"]), "have a wrong classes: "),
    "classes as text": (change_facts(classes="abc"), "have a wrong classes: abc"),
    "classes as numbers": (change_facts(classes=[1, 2, 3]), "have a wrong classes: "),
    "size": (change_facts(height=-32), "have a wrong height: -32"),
    "size as text": (change_facts(width="32"), "have a wrong width: 32"),
    "mean": (change_facts(mean=[0.5]), "have a wrong mean: "),
    "std": (change_facts(std=[0.0, 1.0, 1.0]), "have a wrong std: "),
    "a number for a hash": (change_facts(data=5), "have a wrong data: 5"),
    "fit": (change_facts(fit="reflect"), "have a wrong fit: reflect"),
    "fit as a list": (change_facts(fit=["crop"]), "have a wrong fit: "),
    "no mapping": (lambda facts, state: ([1], state), "are not a mapping"),
    "more classes": (change_facts(classes=[*"abcd"]), "does not fit timm/test_resnet with 4 classes: 2"),
    "other network": (change_facts(arch="timm/test_vit"), "does not fit timm/test_vit with 3 classes"),
    "tensor missing": (lambda f, s: (f, {k: s[k] for k in s if k != "net.fc.bias"}), "first net.fc.bias"),
    "tensor unknown": (lambda f, s: (f, s | {"net.fc.extra": torch.ones(1)}), "first net.fc.extra"),
    "wrong shape": (lambda f, s: (f, s | {"net.fc.bias": torch.ones(4)}), "first net.fc.bias"),
    "not finite": (lambda f, s: (f, s | {"net.fc.bias": torch.ones(3) / 0}), "net.fc.bias holds non-finite"),
}  # fmt: skip


@pytest.fixture(scope="module")
def facts_and_state():
    facts = Facts("timm/test_resnet", "softmax", tuple("abc"), 32, 32, (0.5,) * 3, (1.0,) * 3, "", "", "", "")
    state = build_model("timm/test_resnet", 3, "x").state_dict()
    return asdict(facts), {name: tensor.contiguous() for name, tensor in state.items()}


def test_a_file_without_a_fit_is_of_letterboxed_pictures(tmp_path, facts_and_state):
    """As all were before there was another; such files keep their bytes."""
    values, state = facts_and_state
    path, network = tmp_path / "w.safetensors", build_model("timm/test_resnet", 3, "x")
    save_file(state, path, {"dojo": json.dumps({k: v for k, v in values.items() if k != "fit"})})
    _, facts = load_model(path)
    assert facts.fit == "letterbox"
    for fit, named in (("letterbox", False), ("crop", True)):
        save_weights(path, network, replace(facts, fit=fit))
        with safe_open(path, "pt") as file:
            assert ("fit" in json.loads(file.metadata()["dojo"])) == named
        assert load_model(path)[1].fit == fit


@pytest.mark.parametrize("kind", FOREIGN)
def test_weights_that_no_stage_wrote_are_one_line_with_the_file(tmp_path, facts_and_state, kind):
    change, message = FOREIGN[kind]
    facts, state = change(*facts_and_state)
    path = tmp_path / "w.safetensors"
    save_file(state, path, {"dojo": json.dumps(facts)})
    with pytest.raises(UserError, match=f"^{path}: .*{message}") as caught:
        load_model(path)
    assert "\n" not in str(caught.value) and "(give the path of a file that a stage" in str(caught.value)


@pytest.mark.parametrize("header", ["{", "", "null", "[" * 100_000, "\x00", '{"arch": NaN}'])
def test_facts_that_are_not_json_are_one_line(tmp_path, facts_and_state, header):
    path = tmp_path / "w.safetensors"
    save_file(facts_and_state[1], path, {"dojo": header})
    with pytest.raises(UserError, match=f"^{path}: the facts in the header (are not|lack)"):
        load_model(path)


def test_a_damaged_weights_file_is_loaded_or_refused(tmp_path, facts_and_state):
    """200 files with damaged headers: nothing but a network or a UserError."""
    facts, state = facts_and_state
    path, dice = tmp_path / "w.safetensors", random.Random(0)
    save_file(state, path, {"dojo": json.dumps(facts)})
    content, refused = path.read_bytes(), 0
    head = 8 + int.from_bytes(content[:8], "little")
    for _ in range(200):
        damaged = bytearray(content)
        for _ in range(dice.choice((1, 1, 3))):
            damaged[dice.randrange(head)] = dice.randrange(256)
        path.write_bytes(damaged)
        try:
            load_model(path)
        except UserError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"classes": ("c", "b", "a")}, "trained on the same 3 classes in another order than the data's"),
        ({"classes": ("a", "b", "x")}, "trained on 3 classes, the data has 3: it lacks x, only it has c"),
        ({"height": 64}, "trained at 64 x 32 pixels, the pictures are packed at 32 x 32"),
    ],
)
@pytest.mark.parametrize("stage", [dump_knowledge, export_jit])
def test_weights_of_other_classes_or_another_size_are_refused(
    place, facts_and_state, stage, changes, message
):
    """The first would name the teacher's probabilities by the wrong classes, in silence."""
    for split in ("train", "val", "test"):
        for path in (manifest_path(split), pack_path(split)):
            path.parent.mkdir(parents=True, exist_ok=True)
        rows = "".join(f"{split}/{name}/1.png,{name},{name}\n" for name in "abc")
        manifest_path(split).write_text(f"path,class,hash\n{rows}")
        np.save(pack_path(split), np.zeros((3, 32, 32, 3), np.uint8))
    CLASSES.write_text('["a", "b", "c"]')
    GREY_RANGE.write_text('"file"')
    edit_params(place, knowledge__min_accuracy=0.0, device="cpu")
    facts, state = facts_and_state
    for path in (export_jit.STUDENT, dump_knowledge.TEACHERS / "big.safetensors"):
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(state, path, {"dojo": json.dumps(facts | changes)})
    with pytest.raises(UserError, match=f"^{path.parts[0]}/models/.*: {message}"):
        stage.main()
    assert not Path("data/distill/distill_big.txt").exists() and not Path("data/export/student.pt").exists()
