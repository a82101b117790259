"""All values of the page, from the files that the stages before wrote."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from markupsafe import Markup

from src.ground.errors import UserError
from src.ground.files import sha256
from src.ground.params import flatten, read_params
from src.ground.strict_yaml import parse_yaml
from src.ground.tables import LARGEST, REMEDY, parse_numbers, read_numbers, read_table
from src.losses.bases import BASES
from src.networks.checkpoint import Facts, check_facts, load_model
from src.pictures.manifest import SPLITS, Manifest, read_manifest
from src.pictures.reading import Pictures, check_count, read_pictures
from src.report.explaining import CHOSEN, Model, choose_rows, explain
from src.report.findings import list_confused, measure_naive, rank_classes
from src.report.sections import (
    IN_CELL,
    MOST_CLASSES,
    Item,
    count_pictures,
    describe_agreement,
    describe_naive,
    describe_sureness,
    draw_coverage,
    draw_curves,
    draw_reliability,
    fill_matrix,
    isolate,
    list_best_and_worst,
    list_galleries,
    show,
    tabulate_figures,
)
from src.report.settings import HeatmapSettings, ReportSettings
from src.report.thumbnails import Thumbnails
from src.results.calibration import NEVER, Calibration, read_calibration
from src.results.figures import check_teachers, read_classes, read_figures
from src.results.measuring import score
from src.results.metrics import BINS
from src.results.predictions import Measured, Predictions, read_predictions
from src.teaching.suspects import read_suspects

SHIPPED = Path(__file__).parent / "shipped.yaml"  # params.yaml as Dojo comes
STUDENT = "student"
MOST_PAIRS = 30
MOST_ROWS = 100  # of the table of classes
MOST_REFUSED = 100
COUNTS = ("class", *SPLITS, "refused")  # of data/counts.csv
PER_CLASS = 6  # best, and worst, pictures of each class
SECTIONS = [
    ("figures", "What it can do"),
    ("confusion", "What is taken for what"),
    ("classes", "Class by class"),
    ("confidence", "How sure it is"),
    ("pictures", "Pictures worth a look"),
    ("heat", "Where it looks"),
    ("training", "How it learned"),
    ("data", "The pictures"),
    ("model", "What ships"),
    ("run", "The run"),
]


class Files(NamedTuple):
    """What the page is made from."""

    student: Path
    teachers: Path
    predictions: Path
    teacher_predictions: Path
    classes: Path
    calibration: Path
    suspects: Path
    counts: Path
    refused: Path
    export: Path
    metrics: Path
    curve: Path
    teacher_curves: Path


def gather(
    files: Files,
    teachers: Sequence[str],
    settings: ReportSettings,
    thumbnails: Thumbnails,
    fit: str,
    dct_scaling: bool,
) -> dict[str, Any]:
    """The values of page.html."""
    test, train = read_manifest("test"), read_manifest("train")
    pictures = read_counted("test", test, fit, dct_scaling)
    train_pictures = read_counted("train", train, fit, dct_scaling)
    facts = load_checked(files.student, test, pictures, fit)
    for name in teachers if draws_heat(settings.heatmaps) else ():
        load_checked(name_weights(files, name), test, pictures, fit)
    student = read_checked(files.predictions, test)
    others = [
        Measured(name, read_checked(files.teacher_predictions / f"{name}.csv", test)) for name in teachers
    ]
    metrics = read_figures(files.metrics / "test.json", len(test.classes))
    check_teachers(files.metrics / "test.json", metrics, teachers, len(test.classes))
    rows = read_classes(files.classes, test.classes)
    few = len(test.classes) <= MOST_CLASSES
    worst = [test.classes.index(row["class"]) for row in rank_classes(rows, MOST_CLASSES)]
    heat = gather_heat(files, student, others, settings.heatmaps, thumbnails, fit, dct_scaling)
    values = {
        "sections": [one for one in SECTIONS if one[0] != "heat" or heat["heat"] is not None],
        "classes": test.classes,
        "class_count": len(test.classes),
        "count": count_pictures(len(test.paths)),
        "models": [STUDENT, *teachers],
        "figures": tabulate_figures(metrics),
        "naive": describe_naive(measure_naive(train, test, train_pictures, pictures)),
        "agreement": describe_agreement(student, others),
        "galleries": list_galleries(student, others, test.paths, thumbnails, settings.gallery),
        "matrix": fill_matrix(student, test.paths, thumbnails) if few else None,
        "in_cell": IN_CELL,
        "pairs": list_confused(student, MOST_PAIRS),
        "class_rows": rows if few else rank_classes(rows, MOST_ROWS),
        "by_class": list_best_and_worst(student, test.paths, thumbnails, sorted(worst), PER_CLASS),
        **gather_confidence(student, facts, read_calibration(files.calibration), metrics),
        **gather_suspects(files.suspects, thumbnails, settings.gallery),
        **gather_data(files, test.classes),
        **gather_run(files, facts, metrics),
        "curves": draw_curves(
            {STUDENT: files.curve, **{name: files.teacher_curves / f"{name}.csv" for name in teachers}}
        ),
        **heat,
    }
    values["left_out"] = thumbnails.left_out
    values["data"] = {
        "pictures": thumbnails.sources,
        "cells": values["matrix"].cells if values["matrix"] else {},
    }
    return values


def read_checked(path: Path, test: Manifest) -> Predictions:
    """Predictions of the pictures of test; a UserError if they are of other classes or other pictures."""
    if not path.is_file():
        raise UserError(f"{path}: no such file (dvc repro -f evaluate writes it)")
    predictions, paths = read_predictions(path)
    same = predictions.classes == test.classes and np.array_equal(predictions.labels, test.labels)
    if not same or paths != test.paths:
        raise UserError(f"{path}: predictions of other classes or pictures than test's {REMEDY}")
    return predictions


def read_counted(split: str, manifest: Manifest, fit: str, dct_scaling: bool) -> Pictures:
    """The pictures of a split, as many as its manifest lists."""
    pictures = read_pictures(split, fit, dct_scaling)
    check_count(pictures, manifest, split)
    return pictures


def load_checked(path: Path, test: Manifest, pictures: Pictures, fit: str) -> Facts:
    """The facts of weights; a UserError if they are of other classes, or another size or fit, than test."""
    _, facts = load_model(path)
    check_facts(path, facts, test.classes, pictures.shape[1:3], fit)
    return facts


def gather_confidence(
    student: Predictions, facts: Facts, calibration: Calibration, metrics: Mapping[str, Any]
) -> dict[str, Any]:
    """The section on confidence."""
    probs = BASES[facts.base].soften(torch.from_numpy(student.probs), calibration.temperature).numpy()
    calibrated = Predictions(student.classes, student.labels, probs)
    return {
        "calibration": calibration,
        "calibrated": metrics["calibrated"],
        "fitted": read_params()["export"]["calibrate"],
        "never": calibration.threshold == NEVER,
        "bins": min(BINS, len(student.labels)),
        "reliability": draw_reliability(student, calibrated),
        "coverage": draw_coverage(calibrated, calibration),
    }


def gather_suspects(path: Path, thumbnails: Thumbnails, most: int) -> dict[str, Any]:
    """The gallery of labels that may be wrong."""
    suspects = read_suspects(path)
    items = [
        Item(
            thumbnails.find(one.path),
            one.path,
            Markup("{}, believed {} (by {:.2f})").format(
                isolate(one.label), isolate(one.believed), one.confidence
            ),
        )
        for one in suspects[:most]
    ]
    return {"suspects": items, "suspect_count": len(suspects)}


def gather_data(files: Files, classes: Sequence[str]) -> dict[str, Any]:
    """The section on the pictures: counts of each class (C,), and refused files."""
    columns, lines = read_table(files.counts, COUNTS)
    rows = []
    for line, row in lines:
        parse_numbers(files.counts, line, row[1:], 0, LARGEST)
        rows.append(row)
    if [row[0] for row in rows] != [*classes]:
        raise UserError(f"{files.counts}: counts of other classes than test's {REMEDY}")
    refused = [tuple(row) for _, row in read_table(files.refused, ("path", "reason"))[1]]
    return {
        "data_columns": columns,
        "data_rows": rows,
        "refused": refused[:MOST_REFUSED],
        "refused_count": len(refused),
    }


def gather_run(files: Files, facts: Facts, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Title, headline, facts of the exported file, and the settings."""
    params = read_params()
    own, shipped = dict(flatten(params)), dict(flatten(parse_yaml(SHIPPED.read_bytes(), str(SHIPPED))))
    own.pop("executor")  # whoever checks and dumps, the page is the same
    trained = read_numbers(files.metrics / "student.json", (STUDENT,), ("parameters", "best_epoch"))
    data = read_numbers(files.metrics / "data.json", ("data",), SPLITS)
    exported = sorted(files.export.iterdir())
    root = Path(params["data"]["root"])
    return {
        "title": f"{root.name}: {facts.arch}, {metrics['accuracy']:.1%} right",
        "subtitle": f"{len(facts.classes)} classes, {data['train']:,} pictures to learn from, "
        f"{data['val']:,} to choose by, {data['test']:,} to measure by",
        "headline": [
            (f"{metrics['accuracy']:.1%}", "of the test pictures are right"),
            describe_sureness(metrics["calibrated"]),
            (f"{trained['parameters'] / 1e6:.2f} M", "parameters"),
        ],
        "best_epoch": trained["best_epoch"],
        "facts": [
            ("network", f"{facts.arch}, {trained['parameters']:,} parameters"),
            ("input", f"{facts.height} x {facts.width} pixels, fitted by {facts.fit}"),
            *(
                (path.name, f"{path.stat().st_size / 1e6:.2f} MB, SHA-256 {sha256(path)[:16]}...")
                for path in exported
            ),
            ("pretrained from", facts.pretrained),
            ("pictures it learned from", f"SHA-256 {facts.data[:16]}..."),
            (
                "largest allowed difference of an exported file from the measured network",
                f"{params['export']['tolerance']:g}, of a probability",
            ),
        ],
        "changed": [
            (key, own[key], shipped.get(key, "absent")) for key in own if own[key] != shipped.get(key)
        ],
        "settings": list(own.items()),
    }


