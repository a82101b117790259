"""A classifier that is trained alone, on features that are computed once; and probing before fine-tuning."""

import copy
import dataclasses
import multiprocessing
import re
import resource
import shutil

import numpy as np
import pytest
import torch
from conftest import LIGHT, NoCurves, edit_params, make_job, make_training_set, wrap_network
from torch import nn

import benchmarks.frozen
import src.training.features
from src.batches.augment import count_views
from src.batches.data import choose_view
from src.ground.errors import Stopped, UserError
from src.ground.params import read_params
from src.networks.head import split_off_head
from src.networks.libraries import build_model
from src.training.features import FeatureSet, learn_from_features, write_features
from src.training.fit import fit
from src.training.state import Saved, State

NONE = dataclasses.replace(LIGHT, policy="none")
STORED = dataclasses.replace(LIGHT, views=2)


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    """Features are kept in a folder of the test's own."""
    monkeypatch.setattr(src.training.features, "FOLDER", tmp_path / "features")
    return tmp_path / "features"


def build(arch="timm/test_resnet"):
    torch.manual_seed(0)
    return build_model(arch, 3, "student")


def make(pack, augment=NONE, arch="timm/test_resnet", data=(), **changes):
    training_set = make_training_set(pack, augment, views=count_views(augment), **dict(data))
    return make_job(pack, build(arch), data=training_set, arch=arch, **{"freeze": "backbone"} | changes)


def train(job, state=None):
    curves = NoCurves()
    best = fit(job, curves, state or State())
    rows = [(row.train_loss, row.val_loss, row.val_accuracy) for row in curves.rows]
    return job.network.state_dict(), np.array(rows), best.metrics()


@pytest.fixture
def by_pictures(monkeypatch):
    """A context in which every picture goes through the whole network in every epoch."""

    def call(job):
        with monkeypatch.context() as patch:
            patch.setattr("src.training.fit.learn_from_features", lambda job: job)
            return train(job)

    return call


# the same training


@pytest.mark.parametrize(
    "augment, arch, changes",
    [
        (NONE, "timm/test_resnet", {"ema": 0.9, "weight_decay": 0.1}),
        (NONE, "mobilenet_v2", {"swa": 2}),  # with dropout before its classifier
        (NONE, "timm/test_vit", {"layer_decay": 0.5, "head_lr_mult": 3.0}),
        (STORED, "timm/test_resnet", {"accumulate": 2, "batch_size": 4, "data": {"batch_size": 4}}),
    ],
)
def test_features_give_the_same_training_as_pictures(pack, by_pictures, augment, arch, changes):
    job = make(pack, augment, arch, **changes)
    assert isinstance(learn_from_features(job).data, FeatureSet)
    slow, fast = by_pictures(make(pack, augment, arch, **changes)), train(job)
    assert slow[0].keys() == fast[0].keys()  # the whole network is kept
    for name, tensor in slow[0].items():
        assert torch.allclose(tensor, fast[0][name], atol=2e-4), name
    assert not torch.equal(fast[0]["normalize.mean"], torch.zeros(3, 1, 1))
    np.testing.assert_allclose(slow[1], fast[1], atol=2e-3)
    assert slow[2]["best_epoch"] == fast[2]["best_epoch"]


def test_an_epoch_does_not_run_the_backbone(pack, monkeypatch):
    job = learn_from_features(make(pack))
    job.network.net.conv1.register_forward_pre_hook(lambda *_: pytest.fail("the backbone ran"))
    monkeypatch.setattr("src.training.fit.learn_from_features", lambda job: job)
    assert train(job)[2]["best_epoch"] >= 1


def test_a_part_of_the_pictures_keeps_its_places(pack, by_pictures):
    """Rows that do not begin at 0: a feature must go with its own target."""
    data = {"rows": np.arange(5, 29)}
    slow, fast = by_pictures(make(pack, data=data)), train(make(pack, data=data))
    assert torch.allclose(slow[0]["net.fc.weight"], fast[0]["net.fc.weight"], atol=2e-4)


@pytest.mark.parametrize("arch", ["squeezenet1_1", "timm/deit_tiny_distilled_patch16_224"])
def test_a_network_without_a_head_of_its_own_is_trained_from_pictures(arch):
    """The first one's classifier is a convolution, the second has two."""
    size = 224 if "224" in arch else 32
    assert split_off_head(build(arch), (size, size)) is None


