"""The whole pipeline on tiny pictures, as a user runs it: `dvc repro`, experiments, errors. Slow."""

import json
import os
import re
import shutil
from copy import deepcopy as copy_of

import numpy as np
import pytest
import torch
from conftest import UP_TO_DATE, Project, draw_tiny_images, edit_params, list_stages, load_demo
from PIL import Image
from ruamel.yaml import YAML
from safetensors.torch import load_file

from src.networks.checkpoint import load_model
from src.networks.libraries import build_model

pytestmark = pytest.mark.slow

STUDENT = ["train_student", "evaluate", "export_jit", "report"]
KNOWLEDGE = ["plan_views", "dump_knowledge", "make_curriculum"]
CHAIN = ["make_demo", "check_images", "train_teacher@big", *KNOWLEDGE, *STUDENT]


def read_metrics(project):
    files = [project.folder / "metrics" / name for name in ("student.json", "test.json", "export.json")]
    return [json.loads(file.read_text()) for file in files]


def test_repro_runs_every_stage_once_and_git_is_clean(project):
    assert list_stages(project.output) == CHAIN
    assert UP_TO_DATE in project.run("dvc", "repro")
    assert project.run("git", "status", "--porcelain") == ""
    student, test, export = read_metrics(project)
    assert set(student["student"]["val"]) == {"accuracy", "loss"}
    names = {
        "accuracy",
        "accuracy_low",
        "accuracy_high",
        "balanced_accuracy",
        "macro_f1",
        "log_loss",
        "brier",
    }
    names |= {"ece"}
    assert set(test["test"]) == names | {"calibrated", "teacher"}
    assert set(test["test"]["teacher"]["big"]) == names
    assert export["export"]["torchscript"]["accuracy"] == pytest.approx(test["test"]["accuracy"])


def test_lock_matches_in_a_fresh_clone(project, tmp_path):
    project.run("git", "clone", "-q", ".", str(tmp_path / "clone"))
    clone = Project.at(tmp_path / "clone")
    check_lock = ("make", "-s", "check-lock", "-o", ".venv/.installed")
    assert clone.run(*check_lock).splitlines()[-1] == UP_TO_DATE
    with open(clone.folder / "src/batches/augment.py", "a") as file:
        file.write("# a comment is a change\n")
    assert "error: dvc.lock: does not match these files" in clone.run(*check_lock, code=2)


def test_rerunning_from_scratch_gives_the_same_bytes(copy):
    before = copy.results()
    for name in (
        ".dvc/cache",
        "data/models",
        "data/packed",
        "data/manifest",
        "data/distill",
        "data/export",
        "metrics",
    ):
        shutil.rmtree(copy.folder / name)
    output = copy.run("dvc", "repro", "--force", "--no-run-cache")
    assert list_stages(output) == CHAIN
    assert copy.results() == before


def test_another_version_of_a_library_is_seen_and_reruns_what_uses_it(copy):
    """As if matplotlib had been another version when the results were committed."""
    path, before = copy.folder / "libraries.yaml", copy.results()
    path.write_text(re.sub("matplotlib: .*", 'matplotlib: "1.0"', path.read_text()))
    assert "evaluate" in copy.run("dvc", "status") and "train_student" not in copy.run("dvc", "status")
    refused = copy.run("dvc", "repro", code=255)
    assert re.search(r"libraries.yaml: matplotlib 1.0 \(installed: .*\) \(make libraries, then", refused)
    assert "matplotlib 1.0, now" in copy.run("python", "-m", "tools.libraries")
    copy.run("dvc", "repro")  # what DVC deleted before the refusal is in its cache
    assert copy.results() == before


def test_another_loss_reruns_only_the_student(copy):
    output = copy.run("dvc", "exp", "run", "-S", "loss=ohm", "-n", "hard")
    assert list_stages(output) == STUDENT
    table = copy.run("python", "-m", "tools.experiments")
    assert re.search(r"hard +loss=ohm +\d\.\d+ +\d\.\d+ +\d\.\d+", table), table
    assert "loss" in copy.run("dvc", "params", "diff")
    assert "test.log_loss" in copy.run("dvc", "metrics", "diff")


