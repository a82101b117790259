"""params.yaml: read as DVC reads it and fully validated; every problem names key, value and rule."""

import copy
import dataclasses
import json
import random
import re
import shutil

import numpy as np
import pytest
from conftest import ROOT, edit_params
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import load_yaml
from ruamel.yaml import YAML

from src.ground.errors import UserError
from src.ground.kinds import within
from src.ground.params import check_pictures, parse, read, read_params
from src.ground.rules import BY_CLASS, count_fraction
from src.ground.strict_yaml import parse_yaml
from src.teaching.labels import draw_fraction
from src.training.settings import TeacherSettings
from tools.ablation.overrides import override_params

LOSS = (
    "must be at most one of softmax, bce (default bce) and any of weighted, threshold, ghm, ohm, joined by "
    "'+'"
)
TEACHERS = "must be a list of distinct entries of teacher, or []"


def catch_refusal(place):
    with pytest.raises(UserError) as error:
        read_params()
    return str(error.value)


def test_shipped_file_is_valid_and_read_as_dvc_reads_it(place):
    assert read_params() == load_yaml("params.yaml")


@pytest.mark.parametrize(
    "text", ["1e-05", "1e-3", "0.1", "1E+2", ".5", "010", "1_0", "yes", "on", "1:30", "~", "'3'"]
)
def test_scalars_are_parsed_as_by_dvc(place, text):
    (place / "x.yaml").write_text(f"a: {text}\n")
    assert parse_yaml(f"a: {text}\n".encode(), "x.yaml") == load_yaml("x.yaml")


@pytest.mark.parametrize(
    "key", ["3", "-3", "0", "'1.10'", '"true"', "yes", "no", "12:30", "golden retriever", "ä"]
)
def test_keys_are_the_text_that_dvc_reads(place, key):
    """A class may be named 3; yes and 12:30 are text in YAML 1.2."""
    (place / "x.yaml").write_text(f"a:\n  {key}: 5\n")
    assert parse_yaml((place / "x.yaml").read_bytes(), "x.yaml")["a"] == {key.strip("'\""): 5}
    assert [str(name) for name in load_yaml("x.yaml")["a"]] == [key.strip("'\"")]


@pytest.mark.parametrize(
    "key, meaning",
    [(key, "a number") for key in ("1.10", "007", "1_000", "1e3", "0x10", "0o17", "+3", "-0", ".inf", ".nan")]
    + [(key, "a truth value") for key in ("true", "False")]
    + [(key, "nothing") for key in ("null", "~", "NULL")]
    + [(key, "a date") for key in ("2024-01-01", "2024-99-99")]
    + [("<<", "a merge"), ("=", "a default")],
)
@pytest.mark.parametrize("of", ["student:\n  class_weights", "student:\n  prior", "a", "teacher"])
def test_keys_that_are_no_text_are_refused(key, meaning, of):
    rest = "is read as {}, not as text (write it in quotes, in the file itself: -S drops them)"
    with pytest.raises(UserError) as error:
        parse_yaml(f"{of}:\n    {key}: 5\n".encode(), "x.yaml")
    assert str(error.value) == f"x.yaml: line {of.count(chr(10)) + 2}: key {key} {rest.format(meaning)}"


def test_what_dvc_makes_of_a_class_named_like_a_number_is_refused(place):
    """`-S` turns 1.10 into 1.1, which may be another class; only the file can hold it, in quotes."""
    apply_overrides(place / "params.yaml", ["student.class_weights={1.10: 5}"])
    line = 1 + (place / "params.yaml").read_text().splitlines().index("    1.1: 5")
    assert catch_refusal(place).startswith(
        f"params.yaml: line {line}: key 1.1 is read as a number, not as text"
    )


def test_whole_numbers_as_overrides_stay_classes(place):
    apply_overrides(
        place / "params.yaml", ["+weighting.weighted.costs={3:{7:5}}", "student.class_weights={3: 5}"]
    )
    params = read_params()
    assert params["weighting"]["weighted"]["costs"] == {"3": {"7": 5}}
    assert params["student"]["class_weights"] == {"3": 5}