def draws_heat(settings: HeatmapSettings) -> bool:
    """Whether there are heat maps, and with them a need for the teachers' weights."""
    return bool(settings.methods and settings.pictures)


def name_weights(files: Files, teacher: str) -> Path:
    """The weights of a teacher."""
    return files.teachers / f"{teacher}.safetensors"


def gather_heat(
    files: Files,
    student: Predictions,
    teachers: Sequence[Measured],
    settings: HeatmapSettings,
    thumbnails: Thumbnails,
    fit: str,
    dct_scaling: bool,
) -> dict[str, Any]:
    """The section of heat maps; a network or a method without one is told of, and the others are drawn."""
    if not draws_heat(settings):
        return {"heat": None, "heat_errors": [], "heat_caption": ""}
    models = [Model(STUDENT, files.student, student)]
    models += [Model(one.name, name_weights(files, one.name), one.predictions) for one in teachers]
    split, cpu = settings.split, torch.device("cpu")
    if split != "test":
        models = [
            model._replace(predictions=score(model.weights, split, "auto", fit, dct_scaling, cpu).predict())
            for model in models
        ]
    rows = choose_rows(settings.pick, models)[: settings.pictures]
    pictures, paths = read_pictures(split, fit, dct_scaling), read_manifest(split).paths
    maps, errors = explain(models, rows, paths, pictures, settings.methods, thumbnails)
    told = models[0].predictions
    return {
        "heat": [{**show(told, row, paths, thumbnails)._asdict(), "maps": maps[row]} for row in rows],
        "heat_errors": errors,
        "heat_caption": f"Pictures of {split}: {CHOSEN[settings.pick]}, if these are too few also those of "
        "which it is least sure; for the predicted class and, where "
        "it differs, the true one.",
    }