def test_teachers_in_the_loop_rerun_only_the_student(copy):
    """Also beside knowledge from outside, and with everything that mixes batches."""
    live = ["distill.view=live", "augment.mixup=0.2", "augment.multi_scale=0.15", "student.curriculum=true"]
    output = copy.run("dvc", "exp", "run", *[word for pair in live for word in ("-S", pair)])
    assert list_stages(output) == ["plan_views", *STUDENT]
    first = read_metrics(copy)
    shutil.copy(copy.folder / "data/label.txt", copy.folder / "data/external/distill_label.txt")
    assert list_stages(copy.run("dvc", "repro")) == ["dump_knowledge", "make_curriculum", *STUDENT]
    assert read_metrics(copy) != first


def test_teachers_of_folds_tell_of_what_they_have_not_seen(copy):
    """A picture under a wrong label, of which the teacher that has learned it is told to be sure."""
    plain = (copy.folder / "data/distill/distill_big.txt").read_text()
    output = copy.run("dvc", "exp", "run", "-S", "knowledge.folds=[1,2]")
    assert sorted(list_stages(output)) == sorted(["train_fold@1", "train_fold@2", *KNOWLEDGE[1:], *STUDENT])
    folds = (copy.folder / "data/distill/distill_big.txt").read_text()
    assert folds != plain and len(folds.splitlines()) == len(plain.splitlines())
    copy.run("git", "checkout", "params.yaml", "dvc.lock", "metrics", "plots")
    assert "folds/2/big.safetensors: removed" in copy.run("make", "-o", "install", "repro")
    assert (copy.folder / "data/distill/distill_big.txt").read_text() == plain


def test_stored_views_are_dumped_again_for_another_augmentation_only(copy):
    """Not for another loss or mixing; and of plain pictures nothing is dumped for another augmentation."""

    def run(*overrides):
        words = [word for pair in overrides for word in ("-S", pair)]
        return list_stages(copy.run("dvc", "exp", "run", *words))

    assert run("augment.flip=0.5") == ["plan_views", *STUDENT]
    assert run("distill.view=stored", "knowledge.views=2") == [*KNOWLEDGE, *STUDENT]
    files = sorted(file.name for file in (copy.folder / "data/distill/distill_big").iterdir())
    assert files == ["facts.json", "probs.npy", "rest.npy"]
    assert np.load(copy.folder / "data/distill/distill_big/probs.npy").shape == (2, 24, 3)
    assert run("loss=ohm", "student.curriculum=true") == STUDENT
    assert run("augment.mixup=0.2") == ["plan_views", *STUDENT]
    assert run("augment.flip=0.25") == [*KNOWLEDGE, *STUDENT]
    assert run("distill.view=live") == ["plan_views", *STUDENT]  # plain knowledge is in DVC's cache


def test_pictures_without_labels_are_heard_of_from_the_teacher(copy):
    """Without their folder all is as before, to the bit."""
    before = copy.results()
    more = draw_tiny_images(copy.folder.parent / "more", 12, ("train",)) / "train"
    (copy.pictures / "web").mkdir()
    try:
        for name in ("red", "green", "blue"):
            for number in (8, 9, 10, 11):
                shutil.copy(more / name / f"{number}.png", copy.pictures / "web" / f"{name}{number}.png")
        overrides = ["data.unlabelled=[web]", "student.curriculum=true", "augment.mixup=0.2"]
        output = copy.run("dvc", "exp", "run", *[word for pair in overrides for word in ("-S", pair)])
    finally:
        shutil.rmtree(copy.pictures / "web")
    stages = ["check_images", "check_unlabelled@web", "dump_knowledge", "make_curriculum", *STUDENT]
    assert [stage for stage in list_stages(output) if stage != "plan_views"] == stages
    assert "web: 12 files: 12 taken" in output
    rows = (copy.folder / "data/distill/distill_big.txt").read_text().splitlines()[2:]
    assert len(rows) == 24 + 12 and rows[-1].startswith("web/")
    assert len((copy.folder / "data/curriculum.txt").read_text().splitlines()) == 1 + 24 + 12
    copy.run("git", "checkout", "-q", "params.yaml", "dvc.lock")
    assert "web.npy: removed, it is not in data.unlabelled" in copy.run("make", "-o", "install", "repro")
    assert copy.results() == before