def test_shipped_file_has_the_format_that_dvc_writes(place):
    from dvc.utils.serialize import modify_yaml

    before = (place / "params.yaml").read_text()
    with modify_yaml("params.yaml") as params:
        params["seed"] = 2
    changed = [
        new
        for old, new in zip(
            before.splitlines(), (place / "params.yaml").read_text().splitlines(), strict=True
        )
        if old != new
    ]
    assert [line.split("#")[0].strip() for line in changed] == ["seed: 2"]


def list_keys(value, key=""):
    if isinstance(value, list):
        yield key
    for name, inner in value.items() if isinstance(value, dict) else []:
        yield from list_keys(inner, f"{key}.{name}" if key else name)


LISTS = list(list_keys(load_yaml(ROOT / "params.yaml")))


@pytest.mark.parametrize("value", ["[]", "[1]", "[1,2,3,4,5]"])
@pytest.mark.parametrize("key", LISTS)
def test_every_list_can_be_overridden(place, key, value):
    """A comment beside a key of a list makes DVC write a broken file for `-S key=[]`, or the next time."""
    expected = load_yaml("params.yaml")
    section = expected
    for word in key.split(".")[:-1]:
        section = section[word]
    section[key.split(".")[-1]] = json.loads(value)
    for text in ("[x]", value):
        apply_overrides(place / "params.yaml", [f"{key}={text}"])
    assert load_yaml("params.yaml") == expected


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("loss", "omh", f"loss: {LOSS}, got 'omh'"),
        ("loss", "softmax+bce", f"loss: {LOSS}, got 'softmax+bce'"),
        ("loss", "ohm+ohm", f"loss: {LOSS}, got 'ohm+ohm'"),
        ("seed", None, "seed: must be a whole number in [0, 4294967295], got None"),
        ("threads", 0, "threads: must be a whole number in [1, 1024], got 0"),
        ("threads", 100_000, "threads: must be a whole number in [1, 1024], got 100000"),  # a crash of torch
        ("threads", True, "threads: must be a whole number in [1, 1024], got True"),
        ("workers", 100_000, "workers: must be a whole number in [0, 1024], got 100000"),
        ("data__root", 2024,
         "data.root: must be the folder that contains train, val and test, got 2024 (write it in quotes)"),
        ("student__arch", 18, "student.arch: must be text, got 18 (write it in quotes)"),
        ("knowledge__teachers", ["x" * 200], f"knowledge.teachers: no entry teacher.{'x' * 97}..."),
        ("student__epochs", "x" * 500,
         f"student.epochs: must be a whole number in [1, inf), got '{'x' * 96}..."),
        ("y" * 500, 1, f"{'y' * 97}...: unknown"),
        ("student__curriculum", "true",
         "student.curriculum: must be true or false, got 'true' (write it without quotes)"),
        ("distributed__rendezvous", "localhost:65536",
         "distributed.rendezvous: the port must be at most 65535, got 65536"),
        ("device", "gpu", "device: must be auto, cpu or cuda, got 'gpu', did you mean cpu?"),
        ("student__lr", "0.1",
         "student.lr: must be a number in (0, 100], got '0.1' (write it without quotes)"),
        ("student__lr", float("nan"), "student.lr: must be a number in (0, 100], got nan"),
        ("processes", 0, "processes: must be a whole number in [1, 4096], got 0"),
        (
            "distributed__rendezvous",
            "here",
            "distributed.rendezvous: must be host:port of the first machine, got 'here'",
        ),
        ("student__epochs", -1, "student.epochs: must be a whole number in [1, inf), got -1"),
        ("student__batch_size", 1, "student.batch_size: must be a whole number in [2, inf), got 1"),
        ("student__curriculum", "yes", "student.curriculum: must be true or false, got 'yes'"),
        ("distill__temperature", 0, "distill.temperature: must be a number in [0.01, 1000], got 0"),
        ("weighting__ohm__hard_ratio", 7.0, "weighting.ohm.hard_ratio: must be a number in (0, 1], got 7.0"),
        ("images__height", [32], "images.height: must be a whole number in [8, 4096], got [32]"),
        ("images__height", 0, "images.height: must be a whole number in [8, 4096], got 0"),
        ("knowledge__teachers", "big", f"knowledge.teachers: {TEACHERS}, got 'big'"),
        ("student__arch", "resnet1888",
         "student.arch: unknown network 'resnet1888', did you mean resnet18, resnet152 or resnet101?"),
        ("student__arch", "nothing",
         "student.arch: unknown network 'nothing'"),
        ("teacher__big__optimizer", "adma",
         "teacher.big.optimizer: unknown optimizer 'adma', did you mean adamax, adan or adam?"),
        ("student__epochz", 3, "student.epochz: unknown, did you mean epochs?"),
        ("weighting__ohm__hardratio", 0.5, "weighting.ohm.hardratio: unknown, did you mean hard_ratio?"),
        ("teacher__b.g", {}, "teacher.b.g: unknown"),
        ("student__class_weights", "balancd",
         "student.class_weights: must be none, balanced, or a weight in [0, 1e6] per class, got 'balancd'"),
        ("student__class_weights", {3: -1},
         "student.class_weights: must be none, balanced, or a weight in [0, 1e6] per class, got {'3': -1}"),
        ("student__prior", {3: 1.0},
         "student.prior: must be none, uniform, or a probability in (0, 1) by class, got {'3': 1.0}"),
        ("weighting__weighted__costs", {3: {8: "x"}},
         "weighting.weighted.costs.3.8: must be a number in [0, 1000000], got 'x'"),
        ("weighting__weighted__costs", {3: {8: 1e308}},
         "weighting.weighted.costs.3.8: must be a number in [0, 1000000], got 1e+308"),
        ("student__class_weights", {3: 1e308},
         "student.class_weights: must be none, balanced, or a weight in [0, 1e6] per class, got "
         "{'3': 1e+308}"),
        ("weighting__threshold__high_of", {"a": 2},
         "weighting.threshold.high_of.a: must be a number in [0, 1], got 2"),
        ("weighting__ghm__bins", 0, "weighting.ghm.bins: must be a whole number in [1, 10000], got 0"),
        ("curriculum__order", "best", "curriculum.order: must be teacher, random or anti, got 'best'"),
        ("augment__policy", "randaug",
         "augment.policy: must be none, light, crop, custom, autoaugment, randaugment or trivialaugment, "
         "got 'randaug', did you mean randaugment?"),
        ("augment__mixup", -1, "augment.mixup: must be a number in [0, 100], got -1"),
        ("augment__train_scales", [],
         "augment.train_scales: must be a list of shares of the input size, each in (0, 1]; [1] = off, "
         "got []"),
        ("demo__imbalance", 0.5, "demo.imbalance: must be a number in [1, 1000], got 0.5"),
    ],
)  # fmt: skip
def test_invalid_values_are_refused(place, key, value, message):
    edit_params(place, **{key: value})
    assert catch_refusal(place) == f"params.yaml: {message}"


