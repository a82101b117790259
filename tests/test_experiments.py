"""The table of experiments, built from the output of `dvc exp show --json`."""

import pandas as pd
import pytest

from tools.experiments import (
    add_seed_to_params,
    average_over_seeds,
    build_table,
    drop_equal_inputs,
    flatten_metrics,
    main,
)


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
    return {"name": name, "revs": [{"rev": f"commit of {name}", "data": make_data(*data)}]}


def read_same(rev, teachers):
    return {"src/a.py": "1"}


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
    table = add_seed_to_params(build_table(SHOWN, read_same)).set_index("experiment")
    assert table["params"].to_dict() == {
        "main": "-", "plain-2": "seed=2", "ohm-1": "loss=ohm", "ohm-2": "loss=ohm seed=2", "failed": "-",
    }  # fmt: skip
    assert table.loc["ohm-1", "test.accuracy"] == 0.5
    assert pd.isna(table.loc["failed", "test.accuracy"])


def test_average_over_seeds_by_hand():
    table = average_over_seeds(build_table(SHOWN, read_same)).set_index("params")
    assert table["seeds"].to_dict() == {"-": 2, "loss=ohm": 2}
    assert table.loc["-", "test.accuracy"] == "0.8500 sd 0.0707"
    assert table.loc["loss=ohm", "test.macro_f1"] == "0.6000 sd 0.1414"


def test_one_seed_has_no_standard_deviation():
    only = [SHOWN[0], SHOWN[1] | {"experiments": None}]
    assert average_over_seeds(build_table(only, read_same))["test.accuracy"].tolist() == ["0.9000"]


def test_runs_of_other_sources_or_pictures_are_not_pooled():
    def read(rev, teachers):
        return {"src/a.py": "2" if rev == "commit of ohm-2" else "1"}

    table = average_over_seeds(build_table(SHOWN, read))
    assert table[["params", "seeds"]].values.tolist() == [["-", 2], ["loss=ohm", 1], ["loss=ohm", 1]]
    assert table["test.accuracy"].tolist() == ["0.8500 sd 0.0707", "0.5000", "0.7000"]
    assert table["inputs"][0] == table["inputs"][1] != table["inputs"][2]
    assert "inputs" in drop_equal_inputs(table) and "inputs" not in drop_equal_inputs(table[:2])


def test_runs_of_commits_with_other_params_are_not_pooled():
    """Both differ from their own commit by loss=ohm; the commits have other learning rates."""
    older = {"rev": "b" * 40, "name": None, "data": make_data(1, "softmax", 0.3)}
    older["experiments"] = [make_experiment("old-3", 3, "ohm", 0.1)]
    for data in (older["data"], older["experiments"][0]["revs"][0]["data"]):
        data["params"]["params.yaml"]["data"]["student"]["lr"] = 0.5
    table = average_over_seeds(build_table([*SHOWN, older], read_same)).set_index("params")
    assert table["seeds"].to_dict() == {
        "-": 2,
        "loss=ohm": 2,
        "student.lr=0.5": 1,
        "loss=ohm student.lr=0.5": 1,
    }


def test_runs_whose_inputs_are_not_known_are_not_pooled():
    table = average_over_seeds(build_table(SHOWN, lambda rev, teachers: {}))
    assert table["seeds"].tolist() == [1, 1, 1, 1] and set(table["inputs"]) == {""}


def test_hashes_among_the_params_are_abbreviated():
    data = make_data(3, "softmax", 0.5)
    data["params"]["params.yaml"]["data"]["sha256"] = "0123456789abcdef" * 4
    commits = [*SHOWN, {"rev": "c" * 40, "name": None, "data": data, "experiments": None}]
    assert build_table(commits, read_same)["params"].iloc[-1] == "sha256=0123456"


def test_runs_of_other_libraries_are_not_pooled():
    """Versions are params of a file of their own."""
    commits = []
    for seed, version in ((1, "2.0"), (2, "2.1")):
        data = make_data(seed, "softmax", 0.5)
        data["params"]["libraries.yaml"] = {"data": {"torch": version}}
        commits.append({"rev": version, "name": None, "data": data, "experiments": None})
    table = average_over_seeds(build_table(commits, read_same))
    assert table["params"].tolist() == ["-", "libraries.yaml:torch=2.1"]


def test_the_files_of_two_teachers_are_merged():
    files = {f"{name}.json": {"data": {"teacher": {name: {"val": 1}}}} for name in ("big", "second")}
    assert flatten_metrics({"metrics": files}) == {"teacher.big.val": 1, "teacher.second.val": 1}


@pytest.mark.parametrize("data", [None, {"params": None, "metrics": None}])
def test_a_commit_without_results_is_accepted(data):
    commit = {"rev": "b" * 40, "name": "old", "data": data, "experiments": None}
    table = build_table([commit], read_same)
    assert table["params"].tolist() == [""]


def test_the_means_say_what_they_speak_of(monkeypatch, capsys):
    monkeypatch.setattr("tools.experiments.query_experiments", lambda commits: SHOWN)
    monkeypatch.setattr("sys.argv", ["experiments", "--seeds"])
    main()
    printed = capsys.readouterr().out
    assert "0.9000" in printed and "sd is over the student's seeds alone" in printed
    monkeypatch.setattr("sys.argv", ["experiments"])
    main()
    assert "seeds alone" not in capsys.readouterr().out