@pytest.mark.parametrize(
    "arch, side",
    [("resnest50_fast_1s4x24d", 32), ("mobilenetv3_small", 32), ("densenet121", 32), ("timm/test_vit", 160)],
)
def test_families_of_networks_can_be_exported(copy, arch, side):
    sizes = [f"images.height={side}", f"images.width={side}", "student.epochs=2"]
    overrides = [f"student.arch={arch}", *(sizes if side != 32 else sizes[2:])]
    output = copy.run("dvc", "exp", "run", *[word for pair in overrides for word in ("-S", pair)])
    assert list_stages(output)[-4:] == STUDENT
    _, test, export = read_metrics(copy)
    assert export["export"]["torchscript"]["accuracy"] == pytest.approx(test["test"]["accuracy"])
    network = copy.folder / "data/export/student.pt"
    picture = str(next(copy.pictures.glob("test/red/*.png")))
    assert "red/" in copy.run("python", "demos/classifier.py", str(network), picture)


def test_a_student_starts_from_pretrained_weights(copy):
    """From the file of a student: what is loaded is reported, and a frozen backbone stays unchanged."""
    shutil.copy(copy.folder / "data/models/student.safetensors", copy.folder / "old.safetensors")
    overrides = ["student.pretrained=old.safetensors", "student.freeze=backbone", "student.head_lr_mult=2"]
    output = copy.run("dvc", "exp", "run", *[word for pair in overrides for word in ("-S", pair)])
    assert "student.pretrained: old.safetensors: " in output and "left out: none, new: none" in output
    old = load_file(copy.folder / "old.safetensors")
    new = load_file(copy.folder / "data/models/student.safetensors")
    changed = {name for name in old if not old[name].equal(new[name])}
    assert changed == {"net.classifier.weight", "net.classifier.bias"}


class Evil:
    def __reduce__(self):
        return os.system, ("touch marker",)