def test_a_missing_key_is_reported_with_its_meaning(place):
    text = (place / "params.yaml").read_text()
    (place / "params.yaml").write_text(
        "".join(line for line in text.splitlines(True) if not line.startswith("seed"))
    )
    meaning = "of the initial weights, the order of the pictures and their augmentation"
    assert catch_refusal(place) == f"params.yaml: seed: missing ({meaning})"


def test_all_problems_are_reported_at_once(place):
    edit_params(place, seed=-1, loss="x", student__lr=0)
    assert len(catch_refusal(place).splitlines()) == 3


CHANGED = "(a name with signs such as : * { belongs in quotes; git diff params.yaml shows what changed)"
ALIAS = "write its value out, or a name in quotes (-S changes all its places)"
IN_QUOTES = "(write it in quotes, in the file itself: -S drops them)"


@pytest.mark.parametrize(
    "content, message",
    [
        (b"a: [1\n", f"line 2, column 1: did not find expected ',' or ']' {CHANGED}"),
        (b"\ta: 1\n", "line 1, column 1: found character that cannot start any token (indent with spaces, "
         "not with tabs)"),
        (b"a: 1\n---\nb: 2\n", f"line 2, column 1: found another document {CHANGED}"),
        (b"a: 1\n\na: 2\n", "line 3: key a occurs twice, first in line 1 (remove one)"),
        (b"x: {1: 5, '1': 6}\n", "line 1: key 1 occurs twice, first in line 1 (remove one)"),
        (b"", "empty or not a mapping of keys (git checkout params.yaml restores it)"),
        (b"- 1\n", "empty or not a mapping of keys (git checkout params.yaml restores it)"),
        (b"[" * 100_000, "line 1: nested more than 20 levels deep (git diff shows what changed)"),
        (b"? [a]\n: 1\n", "line 1: a list or mapping as key (write its text in quotes)"),
        (b"a: &b {c: 1}\nd: *b\n", f"line 2: alias *b: {ALIAS}"),
        (b"a: &a [*a]\n", f"line 1: alias *a: {ALIAS}"),
        (b"a: !!int x\n", "line 1: tag tag:yaml.org,2002:int (remove it, or write a name in quotes)"),
        (b"a: 2024-99-99\n", "line 1: 2024-99-99 is read as a date, not as text (write it in quotes)"),
        (b"seed: " + b"9" * 5000, "line 1: a number of 5000 digits (at most 320)"),
        (b'a: "\\0"\n', 'line 1: "\\0" is in no name (remove it)'),
        (b"a: 1\r\n# Gr\xf6\xdfe\r\n", "line 2: byte 0xf6 is not UTF-8 (save the file as UTF-8)"),
        (b"a: 1\r# \xff", "line 2: byte 0xff is not UTF-8 (save the file as UTF-8)"),
        ("a: 1\n".encode("utf-16"), "line 1: UTF-16, not UTF-8 (save the file as UTF-8)"),
        ("a: 1\n".encode("utf-16-le"), "line 1: control character U+0000 (remove it)"),
        (b"a: 1\n# \x07\n", "line 2: control character U+0007 (remove it)"),
        (b"w: {12:30: 5}\n", f"line 1, column 7: found unexpected ':' {CHANGED}"),
        (b"w:\n  a: b: 5\n", f"line 2, column 7: mapping values are not allowed in this context {CHANGED}"),
        (b"w: {@at: 5}\n", f"line 1, column 5: found character that cannot start any token {CHANGED}"),
        (b"w:\n  *star: 5\n", f"line 2: alias *star: {ALIAS}"),
        (b"w: {!bang: 5}\n", "line 1: tag !bang: (remove it, or write a name in quotes)"),
        (b"w: {&and: 5}\n", f"line 1: key (empty) is read as nothing, not as text {IN_QUOTES}"),
        ("a: 1\nb: \x85c\nd: [\n".encode(), f"line 4, column 1: could not find expected ':' {CHANGED}"),
    ],
)  # fmt: skip
def test_a_broken_file_is_reported_in_one_line(place, content, message):
    (place / "params.yaml").write_bytes(content)
    assert catch_refusal(place) == f"params.yaml: {message}"


