"""params.yaml: read as DVC reads it and fully validated; every problem names key, value and rule."""

import json
from dataclasses import dataclass

import pytest
from conftest import ROOT, edit_params
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import load_yaml

from src.ground.errors import UserError
from src.ground.kinds import within
from src.ground.params import Settings, read, read_params, read_top, require
from src.training.settings import TeacherSettings

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
    from src.ground.params import parse

    (place / "x.yaml").write_text(f"a: {text}\n")
    assert parse(f"a: {text}\n", "{}") == load_yaml("x.yaml")


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
    """A comment on the line of a list's key makes DVC write a broken file for `-S key=[]`."""
    expected = load_yaml("params.yaml")
    section = expected
    for word in key.split(".")[:-1]:
        section = section[word]
    section[key.split(".")[-1]] = json.loads(value)
    apply_overrides(place / "params.yaml", [f"{key}={value}"])
    assert load_yaml("params.yaml") == expected


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("loss", "omh", f"loss: {LOSS}, got 'omh'"),
        ("loss", "softmax+bce", f"loss: {LOSS}, got 'softmax+bce'"),
        ("loss", "ohm+ohm", f"loss: {LOSS}, got 'ohm+ohm'"),
        ("seed", None, "seed: must be a whole number in [0, 4294967295], got None"),
        ("threads", 0, "threads: must be a whole number in [1, inf), got 0"),
        ("threads", True, "threads: must be a whole number in [1, inf), got True"),
        ("device", "gpu", "device: must be auto, cpu or cuda, got 'gpu', did you mean cpu?"),
        ("student__lr", "0.1", "student.lr: must be a number in (0, 100], got '0.1'"),
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
         "student.class_weights: must be none, balanced, or a non-negative weight per class, got 'balancd'"),
        ("student__class_weights", {3: -1},
         "student.class_weights: must be none, balanced, or a non-negative weight per class, got {'3': -1}"),
        ("student__prior", {3: 1.0},
         "student.prior: must be none, uniform, or a probability in (0, 1) by class, got {'3': 1.0}"),
        ("weighting__weighted__costs", {3: {8: "x"}},
         "weighting.weighted.costs.3.8: must be a number in [0, inf), got 'x'"),
        ("weighting__threshold__high_of", {"a": 2},
         "weighting.threshold.high_of.a: must be a number in [0, 1], got 2"),
        ("weighting__ghm__bins", 0, "weighting.ghm.bins: must be a whole number in [1, 10000], got 0"),
        ("curriculum__order", "best", "curriculum.order: must be teacher, random or anti, got 'best'"),
        ("augment__policy", "randaug",
         "augment.policy: must be none, light, crop, custom, autoaugment, randaugment or trivialaugment, "
         "got 'randaug', did you mean randaugment?"),
        ("augment__mixup", -1, "augment.mixup: must be a number in [0, 100], got -1"),
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


@pytest.mark.parametrize(
    "text, message",
    [
        ("a: [1\n", "line 2, column 1: did not find expected ',' or ']'"),
        ("\ta: 1\n", "line 1, column 1: found character that cannot start any token"),
        ("a: 1\na: 2\n", 'line 2, column 1: found duplicate key "a" with value "2" (original value: "1")'),
        ("", "empty or not a mapping of keys (git checkout params.yaml restores it)"),
        ("- 1\n", "empty or not a mapping of keys (git checkout params.yaml restores it)"),
    ],
)
def test_a_broken_file_is_reported(place, text, message):
    (place / "params.yaml").write_text(text)
    assert catch_refusal(place) == f"params.yaml: {message}"


@dataclass(frozen=True)
class Ohm:
    hard_ratio: float

    def __post_init__(self):
        require(self.hard_ratio < 0.5, "hard_ratio must be below 0.5", self.hard_ratio)


def test_a_rule_across_fields_names_its_section(place):
    with pytest.raises(
        UserError, match=r"^params.yaml: weighting.ohm: hard_ratio must be below 0.5, got 0.7$"
    ):
        read(Ohm, "weighting.ohm")


def test_numbers_are_converted_to_the_declared_type(place):
    edit_params(place, student__epochs=3.0, student__lr=1)
    assert repr(read(int, "student.epochs")) == "3" and repr(read(float, "student.lr")) == "1.0"


def test_a_missing_file_is_reported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="params.yaml: not found"):
        read_params()


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


@dataclass(frozen=True)
class Ordered(Settings):
    """A part of a part of the file."""

    train: int
    val: int
    seed: int
    imbalance: float
    label_noise: float

    def check(self):
        require(self.train < 10, "train must be below 10", self.train)


@dataclass(frozen=True)
class Top(Settings):
    """A part of the file's top level."""

    demo: Ordered


def test_a_rule_below_a_key_of_the_top_level_names_its_section(place):
    with pytest.raises(UserError, match=r"^params.yaml: demo: train must be below 10, got 300$"):
        read_top(Top)


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("teacher__big__clipp", 1.0, "teacher.big.clipp: unknown, did you mean clip?"),
        ("teacher__big__clip", -1.0, "teacher.big.clip: must be a number in [0, inf), got -1.0"),
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