def test_unusable_weights_are_one_line_errors(copy):
    before, resnet50 = copy.results(), copy.folder / "resnet50.pth"
    torch.save(build_model("resnet50", 1000, "x").net.state_dict(), resnet50)
    (copy.folder / "half.pth").write_bytes(resnet50.read_bytes()[: resnet50.stat().st_size // 2])
    torch.save({"fc.weight": Evil()}, copy.folder / "evil.pth")
    for name, message in (
        ("resnet50.pth", "resnet50.pth does not fit the network: "),
        ("half.pth", "half.pth: not plain weights, "),
        ("evil.pth", "evil.pth: not plain weights, "),
    ):
        edit_params(copy.folder, student__arch="resnet18", student__pretrained=name)
        error = find_errors(copy.run("dvc", "repro", "-s", "train_student", code=255))
        assert error.startswith(f"error: params.yaml: student.pretrained: {message}")
        assert len(error.splitlines()) == 1
    assert not (copy.folder / "marker").exists()
    copy.run("git", "checkout", "params.yaml", "dvc.lock", "metrics", "plots")
    copy.run("dvc", "checkout")
    assert copy.results() == before


def test_training_without_a_teacher(copy):
    output = copy.run("dvc", "exp", "run", "-S", "knowledge.teachers=[]")
    assert list_stages(output) == [
        "dump_knowledge",
        "make_curriculum",
        "train_student",
        "evaluate",
        "export_jit",
        "report",
    ]
    assert "learns from the labels only" in output
    assert [path.name for path in (copy.folder / "data/distill").iterdir()] == ["no_teacher.txt"]
    assert "is empty" not in output
    assert not (copy.folder / "plots/teacher/big.csv").exists()
    assert not (copy.folder / "metrics/teacher/big.json").exists()
    stale = copy.folder / "data/models/teachers/big.safetensors"
    assert stale.exists() and "big.safetensors: not in knowledge.teachers" in output
    weights = (copy.folder / "data/curriculum.txt").read_text().splitlines()[1:]
    assert len(weights) == 24 and all(line.endswith(",1") for line in weights)
    assert "teacher" not in read_metrics(copy)[1]["test"]
    repeated = copy.run("make", "-o", "install", "repro")  # as a fresh clone does, which never had the file
    assert "big.safetensors: removed" in repeated and not stale.exists()
    assert list_stages(repeated) == ["dump_knowledge", "train_student", "evaluate", "report"]
    assert UP_TO_DATE in copy.run("make", "-o", "install", "repro").splitlines()


def test_two_processes_predict_every_picture_once(copy):
    overrides = ["processes=2", "threads=1", "student.freeze=backbone"]
    output = copy.run("dvc", "exp", "run", "-n", "two", *[w for pair in overrides for w in ("-S", pair)])
    assert list_stages(output) == ["train_teacher@big", "dump_knowledge", "make_curriculum", *STUDENT]
    assert output.count("2 processes\n") == 4 and output.count("epoch 3/3") == 2  # only the first prints
    for name, column in (("data/predictions.csv", 0), ("data/distill/distill_big.txt", 0)):
        lines = [line for line in (copy.folder / name).read_text().splitlines() if not line.startswith("#")]
        paths = [row.split(",")[column] for row in lines[1:]]
        assert len(paths) == len(set(paths)) == 24
    before = (copy.folder / "metrics/test.json").read_bytes()
    edit_params(copy.folder, processes=1)
    copy.run("dvc", "repro", "-s", "evaluate")
    assert (copy.folder / "metrics/test.json").read_bytes() == before


def test_pictures_from_files_give_the_same_student(copy):
    before = read_metrics(copy)
    output = copy.run("dvc", "exp", "run", "-S", "images.pack=false")
    assert list_stages(output)[:2] == ["check_images", "train_teacher@big"]
    assert (copy.folder / "data/packed/train.npy").stat().st_size == 128  # a header
    assert read_metrics(copy) == before
    weights = [load_file(folder / "data/models/student.safetensors") for folder in (copy.folder, copy.origin)]
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[1])


def test_packing_with_a_margin_and_cropped(copy):
    """Pictures of 40 x 24 pixels then have no black left, and the weights and the exported file know why."""
    overrides = ["images.pack_margin=0.5", "images.fit=crop", "augment.policy=crop"]
    copy.run("dvc", "exp", "run", *[word for pair in overrides for word in ("-S", pair)])
    packs = [np.load(copy.folder / f"data/packed/{split}.npy") for split in ("train", "val")]
    assert [pack.shape for pack in packs] == [(24, 48, 48, 3), (24, 32, 32, 3)]
    assert min(pack.max(axis=(2, 3)).min() for pack in packs) > 100  # of every row of every picture
    assert load_model(copy.folder / "data/models/student.safetensors")[1].fit == "crop"
    _, test, export = read_metrics(copy)
    assert export["export"]["torchscript"]["accuracy"] == pytest.approx(test["test"]["accuracy"])
    _, facts = load_demo().load(copy.folder / "data/export/student.pt")
    assert "crop" in facts and "letterbox" not in facts


def test_a_temporary_run_leaves_the_workspace_unchanged(copy):
    before = copy.results()
    copy.run("dvc", "exp", "run", "--temp", "-S", "seed=2", "-n", "other")
    assert copy.results() == before
    assert "seed=2" in copy.run("python", "-m", "tools.experiments")


def test_curriculum_without_distillation(copy):
    overrides = [
        "student.curriculum=true",
        "distill.share=0",
        "curriculum.thresholds=[0.99,0]",
        "curriculum.weights=[1,0.1]",
    ]
    output = copy.run("dvc", "exp", "run", *[word for pair in overrides for word in ("-S", pair)])
    assert list_stages(output) == ["make_curriculum", *STUDENT]
    weights = (copy.folder / "data/curriculum.txt").read_text().splitlines()[1:]
    assert {line.rpartition(",")[2] for line in weights} <= {"1", "0.1"}


def test_every_strategy_at_once(copy):
    """One run with all settings that combine; then preview and lr-range run on the same settings."""
    overrides = [
        "loss=bce+weighted+threshold+ghm+ohm",
        "+weighting.weighted.costs.red.blue=5",
        "+weighting.threshold.high_of.red=0.95",
        "student.class_weights=balanced",
        "student.label_smoothing=0.1",
        "student.focal_gamma=1",
        "student.prior={red: 0.1}",
        "student.curriculum=true",
        "student.fraction=0.9",
        "augment.policy=custom",
        "augment.erase=0.2",
        "augment.mixup=0.2",
        "augment.cutmix=1.0",
        "augment.multi_scale=0.15",
        "augment.train_scales=[0.5,1.0]",
        "augment.size_divisor=8",
        "student.arch=timm/test_resnet",
        "student.optimizer=ranger",
        "student.schedule=cosine",
        "student.clip=1.0",
        "student.batch_size=4",
        "student.accumulate=2",
        "student.layer_decay=0.8",
        "student.ema=0.9",
        "student.slim=0.0001",
        "student.patience=2",
    ]
    words = [word for pair in overrides for word in ("-S", pair)]
    assert list_stages(copy.run("dvc", "exp", "run", *words)) == ["plan_views", *STUDENT]
    student = json.loads((copy.folder / "metrics/student.json").read_text())["student"]
    assert 0 <= student["small_gammas"] <= 1 and 0 <= student["val"]["accuracy"] <= 1
    assert "plots/preview.png" in copy.run("make", "-o", "install", "preview")
    output = copy.run("make", "-o", "install", "lr-range")
    assert re.search(r"suggestion: student.lr=\d", output), output
    table = (copy.folder / "plots/lr_range.csv").read_text().splitlines()
    assert table[0] == "step,lr,loss,smoothed" and 2 < len(table) <= 101
    for name in ("preview", "lr_range"):
        assert Image.open(copy.folder / f"plots/{name}.png").size[0] > 500
    assert copy.run("git", "status", "--short", "plots/preview.png", "plots/lr_range.png") == ""


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["loss=weighted", "+weighting.weighted.costs.red.bleu=5"],
         "params.yaml: weighting.weighted.costs.red.bleu: no such class, did you mean blue?"),
        (["student.slim=0.1", "student.freeze=backbone"],
         "params.yaml: student.slim: the network has no trainable BatchNorm"),
        (["student.prior={pink: 0.1}"], "params.yaml: student.prior.pink: no such class"),
        (["student.ema=0.9", "student.swa=1"], "params.yaml: student: ema and swa: one of them must be 0"),
    ],
)  # fmt: skip
def test_invalid_strategies_stop_before_training(copy, overrides, message):
    words = [word for pair in overrides for word in ("-S", pair)]
    output = copy.run("dvc", "exp", "run", *words, code=255)
    assert f"error: {message}" in output and "epoch 1/" not in output