def test_a_byte_order_mark_and_line_ends_of_windows_are_read(place):
    before = read_params()
    content = (place / "params.yaml").read_bytes()
    (place / "params.yaml").write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"))
    assert read_params() == before


def test_an_alias_would_be_changed_in_all_places(place):
    """Why aliases are refused: DVC changes teacher one together with teacher two."""
    (place / "x.yaml").write_text("one: &a\n  augment:\n    flip: 0\ntwo:\n  <<: *a\n")
    apply_overrides(place / "x.yaml", ["two.augment.flip=1"])
    assert load_yaml("x.yaml")["one"] == {"augment": {"flip": 1}}


def test_no_mutation_of_the_file_gives_a_traceback(place):
    """Bytes changed, lines cut, doubled and swapped: it is read or refused in short lines."""
    content, generator = (place / "params.yaml").read_bytes(), random.Random(0)
    pieces = [
        b"\t",
        b"\x00",
        b"\xff",
        b"&a ",
        b"*a",
        b"!x ",
        b"- ",
        b": ",
        b"{",
        b"]",
        b"'",
        b'"',
        b"%",
        b"|\n",
        b"? ",
    ]
    refused = 0
    for _ in range(150):
        lines = content.splitlines(keepends=True)
        for _ in range(generator.randint(1, 3)):
            place_of_change = generator.randrange(len(lines))
            line = lines[place_of_change]
            cut = generator.randint(0, len(line))
            piece = generator.choice([*pieces, bytes([generator.randrange(256)]), generator.choice(lines)])
            lines[place_of_change] = line[:cut] + piece + line[cut + generator.randint(0, 3) :]
        try:
            parse(b"".join(lines), (place / "params.schema.json").read_bytes())
        except UserError as error:
            refused += 1
            assert all(
                line.startswith("params.yaml: ") and len(line) < 500 for line in str(error).splitlines()
            )
    assert refused > 50