@pytest.mark.parametrize(
    "middle, entry",
    [
        (nn.ReLU(), 4),
        (nn.Dropout(0.5), 3),
        (nn.Dropout(0.5, inplace=True), 3),
        (nn.BatchNorm1d(8, affine=False), None),  # nothing of it is trained, and it changes in each step
        (nn.Sequential(nn.Dropout(0.5), nn.ReLU()), None),
    ],
)
def test_the_head_begins_where_nothing_changes(middle, entry):
    layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 8), nn.ReLU(), middle, nn.Linear(8, 3))
    parts = split_off_head(wrap_network(layers, ["4"]), (8, 8))
    assert (parts is None) == (entry is None)
    if parts is not None:
        assert list(parts[1]) == list(layers[entry:])
        images = torch.rand(5, 3, 8, 8)
        assert torch.equal(parts[1].eval()(parts[0](images)), layers.eval()(images))


@pytest.mark.parametrize(
    "changes",
    [
        {"freeze": "none"},
        {"freeze": 2},
        {"augment": LIGHT},
        {"augment": dataclasses.replace(NONE, erase=0.5)},
        {"data": {"transforms": lambda epoch: [lambda batch, generator: batch]}},
    ],
    ids=["all", "groups", "augmented", "erased", "mixed"],
)
def test_what_changes_from_epoch_to_epoch_is_trained_from_pictures(pack, changes):
    job = make(pack, **changes)
    assert learn_from_features(job) is job


# views


def test_the_augmentations_of_the_first_epochs_are_used_in_turn(pack):
    """Epochs 1, 2, 3, 4 see the pictures of epochs 1, 2, 1, 2 of a training without stored views."""
    plain, stored = make_training_set(pack), make_training_set(pack, views=2)

    def see(data, epoch):
        parts = next(data.epochs.loader.load([(choose_view(epoch, data.views), [0, 1, 2])]))
        return data.augment.finish(parts)

    assert [choose_view(epoch, 2) for epoch in (1, 2, 3, 4)] == [1, 2, 1, 2]
    for epoch, seen in ((1, 1), (2, 2), (3, 1), (4, 2)):
        assert torch.equal(see(stored, epoch), see(plain, seen))
    assert not torch.equal(see(plain, 1), see(plain, 3))


def test_views_without_augmentation_are_one():
    assert [count_views(one) for one in (NONE, LIGHT, STORED)] == [1, 0, 2]
    assert count_views(dataclasses.replace(NONE, views=5)) == 1


def test_no_view_is_computed_that_no_epoch_sees(pack):
    """9 views in 4 epochs are 4; of 2 both are seen."""
    for views, seen in ((9, 4), (2, 2)):
        job = learn_from_features(make(pack, dataclasses.replace(LIGHT, views=views), epochs=4))
        assert job.data.features.shape == (seen, 30, 96)


# what is kept


def count_passes(monkeypatch):
    passes = []
    predict = src.training.features.predict_logits
    monkeypatch.setattr(
        src.training.features,
        "predict_logits",
        lambda model, pictures, *rest: (passes.append(len(pictures)), predict(model, pictures, *rest))[1],
    )
    return passes


def test_features_are_computed_once_and_found_again(pack, scratch, monkeypatch):
    passes = count_passes(monkeypatch)
    first = train(make(pack))
    assert passes == [8, 30, 30]  # the first batch, then train and val
    again = train(make(pack))
    assert passes[3:] == [8] and len(list(scratch.iterdir())) == 1
    assert torch.equal(first[0]["net.fc.weight"], again[0]["net.fc.weight"])