def test_a_changed_test_picture_retrains_nothing(copy, tmp_path):
    pictures = draw_tiny_images(tmp_path / "own", 8)
    edit_params(copy.folder, data__root=str(pictures))
    copy.run("dvc", "repro")
    Image.new("RGB", (40, 24), (9, 200, 9)).save(pictures / "test/green/0.png")
    assert list_stages(copy.run("dvc", "repro")) == ["check_images", "evaluate", "export_jit", "report"]


def test_a_changed_test_picture_retrains_nothing_in_divided_folders(copy, tmp_path):
    """Then the project's own data folder, with the pictures beside the outputs, by the command it names."""
    pictures = draw_tiny_images(tmp_path / "own", 40, splits=("train",)) / "train"
    places = {f"data__{split}": "." for split in ("train", "val", "test")}
    edit_params(copy.folder, data__root=str(pictures), **places)
    copy.run("dvc", "repro")
    rows = (copy.folder / "data/manifest/test.csv").read_text().splitlines()
    path = pictures / rows[1].split(",")[0]
    image = Image.open(path)
    image.putpixel((9, 9), tuple(level ^ 1 for level in image.getpixel((9, 9))))
    image.save(path)
    assert list_stages(copy.run("dvc", "repro")) == ["check_images", "evaluate", "export_jit", "report"]
    (copy.folder / "data/Training").mkdir()
    for name in ("blue", "green", "red"):
        shutil.copytree(pictures / name, copy.folder / "data/Training" / name)
    own = {f"data__{split}": split for split in ("train", "val", "test")}
    edit_params(copy.folder, data__root=str(copy.folder / "data"), **own)
    error = find_errors(copy.run("make", "-o", "install", "repro", code=2))
    command = re.search(r"\(dvc exp run (.*), or make init DATA=.*\)$", error).group(1)
    assert command == "-S data.train=Training -S data.val=Training -S data.test=Training"
    copy.run("dvc", "exp", "run", *command.split(), "check_images")
    assert "Training/" in (copy.folder / "data/manifest/test.csv").read_text()
    assert "check_images" not in copy.run("dvc", "status", "check_images")


def test_external_knowledge_is_added(copy):
    text = (copy.folder / "data/distill/distill_big.txt").read_text()
    (copy.folder / "data/external/distill_x.txt").write_text(text)
    output = copy.run("dvc", "repro", "make_curriculum")
    assert list_stages(output) == ["dump_knowledge", "make_curriculum"]
    names = sorted(path.name for path in (copy.folder / "data/distill").iterdir())
    assert names == ["distill_big.txt", "distill_external_distill_x.txt"]