def test_numbers_are_converted_to_the_declared_type(place):
    edit_params(place, student__epochs=13.0, student__lr=1)
    assert repr(read(int, "student.epochs")) == "13" and repr(read(float, "student.lr")) == "1.0"


def test_a_missing_file_is_reported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="params.yaml: not found"):
        read_params()


ODD = [
    None,
    True,
    0,
    -1,
    2,
    3.5,
    10**30,
    float("inf"),
    float("nan"),
    "",
    "a",
    "a\nb",
    "x" * 999,
    "none",
    [],
    [1],
]
ODD += [
    [None],
    [[]],
    {},
    {"a": 1},
    {"a": {"a": "x"}},
    {3: None},
    [0.0] * 999,
    "softmax+",
    "timm/",
    "~",
    "${x}",
]


def test_no_value_of_any_key_gives_a_traceback(place):
    """Values of other kinds, keys removed and added: the file is read or refused in short lines."""
    schema, generator, yaml = (place / "params.schema.json").read_bytes(), random.Random(0), YAML(typ="safe")
    for _ in range(30):
        params = load_yaml("params.yaml")
        section, change = params, generator.choice(["set", "set", "set", "remove", "add"])
        while change and isinstance(section, dict) and section:
            key = generator.choice(list(section))
            if not isinstance(section[key], dict) or generator.random() < 0.2:
                if change == "remove":
                    del section[key]
                else:
                    key = generator.choice(["x.y", "", " ", "student", "x" * 999]) if change == "add" else key
                    section[key] = copy.deepcopy(generator.choice(ODD))
                change = ""
            else:
                section = section[key]
        yaml.dump(params, place / "params.yaml")
        try:
            parse((place / "params.yaml").read_bytes(), schema)
        except UserError as error:
            assert all(
                line.startswith("params.yaml: ") and len(line) < 400 for line in str(error).splitlines()
            )
        shutil.copy(ROOT / "params.yaml", place)


# teachers: an entry overrides teacher_common


def read_teacher(name="big"):
    return read(TeacherSettings, f"teacher.{name}", over="teacher_common")


def test_an_entry_of_teacher_overrides_teacher_common(place):
    shared, before = load_yaml("params.yaml")["teacher_common"], read_teacher()
    assert before.clip == shared["clip"] and before.augment.rotate == shared["augment"]["rotate"]
    overrides = ["teacher.big.lr=0.5", "+teacher.big.clip=2", "+teacher.big.augment.rotate=3"]
    apply_overrides(place / "params.yaml", [*overrides, "teacher_common.augment.shift=0.7"])
    after = read_teacher()
    assert (after.lr, after.clip) == (0.5, 2.0)
    assert (after.augment.rotate, after.augment.shift) == (3.0, 0.7)
    assert after.augment.policy == before.augment.policy
    other = read_teacher("second")
    assert (other.clip, other.augment.rotate, other.augment.shift) == (0.0, before.augment.rotate, 0.7)


def test_a_mapping_by_class_in_an_entry_takes_the_place_of_the_shared_one(place):
    edit_params(place, teacher_common__class_weights={"3": 5.0}, teacher_common__prior={"3": 0.5})
    edit_params(place, teacher_common__weighting__weighted__costs={"3": {"8": 2.0}})
    edit_params(place, teacher__big__class_weights={"7": 2.0}, teacher__big__prior="uniform")
    edit_params(place, teacher__big__weighting={"weighted": {"costs": {}}})
    big, second = read_teacher(), read_teacher("second")
    assert (big.class_weights, big.prior, big.weighting.weighted.costs) == ({"7": 2.0}, "uniform", {})
    assert (second.class_weights, second.prior) == ({"3": 5.0}, {"3": 0.5})
    assert second.weighting.weighted.costs == {"3": {"8": 2.0}} and big.weighting.ohm == second.weighting.ohm


# rules across keys


