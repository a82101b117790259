"""Commands outside the pipeline, by hand; slow tests elsewhere run them on a project."""

import hashlib
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import dvc_render.vega
import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT, edit_params

import tools.libraries
import tools.preview
from src.ground.errors import UserError
from src.ground.libraries import check_libraries
from tools import plots_page, preflight
from tools.lr_range import count_steps, smooth
from tools.preview import describe_target, pick_rows


def test_smoothing_is_bias_corrected():
    """0.9 of the old value and 0.1 of the new one, over 1 - 0.9^steps: (0.09 x 2 + 0.1 x 4) / 0.19."""
    assert smooth(np.array([2.0, 4.0])).tolist() == pytest.approx([2.0, 0.58 / 0.19])


@pytest.mark.parametrize(
    "losses, steps",
    [
        ([2.0, 1.0, 1.5], 3),
        ([2.0, 1.0, 4.1, 1.0], 2),  # more than 4 times the lowest
        ([2.0, 1.0, float("nan"), 1.0], 2),
        ([float("nan"), 1.0], 1),
    ],
)
def test_the_range_test_ends_where_the_loss_diverges(losses, steps):
    assert count_steps(losses) == steps


def test_stages_refuse_other_libraries_than_are_recorded(place, capsys):
    """A version that dvc.lock does not know would give results that nobody can repeat."""
    check_libraries()  # nothing is recorded yet
    tools.libraries.main()
    check_libraries()
    recorded = Path("libraries.yaml").read_text()
    assert yaml.safe_load(recorded) == {
        name: version(name).partition("+")[0] for name in yaml.safe_load(recorded)
    }
    Path("libraries.yaml").write_text(recorded.replace(f'torch: "{version("torch")}"', 'torch: "1.13"'))
    with pytest.raises(UserError, match=r"^libraries.yaml: torch 1.13 \(installed: \d.*\) \(make libraries"):
        check_libraries()
    capsys.readouterr()
    tools.libraries.main()
    assert re.match(r"libraries.yaml: torch 1.13, now \d.*: dvc repro reruns", capsys.readouterr().out)
    assert Path("libraries.yaml").read_text() == recorded
    for damaged in ("[1", "- a", "\x01", ""):
        Path("libraries.yaml").write_text(damaged)
        with pytest.raises(UserError, match="^libraries.yaml: not a mapping of versions"):
            check_libraries()
    Path("libraries.yaml").unlink()
    Path("libraries.yaml").mkdir()
    with pytest.raises(UserError, match="^libraries.yaml: not a mapping of versions"):
        check_libraries()
    Path("libraries.yaml").rmdir()
    tools.libraries.main()
    check_libraries()


def test_pictures_of_all_classes_are_picked():
    labels = np.array([2, 0, 1, 0, 1, 2])
    assert labels[pick_rows(labels, 3)].tolist() == [0, 1, 2] and len(set(pick_rows(labels, 6))) == 6


def test_describe_a_mixed_target():
    assert describe_target(torch.tensor([0.0, 0.7, 0.3]), ("cat", "dog", "owl")) == "dog 0.70\nowl 0.30"


def test_make_demo_runs_only_for_the_demo(place):
    shutil.copy(ROOT / "dvc.yaml", place)
    assert preflight.choose_stages("data/demo") == []
    own = preflight.choose_stages("/pictures")
    assert "make_demo" not in own and {"check_images", "evaluate", "export_jit", "dump_knowledge"} < set(own)


def git(folder, *words):
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    subprocess.run(["git", "-C", folder, *who, *words], check=True, capture_output=True)


def test_a_folder_that_git_does_not_know_is_refused_with_what_to_type(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(
        UserError, match=r"not a git repository, .* ZIP file \(git init && git add -A && git commit"
    ):
        preflight.check_git(tmp_path)
    git(tmp_path, "init", "-q")
    with pytest.raises(UserError, match=r"without a commit \(git add -A && git commit -m start\)"):
        preflight.check_git(tmp_path)
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "start")
    preflight.check_git(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="git: not found"):
        preflight.check_git(tmp_path)


def test_a_relative_root_is_noted(place, monkeypatch, capsys):
    monkeypatch.setattr(preflight, "check_git", lambda folder: None)
    monkeypatch.setattr(sys, "argv", ["preflight"])
    (place / "own").mkdir()
    for root, note in (("../place/own", f"need {place}/own"), ("~/own", ""), ("data/demo", ""), ("/own", "")):
        edit_params(place, data__root=root)
        preflight.main()
        output = capsys.readouterr().out
        assert output.rstrip().endswith(note) and bool(output) == bool(note)