def test_two_teachers_and_the_labels_are_averaged(copy):
    yaml, path = YAML(), copy.folder / "params.yaml"
    params = yaml.load(path)
    params["teacher"]["small"] = copy_of(params["teacher"]["big"]) | {"seed": 5, "loss": "bce"}
    params["knowledge"]["teachers"] = ["big", "small"]
    yaml.dump(params, path)
    shutil.copy(copy.folder / "data/label.txt", copy.folder / "data/external/distill_label.txt")
    output = copy.run("dvc", "repro")
    assert list_stages(output) == ["train_teacher@small", "dump_knowledge", "make_curriculum", *STUDENT]
    files = sorted(file.name for file in (copy.folder / "data/distill").iterdir())
    assert files == ["distill_big.txt", "distill_external_distill_label.txt", "distill_small.txt"]
    assert (copy.folder / "data/distill/distill_small.txt").read_text().startswith("# base=bce")
    assert set(read_metrics(copy)[1]["test"]["teacher"]) == {"big", "small"}


def test_evaluating_other_weights_leaves_the_pipeline_unchanged(copy):
    before = copy.results()
    output = copy.run(
        "make",
        "-s",
        "evaluate",
        "WEIGHTS=data/models/teachers/big.safetensors",
        "SPLIT=val",
        "-o",
        ".venv/.installed",
    )
    assert re.search(r"big: accuracy [01]\.\d+ on val", output)
    folder = copy.folder / ".scratch/evaluate/big-val"
    assert {path.name for path in folder.iterdir()} == {
        "test.json",
        "calibration.json",
        "classes.csv",
        "predictions.csv",
        "teacher_predictions",
        "confusion.csv",
        "per_class.csv",
        "confusion.png",
    }
    val = json.loads((copy.folder / "metrics/teacher/big.json").read_text())["teacher"]["big"]["val"][
        "accuracy"
    ]
    assert json.loads((folder / "test.json").read_text())["val"]["accuracy"] == pytest.approx(val)
    assert copy.results() == before and copy.run("git", "status", "--porcelain") == ""


def find_errors(output):
    lines = [line for line in output.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in output
    return "\n".join(lines)


@pytest.mark.parametrize(
    "key, value, stage, message",
    [
        ("student__arch", "resnet1888", "train_student",
         "params.yaml: student.arch: unknown network 'resnet1888'"),
        ("images__width", 3, "check_images",
         "params.yaml: images.width: must be a whole number in [8, 4096], got 3"),
        ("student__pretrained", "none.safetensors", "train_student",
         "params.yaml: student.pretrained: none.safetensors: no such file"),
        ("processes", 3, "train_student",
         "params.yaml: teacher.big.batch_size: must be a multiple of processes, 3, got 8"),
        ("student__sync_batchnorm", True, "train_student",
         "params.yaml: student.sync_batchnorm: true, but it runs on GPUs only"),
        ("teacher__big__lr", 1e-9, "train_teacher@big dump_knowledge", "teacher big: accuracy 0."),
        ("export__tolerance", 0.0, "export_jit", "data/export/student.pt: differs from the model by "),
    ],
)  # fmt: skip
def test_an_error_is_one_line_and_its_remedy_works(copy, key, value, stage, message):
    before = copy.results()
    edit_params(copy.folder, **{key: value})
    output = copy.run("dvc", "repro", "-s", *stage.split(), code=255)
    lines = find_errors(output).splitlines()
    assert lines[0].startswith(f"error: {message}") and len(lines) == (2 if key == "processes" else 1)
    assert find_errors(output).endswith("git checkout dvc.lock metrics plots && dvc checkout -f")
    copy.run("git", "checkout", "params.yaml", "dvc.lock", "metrics", "plots")
    copy.run("dvc", "checkout", "-f")
    assert copy.results() == before and UP_TO_DATE in copy.run("dvc", "repro")


def test_an_unknown_teacher_is_refused(copy):
    edit_params(copy.folder, knowledge__teachers=["bigg"])
    output = copy.run("python", "-m", "stages.check_images", "--preflight", code=1)
    assert (
        find_errors(output)
        == "error: params.yaml: knowledge.teachers: no entry teacher.bigg, did you mean big?"
    )