def test_every_mapping_by_class_is_known_to_the_rules():
    """A new setting with values by class must be merged as a whole, and its classes checked."""
    schema = json.loads((ROOT / "params.schema.json").read_text())

    def find(node, name):
        by_class = isinstance(node.get("additionalProperties"), dict) or any(
            map(by_name, node.get("anyOf", []))
        )
        return ({name} if by_class else set()).union(
            *(find(n, k) for k, n in node.get("properties", {}).items())
        )

    def by_name(node):
        return isinstance(node.get("additionalProperties"), dict)

    assert find(schema, "") == BY_CLASS


@pytest.mark.parametrize(
    "changes, problems",
    [
        ({"student__epochs": 6}, ["student: warmup must be below epochs, got 6 and 6"]),
        ({"teacher__second__warmup": 30}, ["teacher.second: warmup must be below epochs, got 30 and 30"]),
        ({"teacher_common__swa": 3, "teacher__second__ema": 0.9},
         ["teacher.second: ema and swa: one of them must be 0, got 0.9 and 3"]),
        ({"augment__size_divisor": 5},
         ["augment: size_divisor must divide images.height and images.width, got 5 for 32 x 32"]),
        ({"augment__train_scales": [1.0, 0.2], "augment__size_divisor": 32, "augment__multi_scale": 0.3},
         ["augment: train_scales and multi_scale must not round 32 x 32 pixels to 0, got [1.0, 0.2], 0.3 and "
          "size_divisor 32"]),
        ({"teacher_common__augment__train_scales": [0.01]},
         [f"teacher.{name}.augment: train_scales and multi_scale must not round 32 x 32 pixels to 0, got "
          "[0.01], 0.0 and size_divisor 1" for name in ("big", "second")]),
        ({"student__epochs": 2, "student__warmup": 1, "augment__train_scales": [0.5, 0.75, 1.0]},
         ["augment: train_scales must be at most 2, one per epoch, got 3"]),
        ({"demo__train": 1500, "demo__val": 290},
         ["demo: train and val must leave at least 10 of the 1797 digits for test, got 1500 and 290"]),
        ({"data__min_side": 1e200},
         ["data: max_pixels must be at least min_side x min_side, inf, got 64000000"]),
        ({"data__min_side": 8001},
         ["data: max_pixels must be at least min_side x min_side, 64016001, got 64000000"]),
        ({"data__train": "/a", "data__val": "../b", "data__list": "c/../../d.csv"},
         ["data.train: must be inside data.root, relative to it, without .., got '/a'",
          "data.val: must be inside data.root, relative to it, without .., got '../b'",
          "data.list: must be inside data.root, relative to it, without .., got 'c/../../d.csv'",
          "data.list: with a list data.train, data.val and data.test must be . (DVC then watches the whole "
          "root), got /a, ../b, test"]),
        ({"data__train": "."},
         [f"data.{name}: must not be inside data.train, '.', got '{name}'" for name in ("val", "test")]),
        ({"data__split__val": 0.5, "data__split__test": 0.5, "data__split__group": "(a"},
         ["data.split: val and test must leave a share for train, got 0.5 and 0.5",
          "data.split.group: must be none, subfolder or a regular expression, got '(a': missing ), "
          "unterminated subpattern at position 0"]),
        ({"data__split__group": "a{99999999999}"},
         ["data.split.group: must be none, subfolder or a regular expression, got 'a{99999999999}': the "
          "repetition number is too large"]),
        ({"data__near_distance": 9, "data__split__val": 0},
         ["data.split.val: must be a number in (0, 1), got 0",
          "data.near_distance: must be none or a whole number in [0, 8], got 9"]),
        ({"curriculum__weights": [1.0]},
         ["curriculum: thresholds and weights must have the same length, got 4 and 1"]),
        ({"processes": 4, "distributed__nodes": 3},
         ["processes: must be a multiple of distributed.nodes, got 4 and 3",
          *(f"{key}.batch_size: must be a multiple of processes, 4, got 50 (it counts the pictures of all "
            "processes)" for key in ("teacher.big", "student"))]),
        ({"student__sync_batchnorm": True, "device": "cpu"},
         ["student.sync_batchnorm: true, but it runs on GPUs only, not on a CPU (set false)"]),
        ({"student__precision": "float16", "teacher_common__precision": "bfloat16", "device": "cpu"},
         ["teacher.big.precision: bfloat16, but on a CPU it takes AVX512-BF16 or AMX, and cpu_isa: auto (set "
          "float32)",
          "student.precision: float16, but it is for GPUs only, not for a CPU (set float32 or bfloat16)"]),
        ({"student__warmup": 99, "curriculum__weights": [0, 0, 0, 0], "seed": -1, "teacher__big__lr": 0},
         ["seed: must be a whole number in [0, 4294967295], got -1",
          "teacher.big.lr: must be a number in (0, 100], got 0",
          "curriculum: at least one weight must be positive, got [0, 0, 0, 0]",
          "student: warmup must be below epochs, got 99 and 20"]),
    ],
)  # fmt: skip
def test_rules_across_keys_are_checked_in_every_stage_all_at_once(place, changes, problems):
    edit_params(place, **changes)
    assert catch_refusal(place).splitlines() == [f"params.yaml: {problem}" for problem in problems]


