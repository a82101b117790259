"""Write every teacher's predictions for the training pictures: plain ones, or stored augmented views of them.

params  knowledge.teachers, knowledge.folds, knowledge.min_accuracy, knowledge.batch_size, knowledge.top,
        data.unlabelled, device, threads, cpu_isa, tf32, processes, images.fit, images.dct_scaling
reads   data/models/teachers      NAME.safetensors for each of knowledge.teachers
        data/models/folds         the same, trained without each of knowledge.folds
        data/external             distill*.txt: knowledge from outside the pipeline
        data/manifest/classes.json
        data/manifest/grey_range.json
        data/manifest/{train,val}.csv
        data/packed/{train,val}.npy
        data/unlabelled           NAME.csv, NAME.npy for each of data.unlabelled
        data/views.json
writes  data/distill              distill_NAME: a probability per picture and class; or no_teacher.txt
        data/label.txt            the same for the labels: 1 for the true class
removes metrics and plots of teachers that are not in knowledge.teachers
run     python -m stages.dump_knowledge
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from src.batches.views import list_views
from src.ground.errors import UserError, run
from src.ground.kinds import BatchSize
from src.ground.params import read, read_top
from src.machine.collectives import is_main
from src.machine.runtime import MachineSettings, start_machine
from src.networks.asking import Panel, join_parts
from src.networks.checkpoint import Facts, check_facts, load_model
from src.networks.network import Network
from src.networks.predict import choose_batch_size
from src.pictures.manifest import Manifest
from src.pictures.reading import Pictures, read_learning_pictures, resize_pictures
from src.pictures.unlabelled import find_dropped_lists, join_pictures, read_unlabelled
from src.teaching.folds import assign_folds, find_dropped_folds, name_weights
from src.teaching.knowledge_array import describe_making, write_arrays
from src.teaching.knowledge_file import PATTERN, write_probs
from src.teaching.knowledge_folder import name_arrays, name_text, take_over
from src.teaching.labels import LabelTargets
from src.teaching.teachers import check_teacher, find_dropped, find_dropped_figures
from src.teaching.views import read_views

Parts = Iterator[tuple[slice, np.ndarray]]  # probabilities (n, C) of some rows

TEACHERS = Path("data/models/teachers")
EXTERNAL = Path("data/external")
DISTILL = Path("data/distill")
NO_TEACHER = DISTILL / "no_teacher.txt"  # DVC warns of an empty folder at each stage
LABELS = Path("data/label.txt")


def main() -> None:
    names, fit = read(tuple[str, ...], "knowledge.teachers"), read(str, "images.fit")
    least, top = read(float, "knowledge.min_accuracy"), read(int, "knowledge.top")
    wanted: int | str = read(BatchSize, "knowledge.batch_size")  # type: ignore[arg-type]  # of a union
    folds = read(tuple[int, ...], "knowledge.folds")
    machine = read_top(MachineSettings)
    device = start_machine(machine, seed=0)
    pictures, views = read_learning_pictures(fit, read(bool, "images.dct_scaling")), read_views()
    train, val, size = pictures.train, pictures.val, pictures.size
    folders = read(tuple[str, ...], "data.unlabelled")
    others = read_unlabelled(folders, fit, read(bool, "images.dct_scaling"))
    learned = join_pictures(pictures.train_pictures, others)
    paths = [*train.paths, *others.paths]
    batch_size = choose_batch_size(wanted, *size)
    DISTILL.mkdir(parents=True, exist_ok=True)
    warn_of_dropped(find_dropped(TEACHERS, names), "knowledge.teachers")
    warn_of_dropped(find_dropped_folds(folds, names), "knowledge.folds")
    warn_of_dropped(find_dropped_lists(folders), "data.unlabelled")
    if is_main():
        for path in find_dropped_figures(names):
            path.unlink()
            print(f"{path}: removed, it is not in knowledge.teachers")

    seen: Sequence[Pictures]
    if views:
        seen = list_views(learned, views.augment, views.seed, views.count, size, device)
    else:
        seen = [resize_pictures(learned, *size)]
    asked = np.zeros(len(paths), int)  # whom of each picture: its fold's network, 0 is the teacher itself
    if folds:
        asked[: len(train.labels)] = assign_folds(train.labels, len(folds))
    for name in names:
        weights = TEACHERS / f"{name}.safetensors"
        model, facts = load_model(weights)
        check_facts(weights, facts, train.classes, size, fit)
        files = [weights, *(name_weights(fold, name) for fold in folds)]
        networks = [model, *(load_fold(path, name, facts) for path in files[1:])]
        panel = Panel(files, [one.to(device) for one in networks], facts.base, batch_size, device, machine)
        itself = np.zeros(len(val.labels), int)
        on_val = join_parts(panel.ask(itself, pictures.val_pictures, len(train.classes)))
        accuracy = check_teacher(name, on_val, val.labels, least)
        parts = [panel.ask(asked, one, len(train.classes)) for one in seen]
        if views is None and len(train.classes) <= top:
            on_train = write_as_text(name_text(DISTILL, name), facts.base, parts[0], train, paths)
        else:
            made = describe_making(TEACHERS, name, size, views)
            folder = name_arrays(DISTILL, name)
            on_train = write_as_arrays(folder, facts.base, parts, train, paths, top, made)
        print(f"teacher {name}: accuracy {accuracy:.4f} on val, {on_train:.4f} on train")
    if is_main():
        for path in sorted(EXTERNAL.glob(PATTERN)):
            take_over(path, DISTILL, paths, train.classes, top)
        if not any(DISTILL.iterdir()):
            NO_TEACHER.write_text("knowledge.teachers is empty, and so is data/external\n", encoding="utf-8")
        truth = LabelTargets(train.labels, len(train.classes))
        write_probs(LABELS, "softmax", truth, train.paths, train.classes)


def warn_of_dropped(paths: Sequence[Path], key: str) -> None:
    for path in paths:
        print(f"warning: {path}: not in {key}, but recorded in dvc.lock (make repro removes it)")


def load_fold(path: Path, name: str, facts: Facts) -> Network:
    """A teacher that has not learned from a fold; a UserError if it is another network than the teacher."""
    model, own = load_model(path)
    if (own.arch, own.classes, own.base) != (facts.arch, facts.classes, facts.base):
        raise UserError(f"{path}: another network or other classes than teacher {name}'s (run dvc repro)")
    return model


def write_as_text(path: Path, base: str, parts: Parts, train: Manifest, paths: Sequence[str]) -> float:
    """Write a teacher's probabilities as they come; its accuracy on train. Only the main process writes."""
    right: list[np.ndarray] = []
    rows = (row for part, probs in watch(parts, train.labels, right) for row in probs)
    if is_main():
        write_probs(path, base, rows, paths, train.classes)
    deque(rows, maxlen=0)  # the others compute their share
    return float(np.concatenate(right).mean())


def write_as_arrays(
    folder: Path,
    base: str,
    views: Sequence[Parts],
    train: Manifest,
    paths: Sequence[str],
    top: int,
    made: dict[str, Any],
) -> float:
    """The same for each view, as arrays."""
    right: list[np.ndarray] = []
    arrays = partial(write_arrays, folder, base, paths, train.classes, len(views), top, made)
    with arrays() if is_main() else nullcontext() as writer:
        for view, parts in enumerate(views):
            for part, probs in watch(parts, train.labels, right):
                if writer:
                    writer.write(view, part, probs)
    return float(np.concatenate(right).mean())


def watch(parts: Parts, labels: np.ndarray, right: list[np.ndarray]) -> Parts:
    """The parts, after noting which of their largest probabilities are of the labels."""
    for part, probs in parts:
        own = labels[part]  # the last pictures have none
        right.append(probs[: len(own)].argmax(axis=1) == own)
        yield part, probs


if __name__ == "__main__":
    run(main, arguments=[])
