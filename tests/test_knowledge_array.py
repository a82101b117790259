"""Knowledge of many classes or views, as arrays, and what a student hears of it."""

import dataclasses
import json
import shutil
import tracemalloc

import numpy as np
import pytest
import torch
from conftest import LIGHT, edit_params, make_training_set

from src.batches.augment import build_augment
from src.batches.views import list_views
from src.ground.errors import UserError
from src.ground.params import read_params
from src.teaching.curriculum import find_truth_probs
from src.teaching.knowledge import Knowledge
from src.teaching.knowledge_array import (
    CLASSES,
    FACTS,
    PROBS,
    REST,
    describe_making,
    read_arrays,
    write_arrays,
)
from src.teaching.knowledge_file import write_knowledge
from src.teaching.knowledge_folder import read_folder, take_over
from src.teaching.targets import build_soft
from src.teaching.views import check_views, plan_views, read_views, write_views

NAMES = tuple(f"class {number}" for number in range(20))
PATHS = [f"{number}.png" for number in range(50)]
MADE = {"teacher": "abc", "size": [32, 32], "views": {"count": 3, "seed": 0, "augment": {"flip": 0.5}}}


def draw(views=3, base="softmax", seed=0):
    """Probabilities (V, N, C), most of them near 0, as those of a teacher that has learnt are."""
    generator = np.random.default_rng(seed)
    if base == "bce":
        return generator.random((views, 50, 20)) ** 8
    return generator.dirichlet(np.full(20, 0.1), (views, 50))


def write(folder, probs, base="softmax", top=5, made=MADE):
    with write_arrays(folder, base, PATHS, NAMES, len(probs), top, made) as writer:
        for view, rows in enumerate(probs):
            for part in (slice(0, 30), slice(30, 50)):
                writer.write(view, part, rows[part])
    return folder


@pytest.mark.parametrize("base", ["softmax", "bce"])
@pytest.mark.parametrize("top", [1, 5, 19, 20, 100])
def test_the_most_probable_classes_are_kept_and_the_rest_is_even(tmp_path, base, top):
    probs = draw(base=base)
    found = read_arrays(write(tmp_path / "a", probs, base, top), PATHS, NAMES, MADE)
    assert (found.views, found.shape, found.base) == (3, (50, 20), base)
    rows = np.array([4, 0, 49])
    taken = found.take(2, rows)
    assert taken.dtype == np.float32 and taken.shape == (3, 20)
    for row, mine in zip(rows, taken, strict=True):
        order = np.argsort(-probs[2, row])
        expected = probs[2, row].copy()
        if top < 20:
            expected[order[top:]] = expected[order[top:]].mean()
        assert np.allclose(mine, expected, rtol=2e-3, atol=1e-6)  # half precision has 11 bits
        assert base == "bce" or mine.sum() == pytest.approx(1, abs=1e-6)
    assert (tmp_path / "a" / CLASSES).exists() == (top < 20)


def test_imagenet_with_sixteen_views_stays_under_a_gigabyte(tmp_path):
    """By the sizes of the arrays: 1.28 million pictures, the 10 most probable of 1,000 classes."""
    write(tmp_path / "a", draw(views=2), top=10)
    each = sum(np.load(tmp_path / "a" / name).nbytes for name in (PROBS, CLASSES, REST)) / (2 * 50)
    assert each == 10 * (2 + 2) + 2 and each * 16 * 1_281_167 < 1e9


