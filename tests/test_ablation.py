"""Ablation tables: invalid ones are refused before the first run; rows run once and are compared by seed."""

import fcntl
import hashlib
import itertools
import json
import math
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, Project, draw_tiny_images, edit_params
from dvc.utils.hydra import to_hydra_overrides
from PIL import Image
from scipy import integrate, stats

from src.ground.errors import UserError
from src.ground.params import flatten, read, read_params
from src.ground.weights import FETCHED
from src.losses.weightings import WeightingSettings
from src.training.settings import StudentSettings
from tools.ablation.__main__ import print_power
from tools.ablation.clone import (
    CLONE,
    IGNORED,
    check_committed,
    copy_ignored,
    hash_inputs,
    run_git,
    run_program,
)
from tools.ablation.overrides import override_params, set_text
from tools.ablation.paired import adjust_by_holm, compare_rows, estimate_mean, find_resolution
from tools.ablation.power import MOST, count_seeds, describe_power, find_effect, find_power
from tools.ablation.recorded import explain_inputs, explain_params, group_reasons, read_others
from tools.ablation.report import (
    draw_table,
    format_difference,
    format_table,
    read_lines,
    rewrite_reports,
    write_report,
)
from tools.ablation.runner import LOG, hold_log
from tools.ablation.tables import Row, Table, read_file, read_table, slugify
from tools.inputs import read_inputs

COMMITTED = sorted((ROOT / "metrics/ablation").glob("*.csv"))
TABLE = {
    "title": "Losses",
    "baseline": "plain",
    "seeds": [1, 2],
    "metrics": ["test.accuracy"],
    "rows": {"plain": [], "bce": ["loss=bce"], "harder": ["loss=bce", "distill.share=1"]},
}


@pytest.fixture
def tables(place):
    """A function that writes ablations.yaml, with one table and one dataset, into the working folder."""
    shutil.copy(ROOT / "ablations.schema.json", place)

    def write_file(data=None, **changes):
        file = {"data": {"own": {"set": []} | (data or {})}, "tables": {"losses": TABLE | changes}}
        (place / "ablations.yaml").write_text(yaml.safe_dump(file, sort_keys=False))

    write_file()
    return write_file


def test_a_row_has_the_overrides_of_its_dataset_its_table_and_its_own(tables):
    tables({"set": ["student.lr=0.1"], "seeds": [7]}, set=["student.lr=0.2", "loss=ohm"])
    table = read_table("losses", "own", ["student.clip=1"])
    overrides = ["student.lr=0.2", "loss=ohm", "student.clip=1"]
    assert [*table.rows[0].overrides.values()] == overrides
    assert [*table.rows[2].overrides.values()] == [
        "student.lr=0.2",
        "student.clip=1",
        "loss=bce",
        "distill.share=1",
    ]
    assert table.rows[1].params["loss"] == "bce" and table.rows[1].params["student.lr"] == 0.2
    names = [name for name, _, _ in table.list_experiments()]
    assert names == ["losses-own-plain-7", "losses-own-bce-7", "losses-own-harder-7"]


def test_a_row_that_changes_nothing_is_left_out(tables):
    tables(rows=TABLE["rows"] | {"-pretrained": ["student.pretrained=none"]})
    table = read_table("losses", "own", [])
    assert table.left_out == ("-pretrained",) and [row.label for row in table.rows] == [*TABLE["rows"]]
    table = read_table("losses", "own", ["student.pretrained=default"])
    assert table.left_out == () and table.rows[3].params["student.pretrained"] == "none"


def test_a_dataset_may_select_rows_and_a_table_may_have_several_baselines(tables):
    tables({"rows": {"losses": ["plain", "harder"]}})
    assert [row.label for row in read_table("losses", "own", []).rows] == ["plain", "harder"]
    tables(baseline=["plain", "bce"])
    assert [row.baseline for row in read_table("losses", "own", []).rows] == ["plain", "bce", "bce"]


def test_teachers_keep_their_seeds_or_follow_the_students(tables):
    own = {"seed": 9} | {f"teacher.{name}.seed": 9002 + i for i, name in enumerate(("big", "second"))}
    rows = {
        "plain": ["knowledge.teachers=[]"],
        "two": ["knowledge.teachers=[big,second]"],
        "other": ["teacher.big.seed=7"],
    }
    tables(rows=rows)
    table = read_table("losses", "own", [])
    assert [table.list_seeds(row, 9) for row in table.rows] == [{"seed": 9}] * 3
    tables(rows=rows, teacher_seeds="follow")
    following = read_table("losses", "own", [])
    assert [*following.list_experiments()] == [*table.list_experiments()]  # names and params of the rows
    plain, two, other = (following.list_seeds(row, 9) for row in following.rows)
    assert plain == {"seed": 9} and two == own and other == {"seed": 9, "teacher.big.seed": 9007}


def test_a_following_teacher_never_has_the_seed_of_another_ones_neighbour(tables):
    """Teachers of the seeds 2 and 3, which would share networks if each seed moved them by one."""
    tables(set=["knowledge.teachers=[big,second]"], teacher_seeds="follow")
    table = read_table("losses", "own", [])
    seeds = [table.list_seeds(table.rows[0], seed) for seed in range(10)]
    drawn = [value for one in seeds for key, value in one.items() if key != "seed"]
    assert len(set(drawn)) == len(drawn) == 20


def test_the_path_of_a_dataset_is_made_absolute(tables, place):
    (place / "pictures").mkdir()
    tables({"set": ["data.root=pictures"]})
    assert read_table("losses", "own", []).rows[0].overrides["data.root"] == f"data.root='{place}/pictures'"


PATHS = ["größe (2)", "a,b", "it's", "a=b", "back\\slash", "[x]", "007", "plain", "null"]


@pytest.mark.parametrize("name", PATHS)
def test_paths_of_any_characters_reach_the_experiments(tables, place, name):
    """A dataset's folder, which the user puts in quotes, and a pretrained file in it, both relative."""
    (place / name).mkdir()
    (place / name / "w.safetensors").write_bytes(b"some")
    edit_params(place, student__pretrained=f"{name}/w.safetensors")
    row = read_table("losses", "own", [f'data.root="{name}"']).rows[0]
    assert row.params["data.root"] == str(place / name)
    if "," not in name:  # as it arrives from make: the shell has taken the quotes
        assert read_table("losses", "own", [f"data.root={name}"]).rows[0].params == row.params
    assert row.params["student.pretrained"] == str(place / name / "w.safetensors")