CLASSES = {"cat": 30, "dog": 30, "1.10": 30}


@pytest.mark.parametrize(
    "changes, problems",
    [
        ({}, []),
        ({"student__class_weights": {"cta": 2.0}},
         ["student.class_weights.cta: no such class, did you mean cat?"]),
        ({"student__class_weights": {"1.1": 2.0}},
         ["student.class_weights.1.1: no such class, did you mean 1.10?"]),
        ({"student__class_weights": {"cat": 0.0, "dog": 0.0}}, []),  # 1.10 has 1
        ({"student__class_weights": dict.fromkeys(CLASSES, 0.0), "teacher__big__class_weights": {"cow": 0.0}},
         ["teacher.big.class_weights.cow: no such class (3 classes: cat, dog, 1.10)",
          "student.class_weights: every class with pictures has weight 0 (give one of them a positive "
          "weight)"]),
        ({"teacher_common__prior": {"x": 0.1}},
         ["teacher.big.prior.x: no such class (3 classes: cat, dog, 1.10)"]),
        ({"student__prior": {"cat": 0.5, "dog": 0.5}},
         ["student.prior: the probabilities must sum to less than 1, since other classes share the rest, got "
          "1"]),
        ({"student__prior": {"cat": 0.5, "dog": 0.5}, "loss": "bce"}, []),
        ({"weighting__weighted__costs": {"cat": {"x": 2.0}}}, []),  # has no effect: loss does not name it
        ({"weighting__weighted__costs": {"cat": {"x": 2.0}, "dog": {"dog": 2.0}}, "loss": "ohm+weighted"},
         ["weighting.weighted.costs.cat.x: no such class (3 classes: cat, dog, 1.10)",
          "weighting.weighted.costs.dog.dog: a class cannot be mistaken for itself (use class_weights to "
          "weight whole classes)"]),
        ({"teacher__big__loss": "threshold", "teacher_common__weighting__threshold__high_of": {"cow": 0.9}},
         ["teacher.big.weighting.threshold.high_of.cow: no such class (3 classes: cat, dog, 1.10)"]),
        ({"student__batch_size": 91},
         ["student.batch_size: must be at most 90, the number of training pictures, got 91"]),
        ({"student__pretrained": "none.pth", "teacher__second__pretrained": "no.pth"},  # the latter rests
         ["student.pretrained: none.pth: no such file (set none, default, lite0, lite1, lite2 or a path)"]),
        ({"student__arch": "timm/tf_efficientnet_lite1.in1k", "student__pretrained": "lite1"},
         ["student.pretrained: lite1: data/pretrained/tf_efficientnet_lite1.safetensors: no such file (make "
          "weights)"]),
        ({"student__arch": "resnet18", "student__pretrained": "lite0"},
         ["student.pretrained: lite0: data/pretrained/tf_efficientnet_lite0.safetensors: no such file (make "
          "weights)",
          "student.pretrained: lite0 is of timm/tf_efficientnet_lite0, not of resnet18 (set arch to it)"]),
        ({"student__pretrained": "data/models/teachers/big.safetensors"}, []),  # not yet written
        ({"student__fraction": 0.5, "teacher_common__accumulate": 2},
         ["teacher.big.batch_size times accumulate: must be at most 90, the number of training pictures, got "
          "50 x 2",
          "student.batch_size: must be at most 45, the number of training pictures, got 50"]),
    ],
)  # fmt: skip
def test_what_contradicts_classes_or_counts_is_refused_all_at_once(place, changes, problems):
    edit_params(place, **changes)
    if not problems:
        return check_pictures(CLASSES, trains=True)
    with pytest.raises(UserError) as error:
        check_pictures(CLASSES, trains=True)
    assert str(error.value).splitlines() == [f"params.yaml: {problem}" for problem in problems]