def test_other_weights_pictures_or_views_have_features_of_their_own(pack, scratch):
    found = []
    for job in (
        make(pack),
        make((pack[0][::-1].copy(), pack[1])),
        make(pack, STORED),
        make(pack, STORED, data={"seed": 2}),
        make(pack, arch="timm/test_vit"),
    ):
        learn_from_features(job)
        newest = max(scratch.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        found.append(newest.name)
    assert len(set(found)) == 5
    assert len(list(scratch.iterdir())) == src.training.features.KEPT + 1


@pytest.mark.parametrize("harm", ["last digit", "one byte", "header", "foreign", "cut", "text"])
def test_features_that_the_network_does_not_give_now_are_computed_again(pack, scratch, monkeypatch, harm):
    quiet = train(make(pack))
    (path,) = scratch.iterdir()
    content = bytearray(path.read_bytes())
    if harm == "last digit":  # as with other instructions
        write_features(path, np.nextafter(np.load(path), np.inf))
    elif harm == "one byte":  # after the first batch
        content[-100] ^= 1
        path.write_bytes(content)
    elif harm == "header":
        path.write_bytes(content.replace(b"False", b"'alse"))
    elif harm == "foreign":
        with open(path, "wb") as file:
            np.savez(file, features=np.zeros((60, 8), np.float32))
    else:
        path.write_bytes(content[:-5] if harm == "cut" else b"hi")
    passes = count_passes(monkeypatch)
    again = train(make(pack))
    assert passes == [8, 30, 30] and torch.equal(quiet[0]["net.fc.weight"], again[0]["net.fc.weight"])


def test_a_disk_that_takes_no_features_stops_no_training(pack, scratch, capsys):
    quiet = train(make(pack))
    shutil.rmtree(scratch)
    scratch.write_text("a file where the folder should be")
    again = train(make(pack))
    assert torch.equal(quiet[0]["net.fc.weight"], again[0]["net.fc.weight"])
    assert re.search(r"warning: .*\.npy: .*; the features are not kept", capsys.readouterr().out)


def test_a_full_disk_is_named(tmp_path, capsys):
    """A limit on the size of files stands for it: np.save would raise an error without a cause."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        write_features(tmp_path / "features.npy", np.zeros((1000, 2), np.float32))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "features.npy: File too large; the features" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_weights_do_not_depend_on_the_number_of_workers(pack):
    one, two = (train(make(pack, STORED, data={"workers": workers})) for workers in (0, 2))
    assert torch.equal(one[0]["net.fc.weight"], two[0]["net.fc.weight"])


# resuming, probing


@pytest.mark.parametrize("changes", [{}, {"freeze": "none", "probe_first": True, "ema": 0.9}])
def test_a_stopped_training_resumes_to_the_same_bits(pack, tmp_path, monkeypatch, changes):
    quiet = train(make(pack, **changes))
    steps = []

    class Stopping(Saved):
        def save_if_cheap(self):
            self.save()
            steps.append(1)
            if len(steps) == 2:
                raise Stopped(15)

    with pytest.raises(Stopped):
        train(make(pack, **changes), Stopping(tmp_path))
    monkeypatch.setattr("src.training.fit.build_probe", lambda job: pytest.fail("probed again"))
    again = train(make(pack, **changes), Saved(tmp_path))
    assert all(torch.equal(tensor, again[0][name]) for name, tensor in quiet[0].items())
    assert np.array_equal(quiet[1], again[1]) and quiet[2] == again[2]


def test_fine_tuning_starts_from_the_classifier_of_a_frozen_training(pack, monkeypatch):
    """With a learning rate that moves nothing, what is left is the frozen training's classifier."""
    frozen = train(make(pack))[0]
    job = make(pack, LIGHT, freeze="none", probe_first=True)
    probed = copy.deepcopy(job.network)
    monkeypatch.setattr(
        "src.training.fit.take_classifier", lambda own, probe: probed.load_state_dict(probe.state_dict())
    )
    train(job)
    assert all(torch.equal(tensor, frozen[name]) for name, tensor in probed.state_dict().items())


def test_probing_leaves_every_layer_to_be_trained(pack):
    before = build().state_dict()
    after = train(make(pack, freeze="none", probe_first=True))[0]
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert {"net.conv1.0.weight", "net.fc.weight"} <= moved


@pytest.mark.slow
def test_the_workers_of_a_probe_end_with_it(pack):
    """A network whose probe is trained from pictures; the training that follows has two workers."""
    counts = []

    class Counting(NoCurves):
        def add(self, row):
            counts.append(len(multiprocessing.active_children()))

    before = len(multiprocessing.active_children())
    job = make(pack, LIGHT, "squeezenet1_1", data={"workers": 2}, freeze="none", probe_first=True, epochs=2)
    fit(job, Counting(), State())
    assert counts == [before + 2, before + 2]


@pytest.mark.parametrize(
    "changes, got",
    [
        ({"student__probe_first": True}, "student: {}, got none and none"),
        (
            {"student__probe_first": True, "student__pretrained": "default", "student__freeze": "backbone"},
            "student: {}, got default and backbone",
        ),
        (
            {"teacher_common__probe_first": True, "teacher__second__pretrained": "x"},
            "teacher.big: {}, got none and none",
        ),
    ],
)
def test_probing_without_something_to_spoil_is_refused(place, changes, got):
    edit_params(place, **changes)
    rule = "probe_first must be false if pretrained is none or freeze is backbone"
    with pytest.raises(UserError) as error:
        read_params()
    assert str(error.value) == f"params.yaml: {got.format(rule)}"


@pytest.mark.slow
def test_the_benchmark_compares_its_rows(place, tiny_images, monkeypatch, capsys):
    """From features and from pictures the accuracies are the same."""
    weights = place / "weights.pth"
    torch.save(build().net.state_dict(), weights)
    words = ["frozen", str(tiny_images), str(weights), "--arch", "timm/test_resnet", "--size", "32"]
    chosen = ["--epochs", "1", "--seeds", "1", "--batch-size", "8", "--rows", "frozen, plain, from"]
    monkeypatch.setattr("sys.argv", [*words, *chosen])
    benchmarks.frozen.main()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("seed 1, ")]
    (pictures, seconds), (features, others) = (line.rsplit(", ", 1) for line in lines)
    assert pictures.partition(" val ")[2] == features.partition(" val ")[2] and "test " in features
    assert seconds.endswith(" s") and others.endswith(" s")