def cut(folder):
    content = (folder / PROBS).read_bytes()
    (folder / PROBS).write_bytes(content[: len(content) // 2])


def change(name, place, value):
    def apply(folder):
        array = np.load(folder / name, mmap_mode="r+")
        array[place] = value
        array.flush()

    return apply


def set_fact(**facts):
    def apply(folder):
        path = folder / FACTS
        path.write_text(json.dumps(json.loads(path.read_text()) | facts))

    return apply


@pytest.mark.parametrize(
    "damage, message",
    [
        (cut, "probs.npy: damaged or not an array"),
        (lambda folder: (folder / REST).unlink(), "rest.npy: damaged or not an array"),
        (lambda folder: (folder / CLASSES).write_bytes(b"x"), "classes.npy: damaged or not an array"),
        (lambda folder: np.save(folder / PROBS, np.ones((3, 50, 5))), "probs.npy: holds float64 (3, 50, 5)"),
        (lambda folder: np.save(folder / REST, np.ones((3, 9), np.float16)), "a: its arrays do not fit each"),
        (change(PROBS, (1, 2, 3), np.nan), "a: holds values that are no probabilities"),
        (change(PROBS, (1, 2, 3), 1.5), "a: holds values that are no probabilities"),
        (change(REST, (1, 2), -0.5), "a: holds values that are no probabilities"),
        (change(CLASSES, (1, 2, 3), 20), "a: holds values that are no probabilities"),
        (set_fact(format=2), "a/facts.json: not knowledge of format 1"),
        (set_fact(base="x"), "a/facts.json: not knowledge of format 1"),
        (lambda folder: (folder / FACTS).write_text("[]"), "a/facts.json: not knowledge of format 1"),
        (set_fact(classes=["x", "y"]), "a: of the classes x, y, train has class 0, class 1"),
        (set_fact(classes=list(NAMES[::-1])), "a: of the classes class 19, class 18"),
        (set_fact(pictures="x"), "a: of other pictures than train's"),
        (set_fact(made={**MADE, "teacher": "x"}), "a: made with another teacher's weights than asked for"),
        (set_fact(made={**MADE, "size": [64, 32]}), "a: made with pictures of another size than asked for"),
        (set_fact(made={**MADE, "views": None}), "a: made with other views than asked for"),
        (set_fact(made={}), "a: made with another teacher's weights than asked for"),
    ],
)  # fmt: skip
def test_foreign_and_damaged_arrays_are_refused_in_one_line(tmp_path, damage, message):
    folder = write(tmp_path / "a", draw())
    damage(folder)
    with pytest.raises(UserError) as error:
        read_arrays(folder, PATHS, NAMES, MADE)
    text = str(error.value)
    assert message in text and text.endswith("(run dvc repro -f dump_knowledge)") and "\n" not in text


def test_an_interrupted_writing_leaves_what_was_there(tmp_path):
    folder = write(tmp_path / "a", draw())
    with pytest.raises(KeyboardInterrupt):
        with write_arrays(folder, "softmax", PATHS, NAMES, 3, 5, MADE):
            raise KeyboardInterrupt
    assert read_arrays(folder, PATHS, NAMES, MADE).views == 3
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_word_on_a_view_is_the_mean_of_arrays_and_text(tmp_path):
    """Of text there is one view, which is heard with each of the others."""
    probs, text = draw(), Knowledge("softmax", draw(1, seed=1)[0])
    write(tmp_path / "distill_big", probs, top=20)
    write_knowledge(tmp_path / "distill_external_x.txt", text, PATHS, NAMES)
    both = read_folder(tmp_path, PATHS, NAMES, {"big": MADE}.get)
    words = build_soft(both, "softmax")
    assert [len(word) for word in words] == [50] * 3
    for view, word in enumerate(words):
        expected = (probs[view][[7, 3]] + text.probs[[7, 3]]) / 2
        assert np.allclose(word[[7, 3]], expected, atol=1e-3) and word[[7]].dtype == np.float32
    labels = np.arange(50) % 20
    truth = (probs.mean(axis=0) + text.probs)[np.arange(50), labels] / 2
    assert np.allclose(find_truth_probs(both, labels), truth, atol=1e-3)
    only = read_folder(tmp_path, PATHS, NAMES, without=["big"])
    assert [one.views for one in only] == [1]


@pytest.mark.slow
def test_text_of_many_classes_becomes_arrays_in_bounded_memory(tmp_path):
    """1,500 x 400 probabilities would take 4.8 MB."""
    names, paths = [f"c{number}" for number in range(400)], [f"{number}.png" for number in range(1500)]
    probs = np.random.default_rng(0).dirichlet(np.full(400, 0.05), 1500)
    write_knowledge(tmp_path / "distill_x.txt", Knowledge("softmax", probs[::-1]), paths[::-1], names)
    tracemalloc.start()
    take_over(tmp_path / "distill_x.txt", tmp_path / "taken", paths, names, top=10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6
    (found,) = read_folder(tmp_path / "taken", paths, names)
    assert (found.base, found.shape, found.probs.shape) == ("softmax", (1500, 400), (1, 1500, 10))
    taken = found.take(0, np.arange(1500))
    assert (
        np.array_equal(taken.argmax(1), probs.argmax(1)) and np.abs(taken.max(1) - probs.max(1)).max() < 2e-3
    )
    take_over(tmp_path / "distill_x.txt", tmp_path / "text", paths, names, top=400)
    assert [path.name for path in (tmp_path / "text").iterdir()] == ["distill_external_distill_x.txt"]


def test_a_batch_carries_the_word_on_the_view_that_it_shows(pack):
    """With K views the epoch e shows view (e - 1) mod K, the very pixels that were dumped."""
    augment = dataclasses.replace(LIGHT, flip=0.5)
    alone = plan_views("stored", 3, 7, vars(augment)).augment
    views = list_views(pack[0], alone, 7, 3, (32, 32), torch.device("cpu"))
    means = [np.repeat(view[:].mean(axis=(1, 2)) / 255, 1, axis=1).astype(np.float32) for view in views]
    data = make_training_set(pack, augment, soft=means, views=3, view_seed=7)
    assert not np.allclose(means[0], means[1], atol=1e-4)
    for epoch in (1, 2, 3, 4, 8):
        for batch in data.epoch(epoch):
            seen = batch.images.float().mean(dim=(2, 3)) / 255
            assert torch.allclose(batch.soft, seen, atol=1e-5)
    again = list(data.epoch(4))[0]
    assert not torch.equal(again.images, list(data.epoch(1))[0].images)  # in another order


def test_the_plan_knows_only_what_single_pictures_see(place):
    settings = read_params()["augment"]
    assert plan_views("plain", 4, 0, settings) is None and plan_views("live", 4, 0, settings) is None
    plan = plan_views("stored", 4, 0, settings)
    assert plan == plan_views("stored", 4, 0, {**settings, "mixup": 0.4, "cutmix": 1.0, "multi_scale": 0.2})
    assert plan != plan_views("stored", 4, 0, {**settings, "flip": 0.4})
    assert build_augment(dataclasses.replace(LIGHT, **{**plan.augment}), 32, 32)
    assert read_views() is None  # nothing is planned yet
    write_views(plan)
    assert read_views() == plan
    check_views(plan, "stored", settings)
    for views, view, augment in (
        (plan, "plain", settings), (None, "stored", settings), (plan, "stored", {**settings, "flip": 0.4}),
    ):  # fmt: skip
        with pytest.raises(UserError, match=r"^data/views.json: planned for other .* \(run dvc repro\)$"):
            check_views(views, view, augment)


def test_making_is_described_by_the_weights_not_their_name(tmp_path, place):
    (tmp_path / "a.safetensors").write_bytes(b"weights")
    shutil.copy(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    plan = plan_views("stored", 4, 0, read_params()["augment"])
    one, other = (describe_making(tmp_path, name, (32, 48), plan) for name in "ab")
    assert one == other and json.loads(json.dumps(one)) == one


def test_stored_views_need_a_number_and_a_teacher(place):
    edit_params(place, distill__view="stored", knowledge__views=0)
    with pytest.raises(
        UserError, match=r"^params.yaml: knowledge.views: must be at least 1 with distill.view"
    ):
        read_params()
    edit_params(place, knowledge__views=2, knowledge__teachers=[])
    with pytest.raises(UserError, match=r"^params.yaml: distill.view: stored needs a teacher in knowledge"):
        read_params()
