"""The table of experiments, built from the output of `dvc exp show --json`."""

import pandas as pd
import pytest

from tools.experiments import add_seed_to_params, average_over_seeds, build_table


def make_data(seed, loss, accuracy):
    metrics = {
        "student": {"val": {"accuracy": accuracy}},
        "test": {"accuracy": accuracy, "macro_f1": accuracy},
    }
    return {
        "params": {"params.yaml": {"data": {"seed": seed, "loss": loss, "student": {"lr": 0.1}}}},
        "metrics": {"metrics/x.json": {"data": metrics}},
    }


def make_experiment(name, *data):
    return {"name": name, "revs": [{"rev": "0123456789", "data": make_data(*data)}]}


SHOWN = [
    {"rev": "workspace", "name": None, "data": make_data(1, "softmax", 0.9), "experiments": None},
    {
        "rev": "a" * 40,
        "name": "main",
        "data": make_data(1, "softmax", 0.9),
        "experiments": [
            make_experiment("plain-2", 2, "softmax", 0.8),
            make_experiment("ohm-1", 1, "ohm", 0.5),
            make_experiment("ohm-2", 2, "ohm", 0.7),
            {"name": "failed", "revs": [{"rev": "f" * 40, "data": None}]},
        ],
    },
]


def test_a_row_lists_the_params_that_differ():
    table = add_seed_to_params(build_table(SHOWN)).set_index("experiment")
    assert table["params"].to_dict() == {
        "main": "-", "plain-2": "seed=2", "ohm-1": "loss=ohm", "ohm-2": "loss=ohm seed=2", "failed": "-",
    }  # fmt: skip
    assert table.loc["ohm-1", "test.accuracy"] == 0.5
    assert pd.isna(table.loc["failed", "test.accuracy"])


def test_average_over_seeds_by_hand():
    table = average_over_seeds(build_table(SHOWN)).set_index("params")
    assert table["seeds"].to_dict() == {"-": 2, "loss=ohm": 2}
    assert table.loc["-", "test.accuracy"] == "0.8500 sd 0.0707"
    assert table.loc["loss=ohm", "test.macro_f1"] == "0.6000 sd 0.1414"


def test_one_seed_has_no_standard_deviation():
    only = [SHOWN[0], SHOWN[1] | {"experiments": None}]
    assert average_over_seeds(build_table(only))["test.accuracy"].tolist() == ["0.9000 sd nan"]


@pytest.mark.parametrize("data", [None, {"params": None, "metrics": None}])
def test_a_commit_without_results_is_accepted(data):
    table = build_table([{"rev": "b" * 40, "name": "old", "data": data, "experiments": None}])
    assert table["params"].tolist() == [""]