@pytest.mark.parametrize("text", [*PATHS, "${a}", "ends\\", "\\'", "\\\\'\"", " ", "", "1.10"])
def test_hydra_reads_back_the_text_that_is_set(text):
    assert to_hydra_overrides([set_text("key", text)])[0].value() == text


def make_rows(*overrides):
    return {"rows": {"plain": [], "a": [*overrides]}}


@pytest.mark.parametrize(
    "changes, message",
    [
        (make_rows("student.arhc=resnet18"), ".rows.a: student.arhc: unknown, did you mean student.arch, "),
        (make_rows("+student.arhc=1"), ".rows.a: student.arhc: unknown, did you mean arch?"),
        (make_rows("student.lr=fast"), ".rows.a: student.lr: must be a number in (0, 100], got 'fast'"),
        (make_rows("loss=bce,ohm"), ".rows.a: loss=bce,ohm: several values"),
        (make_rows("loss=[bce"), ".rows.a: loss=[bce: not in the grammar"),
        (make_rows("loss=${a}"), ".rows.a: Interpolation key 'a' not found"),
        (make_rows("seed=3"), ".rows.a: seed: set by the table's seeds (remove it here)"),
        (make_rows("loss"), ".rows.a.0: must be KEY=VALUE or ~KEY, got 'loss'"),
        (
            {"rows": {"plain": [], "+a": ["loss=bce"], "with a": ["loss=ohm"]}},
            ".rows: +a and with a give experiments the same name",
        ),
        ({"baseline": "plian"}, ": baseline: no row 'plian', did you mean plain?"),
        (
            {"baseline": 3},
            ".baseline: must be the label of the row that the others are compared with",
        ),
        (
            {"baseline": []},
            ".baseline: must be the label of the row that the others are compared with",
        ),
        ({"baseline": "bce"}, ": the first row, 'plain', must be a baseline"),
        (
            {"rows": {"plain": [], "a\rb": []}},
            ".rows: a label must be one line with a letter or digit, got 'a",
        ),
        ({"rows": {"plain": [], "": []}}, ".rows: a label must be one line with a letter or digit, got ''"),
        ({"seeds": [1, 2, 1]}, ".seeds: must be a list of whole numbers, each once, got [1, 2, 1]"),
        ({"seeds": [1, -2]}, ".seeds.1: must be a whole number in [0, inf), got -2"),
        ({"metric": ["x"]}, ".metric: unknown, did you mean metrics?"),
        ({"teacher_seeds": "folow"}, ".teacher_seeds: must be "),
        (
            {"seeds": [2**32, 1]},
            ": seed of the row 'plain' would be 4294967296, at most 4294967295 is allowed",
        ),
        (
            {"teacher_seeds": "follow", "seeds": [4294968]},
            ": teacher.big.seed of the row 'plain' would be 4294968002, at most 4294967295 is allowed",
        ),
        ({"published": {"title": "x", "bec": 1.0}}, ": published: no row 'bec', did you mean bce?"),
        ({"data": {"set": ["data.root=nowhere"]}}, ".rows.plain: data.root: no folder /"),
    ],
)
def test_an_invalid_table_is_refused_with_its_key(tables, changes, message):
    tables(**changes)
    with pytest.raises(UserError, match="^" + re.escape(f"ablations.yaml: tables.losses{message}")):
        read_table("losses", "own", [])


def test_a_table_without_a_baseline_is_refused(tables, place):
    path = place / "ablations.yaml"
    path.write_text(path.read_text().replace("    baseline: plain\n", ""))
    with pytest.raises(
        UserError, match=r"^ablations.yaml: tables.losses.baseline: missing \(must be the label of"
    ):
        read_table("losses", "own", [])


BROKEN = [
    b"tables: [",
    b"tables: {}\ntables: {}\n",
    b"",
    b"- 1\n",
    b"# \xff",
    b"\xff\xfea",
    b"# \x07",
    b"[" * 99_999,
]


@pytest.mark.parametrize("content", [*BROKEN, b"a: &a [*a]\n", b"a: 2024-99-99\n", b"a: " + b"9" * 5000])
def test_a_broken_file_is_reported(tables, place, content):
    (place / "ablations.yaml").write_bytes(content)
    with pytest.raises(UserError, match="^ablations.yaml: "):
        read_table("losses", "own", [])


def test_a_duplicate_key_is_reported_with_its_line(tables, place):
    path = place / "ablations.yaml"
    path.write_text(path.read_text() + "  losses: {}\n")
    line = len(path.read_text().splitlines())
    with pytest.raises(UserError) as caught:
        read_table("losses", "own", [])
    assert str(caught.value) == (
        f"ablations.yaml: line {line}: key losses occurs twice, first in line 5 (remove one)"
    )


def test_keys_are_text_as_written(tables, place):
    path, labels = place / "ablations.yaml", ["plain", "3", "off", "1:10", "1e-5", "null", "1.10", "007"]
    rows = "".join(f"      {label}: []\n" for label in labels)
    path.write_text(re.sub(r"    rows:\n.*", f"    rows:\n{rows}", path.read_text(), flags=re.DOTALL))
    assert [*read_file()["tables"]["losses"]["rows"]] == labels


def test_params_are_restored_after_an_error(place):
    with pytest.raises(UserError, match="student.lr: must be a number"), override_params(["student.lr=-1"]):
        read(str, "loss")
    assert read(float, "student.lr") > 0


@pytest.mark.parametrize(
    "name, data, message",
    [
        ("loses", "own", "tables.loses: not found, did you mean losses?"),
        ("losses", "x", "data.x: not found (own)"),
    ],
)
def test_an_unknown_table_is_reported(tables, name, data, message):
    with pytest.raises(UserError, match=re.escape(message)):
        read_table(name, data, [])


@pytest.mark.parametrize("name", yaml.safe_load((ROOT / "ablations.yaml").read_text())["tables"])
def test_the_shipped_tables_are_valid(name, monkeypatch):
    def check_sections():
        read(StudentSettings, "student"), read(WeightingSettings, "weighting")
        return read_params()

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("tools.ablation.overrides.read_params", check_sections)
    table = read_table(name, "demo", [])
    assert len(table.rows) >= 5 and len(table.seeds) == 5
    for row in table.rows:
        losses = [override for override in row.own if override.startswith("loss=")]
        assert losses in ([], [f"loss={row.params['loss']}"])


@pytest.mark.parametrize("data", ["own", "fashion-mnist", "clothing", "elpv"])
@pytest.mark.slow
def test_the_shipped_datasets_are_valid(data, monkeypatch, tmp_path):
    """Their overrides are keys of params.yaml; their pictures need not be there."""
    monkeypatch.chdir(ROOT)
    for name in ("distillation", "augmentation"):
        table = read_table(name, data, [f"data.root={tmp_path}"])
        assert len(table.rows) >= 3
        assert all(row.params["data.root"] == str(tmp_path) for row in table.rows)