def test_preflight_refuses_arguments_that_it_does_not_take():
    words = ["-m", "tools.preflight", "--stage"]
    result = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    line = "error: preflight: unrecognized arguments: --stage (--help lists what it takes)\n"
    assert (result.returncode, result.stderr) == (1, line)


def test_every_package_is_pinned_by_version_and_hash():
    def find_pins(text):
        found = re.findall(r"^([a-z0-9._-]+)(?:\[.*?\])?==(\S+)", text, re.MULTILINE)
        return {(re.sub("[._]", "-", name), version) for name, version in found}

    text = (ROOT / "requirements.txt").read_text().replace("\\\n", "")
    locked = [line for line in text.splitlines() if line[:1] not in ("", "#", " ")]
    assert all(re.search(r"==\S+ .*--hash=sha256:[0-9a-f]{64}", line) for line in locked)
    direct = find_pins((ROOT / "requirements.in").read_text())
    assert len(direct) > 20 and direct <= find_pins(text)
    assert "--require-hashes -r requirements.txt" in (ROOT / "Makefile").read_text()


def test_every_action_of_ci_is_pinned_by_commit():
    workflows = [*(ROOT / ".github/workflows").iterdir()]
    steps = [
        step
        for path in workflows
        for job in yaml.safe_load(path.read_text())["jobs"].values()
        for step in job["steps"]
    ]
    used = [step["uses"] for step in steps if "uses" in step]
    assert used and all(re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", action) for action in used)


@pytest.mark.slow
def test_the_preview_shows_the_views_that_the_epochs_see(ready, monkeypatch):
    edit_params(ready, augment__views=2)
    seen, augment_each = [], tools.preview.augment_each

    def record(pictures, augment, seed, view, numbers):
        seen.append(view)
        return augment_each(pictures, augment, seed, view, numbers)

    monkeypatch.setattr("tools.preview.augment_each", record)
    tools.preview.main()
    assert seen == [1, 2] * (tools.preview.VIEWS // 2)


def test_plots_are_drawn_without_a_network():
    """The page that DVC fills holds the very scripts of npm, and loads none."""
    text = (ROOT / plots_page.PAGE).read_text(encoding="utf-8")
    assert text.count("{plot_divs}") == text.count("{refresh_tag}") == 1 and "{scripts}" not in text
    assert not re.search(r"<(?:script|link|img)[^>]+(?:src|href)=", text.partition("<script>")[0])
    bodies = re.findall(r"<script>/\*!.*?\*/\n(.*?)</script>", text, re.DOTALL)
    assert [hashlib.sha256(body.encode()).hexdigest() for body in bodies] == [*plots_page.SCRIPTS.values()]
    config = (ROOT / ".dvc/config").read_text()
    assert f"html_template = {plots_page.PAGE.name}" in config
    asked = (Path(dvc_render.vega.__file__)).read_text()
    assert all(package in asked for package in plots_page.SCRIPTS)


GIVEN = 'a b $HOME $$ `x` $(x) "#1" it\'s; '  # what a shell, or make, would change


@pytest.mark.parametrize(
    "target, given, expected",
    [
        ("evaluate", {"WEIGHTS": GIVEN}, [f"--weights={GIVEN}", "--split=test"]),
        ("evaluate", {"SPLIT": "`x`; b"}, ["--weights=data/models/student.safetensors", "--split=`x`; b"]),
        ("heatmaps", {}, ["--weights=data/models/student.safetensors", "--split=test"]),
        (
            "heatmaps",
            {"WEIGHTS": "-x", "SPLIT": "val", "METHOD": "`x` b", "PICK": "; c", "AUGMENTED": "1"},
            ["--weights=-x", "--split=val", "--method=`x` b", "--pick=; c", "--augmented"],
        ),
        (
            "summary",
            {"ARCH": "a `x`", "SIZE": "2;", "CLASSES": "6 7"},
            ["--classes=6 7", "--", "a `x`", "2;"],
        ),
        ("serve-layout", {"AS": '`x` "'}, ['--name=`x` "']),
    ],
)
def test_make_passes_texts_on_as_they_were_typed(tmp_path, monkeypatch, target, given, expected):
    """`python` stands for one that prints its arguments."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nshift 2\nprintf '%s\\n' \"$@\"\n")
    python.chmod(0o755)
    for name in ("WEIGHTS", "SPLIT", "METHOD", "PICK", "AUGMENTED"):
        monkeypatch.delenv(name, raising=False)
    words = ["make", "-s", "-C", str(tmp_path), "-o", "install", target]
    words += [f"{name}={text}" for name, text in given.items()]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert (done.stdout.split("\n")[:-1], done.stderr) == (expected, "")