def test_a_class_without_pictures_has_no_weight(place):
    """All of them were refused, with data.on_bad skip."""
    edit_params(place, student__class_weights={"cat": 0.0})
    check_pictures({"cat": 30, "dog": 30}, trains=False)
    with pytest.raises(UserError, match="^params.yaml: student.class_weights: every class with pictures has"):
        check_pictures({"cat": 60, "dog": 0}, trains=False)


def test_a_class_in_another_unicode_form_is_explained(place):
    """macOS decomposes what a keyboard composes; both look the same."""
    edit_params(place, student__class_weights={"caf\u00e9": 2.0})
    with pytest.raises(UserError) as error:
        check_pictures({"cafe\u0301": 30, "cat": 30}, trains=False)
    assert str(error.value) == (
        "params.yaml: student.class_weights.caf\u00e9: no such class (the folder's name has the same letters "
        "in another Unicode form: copy it from there)"
    )


def test_a_list_of_many_classes_is_cut(place):
    edit_params(place, student__class_weights={"?": 2.0})
    with pytest.raises(UserError) as error:
        check_pictures({f"{number}{'x' * 200}": 9 for number in range(10_000)}, trains=False)
    assert "(10000 classes: 0xx" in str(error.value) and len(str(error.value)) < 250


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.34, 0.5, 1.0])
def test_the_counted_fraction_is_the_drawn_one(fraction):
    labels = np.repeat([0, 1, 2], [1, 7, 30])
    counted = [count_fraction(count, fraction) for count in (1, 7, 30)]
    assert np.bincount(labels[draw_fraction(labels, fraction, seed=1)]).tolist() == counted


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("teacher__big__clipp", 1.0, "teacher.big.clipp: unknown, did you mean clip?"),
        ("teacher__big__clip", -1.0, "teacher.big.clip: must be a number in [0, 1000000], got -1.0"),
        ("teacher__big__augment__rotat", 1, "teacher.big.augment.rotat: unknown, did you mean rotate?"),
        ("teacher_common__lr", 0.1, "teacher_common.lr: unknown"),  # each teacher has its own
    ],
)
def test_invalid_keys_of_teachers_are_refused(place, key, value, message):
    edit_params(place, **{key: value})
    assert catch_refusal(place).startswith(f"params.yaml: {message}")


def test_an_entry_of_teacher_needs_its_own_keys(place):
    text = (place / "params.yaml").read_text()
    (place / "params.yaml").write_text(text.replace("    lr: 0.003\n", "", 1))
    assert catch_refusal(place).startswith("params.yaml: teacher.big.lr: missing (peak learning rate")


@pytest.mark.parametrize(
    "interval, keywords",
    [
        ("[0, 1]", {"minimum": 0, "maximum": 1}),
        ("(0, 0.5)", {"exclusiveMinimum": 0, "exclusiveMaximum": 0.5}),
        ("[1, inf)", {"minimum": 1}),
    ],
)
def test_intervals_become_keywords_of_json_schema(interval, keywords):
    assert within(interval).keywords == keywords


def test_the_documented_word_copies_a_teacher_with_another_seed(place):
    """Its values are those of the entry after all overrides, and both are teachers of the student."""
    manual = (ROOT / "docs/strategies.md").read_text(encoding="utf-8")
    word = re.sub(r"\s+", " ", re.search("'([+]teacher.big2=.*?)'", manual, re.DOTALL)[1])
    with override_params([word, "teacher.big.lr=0.007", "knowledge.teachers=[big,big2]"]):
        one, other = (read(TeacherSettings, f"teacher.{name}", "teacher_common") for name in ("big", "big2"))
    assert other == dataclasses.replace(one, seed=12) and other.lr == 0.007