def test_the_uneven_classes_of_elpv_are_compared_without_the_digits_costs(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    table = read_table("imbalance", "elpv", [f"data.root={tmp_path}"])
    labels = ["plain", "softmax + ohm", "balanced class weights", "mixup", "distilled"]
    assert [row.label for row in table.rows] == labels and table.left_out == () and table.seeds == (1, 2, 3)
    for row in table.rows:
        assert row.params["student.pretrained"] == row.params["teacher.big.pretrained"] == "lite0"
        assert row.params["student.arch"] == row.params["teacher.big.arch"] == FETCHED["lite0"].arch
        assert not any(key.startswith("weighting.weighted.costs.") for key in row.params)


@pytest.mark.slow
def test_costs_of_a_row_replace_those_of_its_dataset(monkeypatch):
    monkeypatch.chdir(ROOT)
    row = next(row for row in read_table("imbalance", "demo", []).rows if row.label == "rare digits cost 3")
    costs = {key: value for key, value in row.params.items() if key.startswith("weighting.weighted.costs.")}
    assert len(costs) == 18 and set(costs.values()) == {3}
    assert {key.split(".")[3] for key in costs} == {"8", "9"}


@pytest.mark.parametrize(
    "label, name",
    [
        ("+multi-scale", "with-multi-scale"),
        ("-aug", "without-aug"),
        ("Share 0.3", "share-0.3"),
        ("Größe a_b", "größe-a-b"),
        ("猫|$5_$10..lock~^:", "猫-5-10.lock"),
    ],
)
def test_labels_become_slugs(label, name):
    assert slugify(label) == name


def test_the_interval_by_hand():
    """Differences 1, 2, 3: mean 2, sd 1, t(0.975, 2) = 4.302653."""
    mean, low, high, _ = estimate_mean(np.array([1.0, 2.0, 3.0]))
    assert mean == 2 and high - 2 == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert low + high == pytest.approx(4)
    assert estimate_mean(np.array([0.5]))[0] == 0.5 and math.isnan(estimate_mean(np.array([0.5]))[1])
    assert estimate_mean(np.array([0.9 - 0.8, 0.7 - 0.6]))[:3] == (0.1, 0.1, 0.1)  # equal but for rounding
    assert math.isnan(estimate_mean(np.array([0.0, 0.0])).p)


def test_p_is_that_of_the_paired_t_test():
    """R: t.test(extra ~ group, data = sleep, paired = TRUE), Student's data of 1908: p-value 0.002833."""
    more_sleep = np.array([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])
    mean, low, high, p = estimate_mean(more_sleep)
    assert (mean, low, high) == pytest.approx((1.58, 0.7001142, 2.4598858), abs=1e-7)
    assert p == pytest.approx(0.002833, abs=5e-7)


@pytest.mark.parametrize("resolution", [0.0, 0.5])
def test_p_is_below_5_percent_where_the_interval_excludes_0(resolution):
    samples = np.random.default_rng(1).normal(1.0, 1.0, (200, 4))
    estimates = [estimate_mean(sample, resolution) for sample in samples]
    excluded = [not one.low <= 0 <= one.high for one in estimates]
    assert excluded == [one.p < 0.05 for one in estimates] and 20 < sum(excluded) < 180
    wide = [estimate_mean(sample, 2 * resolution + 0.1).p for sample in samples]
    assert all(p > one.p for p, one in zip(wide, estimates, strict=True))


HOLM = [  # p and what R's multtest gives (tests of statsmodels), pingouin's manual, and stdlib's
    (
        [0.838541367553, 0.642193923795, 0.680845947633, 0.967833824309, 0.71626938238, 0.177096952723,
         5.23656777208e-05, 0.0202732688798, 0.00028140506198, 0.0149877310796],
        [1, 1, 1, 1, 1, 1, 5.23656777208e-04, 0.14191288215860, 0.00253264555782, 0.11990184863680],
    ),
    ([0.5, 0.003, 0.32, 0.054, 0.0003], [0.64, 0.012, 0.64, 0.162, 0.0015]),
    ([0.319, 0.201, 0.4, 0.374, 0.113], [0.957, 0.804, 0.957, 0.957, 0.565]),
]  # fmt: skip


@pytest.mark.parametrize("p, adjusted", HOLM)
def test_p_is_adjusted_as_elsewhere(p, adjusted):
    assert adjust_by_holm(pd.Series(p)).tolist() == pytest.approx(adjusted, rel=1e-9)
    missing = adjust_by_holm(pd.Series([math.nan, *p]))  # a baseline or a row that failed
    assert missing[1:].tolist() == pytest.approx(adjusted, rel=1e-9) and math.isnan(missing[0])


def test_one_table_in_twenty_has_a_bold_row_if_none_has_an_effect():
    """400 tables of five rows without an effect; 0.036 is 3.3 standard errors of the share."""
    draws = np.random.default_rng(0).normal(size=(400, 6, 5))
    p = [[estimate_mean(row - table[0]).p for row in table[1:]] for table in draws]
    assert np.mean([min(table) < 0.05 for table in p]) > 0.12  # at least one row of a table
    assert np.mean([adjust_by_holm(pd.Series(table)).min() < 0.05 for table in p]) < 0.05 + 0.036


@pytest.mark.parametrize(
    "effect, n, level, power",
    [
        (1.0, 30, 0.05, 0.9995636009612725),  # R's pwr.t.test, from the tests of statsmodels
        (0.2, 20, 0.05, 0.1359562887679666),
        (1.6819970833232674, 5, 0.05, 0.8),  # solved by TTestPower of statsmodels 0.15.0
        (2.6289740837721873, 5, 0.01, 0.8),
        (0.8384472461638419, 20, 0.01, 0.8),
    ],
)
def test_the_power_is_that_of_other_programs(effect, n, level, power):
    assert find_power(effect, n, level) == pytest.approx(power, abs=3e-6)  # their solver's tolerance
    if power == 0.8:
        assert find_effect(n, level) == pytest.approx(effect, abs=3e-6)


@pytest.mark.parametrize(
    "effect, level, seeds",  # TTestPower: 33.4, 198.2, 14.3, 133.1 and 5.2
    [(0.5, 0.05, 34), (0.2, 0.05, 199), (0.8, 0.05, 15), (0.3, 0.01, 134), (2.5, 0.01, 6)],
)
def test_seeds_are_counted_as_by_other_programs(effect, level, seeds):
    assert count_seeds(effect, level) == seeds


def test_the_power_of_few_seeds_and_of_many_is_found():
    """Of three by its integral over the variance, where statsmodels' solver meets a NaN and stops at .786."""
    effect, critical = find_effect(3, 0.025), stats.t.isf(0.0125, 2)
    integral = integrate.quad(
        lambda v: stats.chi2.pdf(v, 2) * stats.norm.sf(critical * math.sqrt(v / 2) - effect * 3**0.5), 0, 60
    )
    assert integral[0] == pytest.approx(0.8, abs=1e-6)
    assert find_power(find_effect(2, 0.05 / 30), 2, 0.05 / 30) == pytest.approx(0.8)
    assert find_power(0.1, 5000, 0.01) > 0.9999 and count_seeds(0.0, 0.05) == MOST + 1


def test_what_the_seeds_would_show_is_told():
    """Differences .1, .11, .1 and .1, -.1, 0: sd .005774 and .1; the level is .05 / 2."""
    small, large = np.std([0.1, 0.11, 0.1], ddof=1), 0.1
    first, family, each = describe_power(compare_rows(make_table(), RECORDS), 3)
    assert first == (
        "m: the smallest difference that would be seen four times out of five: "
        + ", ".join(f"{n} seeds {find_effect(n, 0.025) * (small + large) / 2:.4f}" for n in (3, 6, 12, 24))
    )
    assert family.endswith("adjustment for 2 rows; median sd of the paired differences 0.0529)")
    assert each.endswith(": better 3, same over 1,000")
    assert describe_power(compare_rows(make_table(seeds=(1,)), RECORDS), 1) == []


def test_equal_differences_of_one_picture_are_not_certain():
    """Two differences of 1 / 1197: t(0.975, 1) = 12.7062, so 12.7062 * sqrt(1 / 6 / 2) = 3.668 pictures."""
    mean, low, high, _ = estimate_mean(np.array([1.0, 1.0]) / 1197, 1 / 1197)
    assert mean * 1197 == pytest.approx(1)
    assert (high - mean) * 1197 == pytest.approx(3.66796, rel=1e-5) and low < 0
    assert estimate_mean(np.array([1.0, 2.0, 3.0]), 0.1)[2] - 2 == pytest.approx(
        4.302653 * math.sqrt((1 + 0.01 / 6) / 3), rel=1e-6
    )


def cover_counts(pairs, better, worse, resolution):
    """The exact share of intervals that hold the true mean, of pairs that differ in at most one picture.

    Each network gets that picture right with its own probability.
    """
    shares = {1: better * (1 - worse), -1: worse * (1 - better)}
    shares[0] = 1 - sum(shares.values())
    share = 0.0
    for one, other in itertools.product(range(pairs + 1), repeat=2):
        if (same := pairs - one - other) >= 0:
            _, low, high, _ = estimate_mean(np.repeat([1.0, -1.0, 0.0], [one, other, same]), resolution)
            ways = math.comb(pairs, one) * math.comb(pairs - one, other)
            inside = low - 1e-9 <= better - worse <= high + 1e-9
            share += inside * ways * shares[1] ** one * shares[-1] ** other * shares[0] ** same
    return share


@pytest.mark.parametrize("pairs", [2, 3, 5, 10])
def test_the_interval_covers_differences_of_single_pictures(pairs):
    chances = [(a, b) for a in np.linspace(0.05, 1, 20) for b in (0.0, 0.1, 0.25, 0.5) if a >= b]
    assert min(cover_counts(pairs, a, b, 1.0) for a, b in chances) > 0.94
    assert min(cover_counts(pairs, a, b, 0.0) for a, b in chances) < 0.45  # Student's interval alone


@pytest.mark.parametrize(
    "metric, resolution",
    [
        ("test.accuracy", 1 / 1197),
        ("test.macro_f1", 1 / 1197),
        ("test.teacher.big.top5", 1 / 1197),
        ("student.val.accuracy", 1 / 300),
        ("test.log_loss", 0),
        ("student.parameters", 0),
    ],
)
def test_the_resolution_is_one_picture_of_the_metrics_split(metric, resolution):
    counts = json.loads((ROOT / "metrics/data.json").read_text())
    assert find_resolution(metric, dict(flatten(counts))) == pytest.approx(resolution)


def test_the_interval_covers_the_true_mean_19_times_out_of_20():
    """1,000 samples of five from a normal distribution; 0.023 is 3.3 standard errors of the share."""
    samples = np.random.default_rng(0).normal(0.3, 1.0, (1000, 5))
    inside = [low <= 0.3 <= high for _, low, high, _ in map(estimate_mean, samples)]
    assert abs(np.mean(inside) - 0.95) < 0.023


def make_table(**changes):
    rows = [Row(label, "plain", (), {}, {}, math.nan) for label in ("plain", "better", "same")]
    values = dict(
        name="t", data="d", title="T", rows=(*rows,), left_out=(), seeds=(1, 2, 3), metrics=("m",),
        published_title="", teacher_seeds="fixed",
    )  # fmt: skip
    return Table(**values | changes)


VALUES = {"plain": (0.5, 0.7, 0.6), "better": (0.6, 0.81, 0.7), "same": (0.6, 0.6, 0.6)}
RECORDS = {
    f"t-d-{label}-{seed}": {"m": value, "student.parameters": 10}
    for label, values in VALUES.items()
    for seed, value in zip((1, 2, 3), values, strict=True)
}


def test_differences_are_paired_by_seed():
    lines = compare_rows(make_table(), RECORDS).set_index("row")
    assert lines["mean"].tolist() == pytest.approx([0.6, 0.7033333, 0.6])
    assert lines.loc["plain", "sd"] == pytest.approx(0.1)
    assert lines.loc["better", "difference"] == pytest.approx(0.1033333)
    assert lines.loc["better", "low"] > 0 > lines.loc["same", "low"]  # though plain itself varies as much
    lame = {name: value for name, value in RECORDS.items() if name not in ("t-d-plain-1", "t-d-better-2")}
    better = compare_rows(make_table(), lame).set_index("row").loc["better"]
    assert (better["n"], better["pairs"], better["seeds"]) == (2, 1, "1 3")
    assert better["difference"] == pytest.approx(0.1) and math.isnan(better["low"])
    none = compare_rows(make_table(), {}).set_index("row").loc["same"]
    assert none["n"] == 0 and math.isnan(none["mean"]) and math.isnan(none["difference"])


def test_resolution_and_pairs_stand_in_the_table():
    counted = {name: {"test.accuracy": values["m"], "data.test": 50} for name, values in RECORDS.items()}
    del counted["t-d-plain-1"]
    lines = compare_rows(make_table(metrics=("test.accuracy",)), counted)
    assert lines["resolution"].tolist() == [0.02] * 3
    text = format_table(lines)
    assert "| test.accuracy, mean ± sd | difference (95 % interval; one picture is 0.02) | p " in text
    same = (
        "| same | - | 3 | 0.6000 ± 0.0000 | -0.0500 (-0.6895 to +0.5895, 2 pairs), no difference seen "
        "| 0.5021 (0.5021) | - |"
    )
    assert same in text  # 12.7062 sqrt((0.005 + 0.02^2 / 6) / 2) = 0.6395
    same = {name: values | {"m": 0.9 if "better" in name else 0.8} for name, values in RECORDS.items()}
    assert "| +0.1000 (3 equal pairs) | - |" in format_table(compare_rows(make_table(), same))


def test_only_clear_differences_are_bold():
    text = format_table(compare_rows(make_table(published_title="elsewhere"), RECORDS))
    plain, better, same = text.splitlines()[2:5]
    assert "| 0.6000 ± 0.1000 | baseline | - | 10 | - |" in plain
    assert "| **+0.1033** (" in better and "no difference" not in better
    assert better.endswith("| 0.0010 (0.0021) | 10 | - |")  # t = .103333 / .003333 = 31, p = .00103896
    assert "**" not in same and same.endswith("), no difference seen | 1.0000 (1.0000) | 10 | - |")
    one = compare_rows(make_table(seeds=(1,)), RECORDS).set_index("row", drop=False)
    assert format_difference(one.loc["better"]) == "+0.1000 (one pair)" and "| 0.6000 |" in format_table(one)


def test_a_difference_is_bold_by_the_adjusted_p():
    """Differences of about 1 and sd 1, in five rows whose interval just excludes 0: p .04, Holm's .2."""
    labels = ("plain", *"abcde")
    rows = tuple(Row(label, "plain", (), {}, {}, math.nan) for label in labels)
    differences = [0.0, 0.01, 0.02, 0.03, 0.04]
    records = {
        f"t-d-{label}-{seed}": {"m": 0.5 + (0 if label == "plain" else value)}
        for label in labels
        for seed, value in enumerate(differences, start=1)
    }
    lines = compare_rows(make_table(rows=rows, seeds=(1, 2, 3, 4, 5)), records)
    assert (lines["low"][1:] > 0).all() and lines["p"][1:].tolist() == pytest.approx(
        [0.0474207] * 5, abs=1e-6
    )
    assert lines["p_holm"][1:].tolist() == pytest.approx([5 * 0.0474207] * 5, abs=5e-6)
    assert "**" not in format_table(lines) and format_table(lines).count("no difference seen") == 5
    alone = format_table(compare_rows(make_table(rows=rows[:2], seeds=(1, 2, 3, 4, 5)), records))
    assert "| **+0.0200** (" in alone and "| 0.0474 (0.0474) |" in alone


def test_a_table_says_what_its_numbers_speak_of():
    fixed = format_table(compare_rows(make_table(), RECORDS)).splitlines()
    assert fixed[-2].startswith("Bold: p below 0.05 after Holm's adjustment for all rows")
    assert fixed[-1].startswith("Teachers, splits and test pictures are fixed: ")
    follow = format_table(compare_rows(make_table(teacher_seeds="follow"), RECORDS)).splitlines()
    assert follow[-1].endswith("this speaks of the seeds of student and teachers alone.")


def test_a_table_survives_a_round_trip(place):
    rows = tuple(Row(label, "none", (), {}, {}, 89.2) for label in ("none", "better"))
    records = {name.replace("plain", "none"): values for name, values in RECORDS.items()}
    paths = write_report("t-d", compare_rows(make_table(rows=rows), records))
    assert [str(path) for path in paths] == [
        "metrics/ablation/t-d.csv", "metrics/ablation/t-d.md", "plots/ablation/t-d.png",
    ]  # fmt: skip
    lines = read_lines(paths[0])
    assert lines["row"].tolist() == ["none", "better"] and lines["published"].tolist() == [89.2, 89.2]
    assert format_table(lines) == paths[1].read_text()
    left, right = draw_table(lines, "t-d").axes
    assert [len(line.get_xdata()) for line in left.lines] == [3, 1, 3, 1]
    assert len(right.containers) == 1  # none for the baseline
    assert paths[2].read_bytes().startswith(b"\x89PNG")
    written = [path.read_bytes() for path in paths]
    rewrite_reports()
    assert [path.read_bytes() for path in paths] == written


def test_statistics_are_computed_anew_from_the_values_per_seed(place):
    """As for a table from before p: its own columns are not looked at."""
    table = make_table(metrics=("test.accuracy",))
    counted = {name: {"test.accuracy": values["m"], "data.test": 1197} for name, values in RECORDS.items()}
    csv, markdown, _ = write_report("t-d", compare_rows(table, counted))
    whole, text = csv.read_bytes(), markdown.read_text()
    old = read_lines(csv).drop(columns=["p", "p_holm", "teacher_seeds"]).assign(mean=0.0, low=0.0, pairs=9)
    old.to_csv(csv, index=False)
    rewrite_reports()
    assert csv.read_bytes() == whole and markdown.read_text() == text


def test_the_power_is_told_from_what_is_recorded_or_else_from_the_last_table(place, capsys):
    table = make_table()
    print_power(table, {})
    assert capsys.readouterr().out == ""
    write_report("t-d", compare_rows(table, RECORDS))
    print_power(table, {})
    last = capsys.readouterr().out
    assert last.splitlines() == describe_power(read_lines(Path("metrics/ablation/t-d.csv")), 3)
    two = {name: metrics for name, metrics in RECORDS.items() if not name.endswith("-3")}
    print_power(table, two)
    assert capsys.readouterr().out.splitlines() == describe_power(compare_rows(table, two), 3)


@pytest.mark.parametrize("label", ["$5_$10", "猫", "a|b", r"\frac{", "a" * 300, '"quoted", and'])
def test_labels_of_any_letters_are_written_and_drawn(place, label):
    rows = tuple(Row(name, label, (), {}, {}, math.nan) for name in (label, "$x^$"))
    table = make_table(rows=rows, title="$\\frac$ $", published_title="two\nlines | $")
    named = zip(table.list_experiments(), (0.5, 0.6, 0.7, 0.9, 0.8, 0.8), strict=True)
    paths = write_report("t-d", compare_rows(table, {name: {"m": value} for (name, _, _), value in named}))
    lines = read_lines(paths[0])
    assert lines["row"].tolist() == [label, "$x^$"] and lines["n"].tolist() == [3, 3]
    assert paths[2].read_bytes().startswith(b"\x89PNG")
    cells = {len(re.split(r"(?<!\\)\|", line)) for line in paths[1].read_text().splitlines()}
    assert cells == {
        10,
        1,
    }  # of the table and of the notes below; a bar within a label does not end a cell


@pytest.mark.parametrize("name", ["a b", "a/b", "..", "a..b", "", "猫"])
def test_a_table_whose_name_is_no_file_name_is_refused(tables, place, name):
    path = place / "ablations.yaml"
    path.write_text(path.read_text().replace("  losses:", f"  {name!r}:"))
    with pytest.raises(UserError, match=r"^ablations.yaml: tables: a name must be of letters, digits, "):
        read_table(name, "own", [])


def test_a_table_of_one_seed_and_numeric_labels_survives_a_round_trip(place):
    rows = tuple(Row(label, "1", (), {}, {}, math.nan) for label in ("1", "2"))
    table = make_table(rows=rows, seeds=(1,))
    paths = write_report("t-d", compare_rows(table, {"t-d-1-1": {"m": 0.5}, "t-d-2-1": {"m": 0.75}}))
    lines = read_lines(paths[0])
    assert lines["row"].tolist() == ["1", "2"] and lines["values"].tolist() == ["0.500000", "0.750000"]
    assert "+0.2500 (one pair)" in paths[1].read_text() and paths[2].exists()


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_tables_agree_with_their_values(path):
    """Means, intervals and p follow from the values per seed, and the markdown from the CSV."""
    lines = read_lines(path)
    assert format_table(lines) == path.with_suffix(".md").read_text()
    for _, metric in lines.groupby("metric"):
        assert metric["p_holm"].tolist() == pytest.approx(
            adjust_by_holm(metric["p"]).tolist(), abs=2e-5, nan_ok=True
        )
        reached = {
            line["row"]: pd.Series([*map(float, line["values"].split())], line["seeds"].split())
            for _, line in metric.iterrows()
        }
        for _, line in metric.iterrows():
            own = reached[line["row"]]
            assert line["mean"] == pytest.approx(own.mean(), abs=1e-6)
            if line["row"] != line["baseline"]:
                differences = (own - reached[line["baseline"]]).dropna().to_numpy()
                expected = estimate_mean(differences, line["resolution"])
                assert line[["difference", "low", "high", "p"]].tolist() == pytest.approx(expected, abs=3e-6)


def test_a_pretrained_file_is_pinned_by_its_hash(tables, place):
    weights = place / "weights.safetensors"
    weights.write_bytes(b"some")
    some = hashlib.sha256(b"some").hexdigest()
    tables(set=["student.pretrained=weights.safetensors", f"teacher.big.pretrained={weights}"])
    params = read_table("losses", "own", []).rows[1].params
    assert params["student.pretrained"] == params["teacher.big.pretrained"] == str(weights)
    assert params["student.pretrained_sha256"] == params["teacher.big.pretrained_sha256"] == some
    assert "teacher.second.pretrained_sha256" not in params
    pinned = read_table("losses", "own", ["student.pretrained_sha256=" + "0" * 64]).rows[0]
    assert pinned.params["student.pretrained_sha256"] == "0" * 64
    assert "pretrained_sha256" not in " ".join(pinned.own)


def test_weights_that_make_weights_wrote_keep_their_name(tables, place):
    """It stands for one hash; the clone has the file too."""
    (place / "lite0").write_bytes(b"a file of this name is not meant")
    tables(set=["student.pretrained=lite0"])
    params = read_table("losses", "own", []).rows[0].params
    assert params["student.pretrained"] == "lite0" and params["student.pretrained_sha256"] == "any"
    assert IGNORED == ("data/external", "data/pretrained")


def test_weights_that_the_experiment_itself_trains_are_not_pinned(tables, place):
    """Pinned, a student that starts from its teacher would start from the workspace's one at every seed."""
    weights = "data/models/teachers/big.safetensors"
    (place / weights).parent.mkdir(parents=True)
    (place / weights).write_bytes(b"the teacher of another seed")
    tables(set=[f"student.pretrained={weights}"])
    params = read_table("losses", "own", []).rows[0].params
    assert params["student.pretrained"] == weights and params["student.pretrained_sha256"] == "any"


LOCK = {
    "make_demo": {"deps": ["src/demo.py"], "outs": ["data/demo"]},
    "check_images": {
        "deps": ["data/demo/train", "src/check.py"],
        "outs": ["data/train.csv", "data/models/c"],
    },
    "train_teacher@big": {"deps": ["data/train.csv", "src/big.py"], "outs": ["data/models/big"]},
    "train_teacher@gone": {"deps": ["data/train.csv", "src/gone.py"], "outs": ["data/models/gone"]},
    "train_student": {"deps": ["data/external", "/pictures/a"], "outs": ["data/student"]},
    "evaluate": {"deps": ["data/student", "data/models"], "outs": ["metrics/test.json"]},
    "export_jit": {"deps": ["data/student", "src/export.py"], "outs": ["data/export"]},
}


def test_the_inputs_of_a_run_are_what_no_stage_wrote(place):
    """Not those of a stage after evaluate, nor of a teacher that is not listed."""
    stages = {
        name: {
            kind: [{"path": path, "hash": "md5", "md5": f"{path} 1"} for path in paths]
            for kind, paths in stage.items()
        }
        for name, stage in LOCK.items()
    }
    (place / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    commit_all(place)
    inputs = read_inputs("HEAD", ["big"])
    assert [*inputs] == ["/pictures/a", "data/external", "src/big.py", "src/check.py", "src/demo.py"]
    assert inputs["/pictures/a"] == "/pictures/a 1"
    assert read_inputs("nowhere", []) == {}


def test_the_inputs_are_found_where_the_project_is_a_folder_of_a_repository(place, monkeypatch):
    (place / "project").mkdir()
    stage = {"deps": [{"path": "src/a.py", "hash": "md5", "md5": "1"}]}
    (place / "project/dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"evaluate": stage}}))
    commit_all(place)
    monkeypatch.chdir(place / "project")
    assert read_inputs("HEAD", []) == {"src/a.py": "1"}


def test_params_of_other_files_are_compared_with_those_files(place):
    (place / "libraries.yaml").write_text('torch: "2.1"\nsets:\n  numpy: "2.4"\nunused: "1"\n')
    then = {"loss": "ohm", "libraries.yaml:torch": "2.0", "libraries.yaml:sets.numpy": "2.4"}
    assert read_others(then) == {"libraries.yaml:torch": "2.1", "libraries.yaml:sets.numpy": "2.4"}
    reason = explain_params(then, {"loss": "ohm"} | read_others(then))
    assert reason == "libraries.yaml:torch was 2.0, is 2.1"
    assert read_others({"loss": "ohm"}) == read_others({"gone.yaml:x": 1}) == {}


def test_the_reason_why_a_run_does_not_count():
    assert explain_params({"a": 1, "b": 2}, {"a": 1, "b": 3}) == "b was 2, is 3"
    assert explain_params({"a": 1}, {"a": 1.0, "c": 0}) == "c was not set, is 0"
    assert explain_params({"a": 1}, {"a": 1.0}) == explain_inputs({"x": "1"}, {"x": "1"}) == ""
    assert explain_inputs({"x": "1", "y": "2"}, {"x": "1", "y": "3"}) == "y has changed since"
    assert explain_inputs({"x": "1"}, {"x": None}) == "x is gone"
    assert explain_inputs({}, {}) == "its dvc.lock has no inputs"
    assert group_reasons(dict.fromkeys("abcde", "x is gone") | {"f": "g was 1, is 2"}) == [
        "recorded, but not counted: a, b, c and 2 more: x is gone",
        "recorded, but not counted: f: g was 1, is 2",
    ]


def test_the_clone_has_the_files_that_git_ignores(place):
    external = place / "data/external"
    external.mkdir(parents=True)
    (external / "README.md").write_text("tracked")
    (external / ".gitignore").write_text("*.txt\n")
    commit_all(place)
    run_git("clone", "--quiet", ".", str(CLONE))
    (CLONE / "data/external/distill_old.txt").write_text("old")
    (external / "distill_new.txt").write_text("new")
    old = place / "in the cache of dvc.txt"
    old.write_text("unchanged")
    (CLONE / "data/external/distill_new.txt").symlink_to(old)  # as with cache.type: symlink
    copy_ignored("data/external", Path(), CLONE)
    assert old.read_text() == "unchanged"
    copied = {path.name: path.read_text() for path in (CLONE / "data/external").iterdir()}
    assert copied == {".gitignore": "*.txt\n", "README.md": "tracked", "distill_new.txt": "new"}


def test_knowledge_that_git_does_not_track_is_refused_by_name(place):
    commit_all(place)
    path = place / "data/external/distill größe.txt"
    path.parent.mkdir(parents=True)
    path.write_text("path,p_a\n")
    subprocess.run(["git", "add", "data"], check=True)
    with pytest.raises(
        UserError, match=r"^data/external/distill größe.txt: changed since the last commit \("
    ):
        check_committed()


def test_inputs_are_hashed_as_dvc_does(place):
    """A file's hash is its MD5; a folder's is that of the JSON list of the hashes in it."""
    subprocess.run(["git", "init", "-q", CLONE], check=True)
    subprocess.run(["dvc", "init", "-q"], cwd=CLONE, check=True)
    (place / "pictures").mkdir()
    (place / "pictures/a.png").write_bytes(b"a")
    (CLONE / "params.yaml").write_bytes(b"b")
    md5 = hashlib.md5(b"a").hexdigest()
    folder = hashlib.md5(json.dumps([{"md5": md5, "relpath": "a.png"}]).encode()).hexdigest()
    pictures = str(place / "pictures")
    assert hash_inputs([pictures, "params.yaml", "nowhere"]) == {
        pictures: f"{folder}.dir",
        "params.yaml": hashlib.md5(b"b").hexdigest(),
        "nowhere": None,
    }


def commit_all(folder):
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run(["git", "add", "-A"], cwd=folder, check=True)
    author = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    subprocess.run(["git", *author, "commit", "-qm", "all"], cwd=folder, check=True)


def test_a_running_experiment_is_waited_for(place, capsys):
    """Any process that writes to the log locks it, whether or not it was started here."""
    with ThreadPoolExecutor(1) as pool, lock_log() as held:
        waiting = pool.submit(lambda: hold_log().__enter__().name)
        wait_until(lambda: "waiting for the previous experiment to end" in capsys.readouterr().out)
        assert not waiting.done()
        held.close()
        assert waiting.result(timeout=10) == str(LOG)


def test_an_error_of_git_is_one_line(place):
    with pytest.raises(UserError, match=r"^git reset: fatal: .* \(if it concerns .scratch/ablation, remove"):
        run_git("reset", "--hard", "nowhere")


def test_an_error_of_dvc_is_one_line(place):
    with pytest.raises(UserError, match=r"^dvc cache: ERROR: .* \(if it concerns .scratch/ablation, remove"):
        run_program("dvc", "cache", "dir")


@pytest.mark.parametrize("tool", ["ablation", "experiments"])
@pytest.mark.slow
def test_an_unknown_argument_is_one_line(tool, place):
    command = [sys.executable, "-m", f"tools.{tool}", "losses", "own", "--sett", "x=1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.startswith(f"error: python -m tools.{tool}: ") and done.stderr.count("\n") == 1


def lock_log():
    LOG.parent.mkdir()
    file = open(LOG, "w")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory):
    """A committed project on tiny pictures with a valid table, and one with a row that fails."""
    folder = tmp_path_factory.mktemp("laboratory")
    project = Project(folder / "dojo", draw_tiny_images(folder / "pictures", 8))
    shutil.copy(ROOT / "ablations.schema.json", project.folder)
    rows = {"plain": ["distill.share=0"], "bce": ["distill.share=0", "loss=bce"]}
    table = TABLE | {"rows": rows}
    single = TABLE | {"rows": rows, "seeds": [1]}
    torn = {"plain": rows["plain"], "torn": ["student.batch_size=100"], "bce": rows["bce"]}
    broken = TABLE | {"rows": torn, "seeds": [1]}
    follow = TABLE | {"rows": rows, "teacher_seeds": "follow"}
    tables = {"losses": table, "broken": broken, "single": single, "follow": follow}
    file = {"data": {"own": {"set": []}}, "tables": tables}
    file = json.loads(json.dumps(file))  # without the same list in two places, which YAML would alias
    (project.folder / "ablations.yaml").write_text(yaml.safe_dump(file, sort_keys=False))
    project.run("dvc", "repro")
    project.commit("results")
    return project


def run_ablation(project, table, *more, code=0):
    return project.run("python", "-m", "tools.ablation", table, "own", *more, code=code)


def start_ablation(project, *more, **streams):
    command = ["python", "-m", "tools.ablation", "losses", "own", *more]
    return subprocess.Popen(command, cwd=project.folder, env=project.environment(), **streams)


@pytest.mark.slow
def test_a_table_runs_once_and_resumes_after_a_kill(laboratory):
    csv = laboratory.folder / "metrics/ablation/losses-own.csv"
    log, before = laboratory.folder / ".scratch/ablation.log", laboratory.results()
    with open(laboratory.folder.parent / "killed.txt", "w+") as printed:
        process = start_ablation(laboratory, stdout=printed)
        wait_until(lambda: "[1/4]" in Path(printed.name).read_text())
        wait_until(lambda: "epoch 1/" in "".join(log.read_text().split("$ dvc")[2:]))  # of the second one
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not csv.exists()
    output = run_ablation(laboratory, "losses")  # waits for what the killed process left running
    assert "2 recorded, 2 to run" in output and "2 trained, 0 from DVC's cache, 0 failed" in output
    table = csv.read_bytes()
    assert read_lines(csv)["n"].tolist() == [2, 2]
    again = run_ablation(laboratory, "losses")
    assert "4 recorded, 0 to run" in again and "0 trained" in again and csv.read_bytes() == table
    names = laboratory.run("dvc", "exp", "list", "--name-only").split()
    laboratory.run("dvc", "exp", "remove", *names)
    cached = run_ablation(laboratory, "losses")
    assert "0 trained, 4 from DVC's cache, 0 failed" in cached and csv.read_bytes() == table
    after = {name: text for name, text in laboratory.results().items() if "ablation" not in name}
    assert after == before  # the workspace is unchanged
    laboratory.run("rm", "-r", "metrics/ablation", "plots/ablation")


@pytest.mark.slow
def test_a_terminated_table_stops_its_training_and_resumes(laboratory):
    names = laboratory.run("dvc", "exp", "list", "--name-only").split()
    if names:
        laboratory.run("dvc", "exp", "remove", *names)
    shutil.rmtree(laboratory.folder / ".dvc/cache/runs")
    longer = ("--set", "student.epochs=100")
    log = laboratory.folder / ".scratch/ablation.log"
    log.unlink(missing_ok=True)
    process = start_ablation(laboratory, *longer, stderr=subprocess.PIPE)
    wait_until(lambda: log.exists() and "epoch 1/" in log.read_text())
    process.terminate()
    errors = process.communicate(timeout=60)[1]
    assert b"error: stopped by SIGTERM (run the same command to continue)" in errors
    assert process.returncode == 128 + signal.SIGTERM
    assert "stopped by" in log.read_text()
    output = run_ablation(laboratory, "losses", *longer)
    assert "0 recorded, 4 to run" in output and "4 trained" in output
    assert "resuming from epoch" in log.read_text()
    assert "ablation" in laboratory.run("git", "status", "--porcelain")  # only the table
    assert not laboratory.run(
        "git", "status", "--porcelain", "--", "params.yaml", "dvc.lock", "metrics/*.json"
    )


@pytest.mark.slow
def test_teachers_that_follow_are_trained_once_per_seed(laboratory):
    """Two rows and two seeds: two teachers; the same runs count afterwards, and tell what the seeds show."""
    output = run_ablation(laboratory, "follow")
    assert "0 recorded, 4 to run" in output and "4 trained" in output
    log = (laboratory.folder / ".scratch/ablation.log").read_text()
    assert [log.count(f" teacher.big.seed={seed} ") for seed in (1002, 2002)] == [2, 2]
    assert log.count("Running stage 'train_teacher@big'") == 2
    again = run_ablation(laboratory, "follow")
    assert "4 recorded, 0 to run" in again and "\nSplits and test pictures are fixed" in again
    shown = "test.accuracy: the smallest difference that would be seen four times out of five: 2 seeds "
    assert output.count(shown) == 1 and again.count(shown) == 1  # the first time there was nothing to go by
    laboratory.run("rm", "-r", "metrics/ablation", "plots/ablation")


@pytest.mark.slow
def test_a_failed_row_is_reported_and_the_others_run(laboratory):
    output = run_ablation(laboratory, "broken", code=1)
    message = "error: broken-own-torn-1: failed: params.yaml: student.batch_size"
    assert output.splitlines()[-1].startswith(message)
    assert "from DVC's cache, 1 failed" in output and "git checkout" not in output
    lines = read_lines(laboratory.folder / "metrics/ablation/broken-own.csv").set_index("row")
    assert lines["n"].to_dict() == {"plain": 1, "torn": 0, "bce": 1}


@pytest.mark.slow
def test_runs_of_other_pictures_do_not_count(laboratory):
    """A table of one seed, run twice, with one picture changed in between."""
    assert "0 recorded, 2 to run" in run_ablation(laboratory, "single")
    csv = laboratory.folder / "metrics/ablation/single-own.csv"
    lines = read_lines(csv)
    assert lines["pairs"].tolist() == [0, 1] and lines[["low", "high"]].isna().all(axis=None)
    assert lines["resolution"].tolist() == pytest.approx([1 / 24] * 2, abs=1e-6)
    assert "(one pair) |" in csv.with_suffix(".md").read_text()
    picture = laboratory.pictures / "train/red/0.png"
    before = picture.read_bytes()
    Image.new("RGB", (40, 24), (250, 40, 40)).save(picture)
    output = run_ablation(laboratory, "single")
    assert (
        "\nrecorded, but not counted: single-own-plain-1, single-own-bce-1: "
        f"{laboratory.pictures}/train has changed since\n"
    ) in f"\n{output}"
    assert "0 recorded, 2 to run" in output and "2 trained" in output
    assert "2 recorded, 0 to run" in run_ablation(laboratory, "single")
    picture.write_bytes(before)
    laboratory.run("rm", "-r", "metrics/ablation", "plots/ablation")


@pytest.mark.slow
def test_an_uncommitted_change_is_refused(laboratory):
    script = laboratory.folder / "stages/evaluate.py"
    text = script.read_text()
    script.write_text(text + "\n")
    output = run_ablation(laboratory, "losses", code=1)
    script.write_text(text)
    assert output.startswith("error: stages/evaluate.py: changed since the last commit (")
    knowledge = laboratory.folder / "data/external/distill_new.txt"
    knowledge.write_text("path,p_blue\n")
    output = run_ablation(laboratory, "losses", code=1)
    knowledge.unlink()
    assert output.startswith("error: data/external/distill_new.txt: changed since the last commit (")


def wait_until(holds, seconds=120):
    """Wait until `holds()` is true."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.05)
