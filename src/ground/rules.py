"""Rules across the keys of params.yaml, and those that need the classes and how many pictures each has.

Types and ranges of single keys are in params.schema.json. All of this is known without torch and without
opening a picture, so it is refused before either: what the file alone tells whenever it is read, the rest by
check_images. C classes.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from unicodedata import normalize

from src.ground.errors import cut, list_some
from src.ground.names import ALIASES
from src.ground.validating import quote, suggest
from src.ground.weights import FETCHED, LIBRARY_WEIGHTS, NO_WEIGHTS, find_file, spell_missing

Params = Mapping[str, Any]
BY_CLASS = {"class_weights", "prior", "costs", "low_of", "high_of"}  # keys that may have a value per class
DEMO_CLASSES, DEMO_PICTURES = 10, 1797
LAST_PORT = 65535
WEIGHTS = Path("data/models")  # where stages write them
NO_LIST = "none"  # of data.list
ANY_FILE = "any"  # of pretrained_sha256, if it is no hash
NO_CPU = "true, but it runs on GPUs only, not on a CPU (set false)"
NO_FLOAT16 = "float16, but it is for GPUs only, not for a CPU (set float32 or bfloat16)"
NO_BFLOAT16 = "bfloat16, but on a CPU it takes AVX512-BF16 or AMX, and cpu_isa: auto (set float32)"
SELF_COST = "a class cannot be mistaken for itself (use class_weights to weight whole classes)"
NO_WEIGHT = "every class with pictures has weight 0 (give one of them a positive weight)"
TOLERANCE = 1e-6  # of a sum of probabilities


@dataclass(frozen=True)
class Learner:
    """The student or a teacher: the values that set its training."""

    key: str  # its section: student or teacher.NAME
    settings: Params  # of that section; a teacher's over teacher_common
    strategy: Params  # loss and weighting; a teacher's are among its settings
    weighting_key: str  # the section of the weightings


def list_teachers(params: Params, names: Sequence[str]) -> list[Learner]:
    """The teachers of these names, each over teacher_common."""
    found = []
    for name in names:
        key, settings = f"teacher.{name}", merge(params["teacher_common"], params["teacher"][name])
        found.append(Learner(key, settings, settings, f"{key}.weighting"))
    return found


def list_learners(params: Params) -> list[Learner]:
    """The teachers of knowledge.teachers, then the student."""
    return [*list_teachers(params, params["knowledge"]["teachers"]), find_student(params)]


def find_student(params: Params) -> Learner:
    return Learner("student", params["student"], params, "weighting")


def merge(below: Params, above: Params) -> dict[str, Any]:
    """The values of two mappings, those of `above` before those of `below`, at any depth.

    A mapping by class is one value: what `above` gives takes its place.
    """
    merged = dict(below)
    for name, value in above.items():
        old = below.get(name)
        if isinstance(old, dict) and isinstance(value, dict) and name not in BY_CLASS:
            value = merge(old, value)
        merged[name] = value
    return merged


# what the file alone tells


def find_conflicts(params: Params, broken: set[str]) -> Iterator[str]:
    """Values that exclude each other, as `key: rule, got values`; `broken` are sections not to look at."""
    for sections, find in RULES.items():
        if not broken & set(sections):
            yield from find(params)


def find_demo_conflicts(params: Params) -> Iterator[str]:
    train, val = params["demo"]["train"], params["demo"]["val"]
    if train + val > DEMO_PICTURES - DEMO_CLASSES:
        rule = f"train and val must leave at least {DEMO_CLASSES} of the {DEMO_PICTURES} digits for test"
        yield f"demo: {rule}, got {train} and {val}"


def find_data_conflicts(params: Params) -> Iterator[str]:
    data = params["data"]
    side, most = data["min_side"], data["max_pixels"]
    if side * side > most:
        yield f"data: max_pixels must be at least min_side x min_side, {side * side}, got {most}"
    parts = {name: data[name] for name in ("train", "val", "test")}
    yield from find_folder_conflicts(parts, data["list"])
    for name in data["unlabelled"]:
        if any(PurePosixPath(part).is_relative_to(name) for part in parts.values()):
            yield f"data.unlabelled: must not be a folder of labelled pictures, got {name!r}"
    val, test, group = (data["split"][name] for name in ("val", "test", "group"))
    if val + test >= 1:
        yield f"data.split: val and test must leave a share for train, got {val} and {test}"
    try:
        re.compile(group)
    except (re.error, OverflowError, RecursionError) as error:
        yield f"data.split.group: must be none, subfolder or a regular expression, got {group!r}: {error}"


def find_folder_conflicts(folders: Mapping[str, str], listed: str) -> Iterator[str]:
    """The rules of the splits' folders and of the list, all relative to data.root."""
    outside = "must be inside data.root, relative to it, without .."
    paths = {name: PurePosixPath(folder) for name, folder in folders.items()}
    for name, path in {**paths, **({} if listed == NO_LIST else {"list": PurePosixPath(listed)})}.items():
        if path.is_absolute() or ".." in path.parts:
            yield f"data.{name}: {outside}, got {str(path)!r}"
    for name, path in paths.items():
        above = next(
            (other for other in paths if path != paths[other] and path.is_relative_to(paths[other])), ""
        )
        if above:
            yield f"data.{name}: must not be inside data.{above}, {folders[above]!r}, got {folders[name]!r}"
    if listed != NO_LIST and set(folders.values()) != {"."}:
        yield (
            "data.list: with a list data.train, data.val and data.test must be . (DVC then watches the whole "
            f"root), got {', '.join(folders.values())}"
        )


def find_image_conflicts(params: Params) -> Iterator[str]:
    grey_range = params["images"]["grey_range"]
    if isinstance(grey_range, list) and (len(grey_range) != 2 or grey_range[0] >= grey_range[1]):
        rule = "grey_range must be file, set, or [lowest, highest] with lowest < highest"
        yield f"images: {rule}, got {grey_range}"


def find_distill_conflicts(params: Params) -> Iterator[str]:
    distill = params["distill"]
    view, knowledge = distill["view"], params["knowledge"]
    folds = knowledge["folds"]
    whole = all(type(one) is int for one in folds)  # DVC would name a stage after 3.0
    if folds and (not whole or folds != [*range(1, len(folds) + 1)] or len(folds) < 2):
        rule = "must be [] or whole numbers that count from 1 on, at least [1, 2]"
        yield f"knowledge.folds: {rule}, got {folds}"
    if view != "plain" and distill["share"] and not knowledge["teachers"]:
        yield f"distill.view: {view} needs a teacher in knowledge.teachers, got none (name one, or set plain)"
    if distill["loss"] != "kl" and distill["share"] and "softmax" not in params["loss"].split("+"):
        word = f"{distill['loss']} needs softmax, got loss: {params['loss']}"
        yield f"distill.loss: {word} (set it kl, or loss softmax)"
    if view == "stored" and not knowledge["views"]:
        yield "knowledge.views: must be at least 1 with distill.view: stored, got 0"


def find_machine_conflicts(params: Params) -> Iterator[str]:
    processes, nodes = params["processes"], params["distributed"]["nodes"]
    if processes % nodes:
        yield f"processes: must be a multiple of distributed.nodes, got {processes} and {nodes}"
    port = params["distributed"]["rendezvous"].rpartition(":")[2]
    if int(port) > LAST_PORT:
        yield f"distributed.rendezvous: the port must be at most {LAST_PORT}, got {port}"


def find_teacher_conflicts(params: Params) -> Iterator[str]:
    for learner in list_teachers(params, list(params["teacher"])):
        yield from find_learner_conflicts(learner)


def find_student_conflicts(params: Params) -> Iterator[str]:
    yield from find_learner_conflicts(find_student(params))


def find_learner_conflicts(learner: Learner) -> Iterator[str]:
    """The rules of a training's schedule, averages, frozen layers and initial weights."""
    key, one = learner.key, learner.settings
    epochs, steps, factors = one["epochs"], one["step_epochs"], one["step_factors"]
    if one["warmup"] >= epochs:
        yield f"{key}: warmup must be below epochs, got {one['warmup']} and {epochs}"
    if list(steps) != sorted(set(steps)):
        yield f"{key}: step_epochs must be increasing, got {quote(list(steps))}"
    elif steps and steps[-1] >= epochs:
        yield f"{key}: step_epochs must be below epochs, got {steps[-1]} and {epochs}"
    borders = len(steps) or 3  # [] stands for three
    if (steps or one["schedule"] == "step") and len(factors) != borders + 1:
        rule = "step_factors must be one more than step_epochs"
        yield f"{key}: {rule}, got {len(factors)} factors and {borders} epochs"
    if one["ema"] and one["swa"]:
        yield f"{key}: ema and swa: one of them must be 0, got {one['ema']} and {one['swa']}"
    if one["patience"] and one["swa"]:
        yield f"{key}: patience and swa: one of them must be 0, got {one['patience']} and {one['swa']}"
    if one["swa"] >= epochs:
        yield f"{key}: swa must be below epochs, got {one['swa']} and {epochs}"
    elif one["swa"] and one["swa"] > epochs - one["warmup"] > 0:
        rule = f"swa must be at most epochs - warmup, {epochs - one['warmup']}, to average no warm-up"
        yield f"{key}: {rule}, got {one['swa']}"
    if one["swa_lr"] and not one["swa"]:
        yield f"{key}: swa_lr must be 0 if swa is 0, got {one['swa_lr']}"
    if one["swa"] and one["freeze"] not in ("none", "backbone"):
        rule = "swa recomputes every BatchNorm, so freeze must be none or backbone with it"
        yield f"{key}: {rule}, got {one['freeze']}"
    if one["pretrained_sha256"] != ANY_FILE and one["pretrained"] == NO_WEIGHTS:
        yield f"{key}: pretrained_sha256 must be any if pretrained is none, got {one['pretrained_sha256']}"
    if one["probe_first"] and (one["pretrained"] == NO_WEIGHTS or one["freeze"] == "backbone"):
        rule = "probe_first must be false if pretrained is none or freeze is backbone"
        yield f"{key}: {rule}, got {one['pretrained']} and {one['freeze']}"


def find_teacher_size_conflicts(params: Params) -> Iterator[str]:
    for learner in list_teachers(params, list(params["teacher"])):
        yield from find_size_conflicts(learner, f"{learner.key}.augment", params["images"])


def find_student_size_conflicts(params: Params) -> Iterator[str]:
    yield from find_size_conflicts(find_student(params), "augment", params["images"])


def find_size_conflicts(learner: Learner, key: str, images: Params) -> Iterator[str]:
    """The rules of the sizes that pictures have in training; `key` is the section that sets them."""
    one, height, width = learner.strategy["augment"], images["height"], images["width"]
    divisor, scales, epochs = one["size_divisor"], one["train_scales"], learner.settings["epochs"]
    if height % divisor or width % divisor:
        rule = "size_divisor must divide images.height and images.width"
        yield f"{key}: {rule}, got {divisor} for {height} x {width}"
    elif not scale_side(min(height, width), min(scales) * (1 - one["multi_scale"]), divisor):
        rule = f"train_scales and multi_scale must not round {height} x {width} pixels to 0"
        yield f"{key}: {rule}, got {quote(scales)}, {one['multi_scale']} and size_divisor {divisor}"
    if len(scales) > epochs:
        yield f"{key}: train_scales must be at most {epochs}, one per epoch, got {len(scales)}"


def scale_side(side: int, scale: float, divisor: int) -> int:
    """`scale` times a side in pixels, as the nearest multiple of `divisor`; 0 is none to train on."""
    return divisor * round(scale * side / divisor)


def find_curriculum_conflicts(params: Params) -> Iterator[str]:
    thresholds, weights = params["curriculum"]["thresholds"], params["curriculum"]["weights"]
    if len(thresholds) != len(weights):
        rule = "thresholds and weights must have the same length"
        yield f"curriculum: {rule}, got {len(thresholds)} and {len(weights)}"
    falling = all(high > low for high, low in zip(thresholds, thresholds[1:], strict=False))
    if not falling or thresholds[-1] != 0:
        yield f"curriculum: thresholds must decrease and end at 0, got {quote(thresholds)}"
    if not any(weights):
        yield f"curriculum: at least one weight must be positive, got {quote(weights)}"


def find_sharing_conflicts(params: Params) -> Iterator[str]:
    """What several processes cannot share, and a CPU cannot run."""
    processes = params["processes"]
    for learner in list_learners(params):
        if problem := spell_sharing_problem(learner.settings["batch_size"], processes):
            yield f"{learner.key}.batch_size: {problem}"
        if params["device"] != "cpu":
            continue
        if learner.settings["sync_batchnorm"]:
            yield f"{learner.key}.sync_batchnorm: {NO_CPU}"
        if learner.settings["precision"] == "float16":
            yield f"{learner.key}.precision: {NO_FLOAT16}"
        if learner.settings["precision"] == "bfloat16" and params["cpu_isa"] != "auto":
            yield f"{learner.key}.precision: {NO_BFLOAT16}"


def spell_sharing_problem(batch_size: int, processes: int) -> str:
    """Why a batch cannot be split evenly among processes; empty if it can."""
    if batch_size % processes == 0:
        return ""
    rule = f"must be a multiple of processes, {processes}"
    return f"{rule}, got {batch_size} (it counts the pictures of all processes)"


RULES = {  # the sections that a rule looks at -> the rule
    ("demo",): find_demo_conflicts,
    ("data",): find_data_conflicts,
    ("images",): find_image_conflicts,
    ("processes", "distributed"): find_machine_conflicts,
    ("teacher", "teacher_common"): find_teacher_conflicts,
    ("curriculum",): find_curriculum_conflicts,
    ("distill", "knowledge", "loss"): find_distill_conflicts,
    ("student",): find_student_conflicts,
    ("images", "teacher", "teacher_common"): find_teacher_size_conflicts,
    ("images", "student", "augment"): find_student_size_conflicts,
    (
        "student",
        "teacher",
        "teacher_common",
        "knowledge",
        "processes",
        "device",
        "cpu_isa",
    ): find_sharing_conflicts,
}


# what the classes, the numbers of pictures and the files of weights tell


def find_class_conflicts(learners: Sequence[Learner], counts: Mapping[str, int]) -> Iterator[str]:
    """Settings by class that the classes contradict, whose numbers of training pictures are `counts`."""
    classes, seen = list(counts), [name for name, count in counts.items() if count]
    for learner in learners:
        for key, names in list_by_class(learner):
            yield from find_unknown_classes(names, classes, key)
            if key.endswith(".costs"):
                yield from (f"{key}.{name}.{name}: {SELF_COST}" for name in names if name in names[name])
            if key.endswith(".class_weights") and not any(names.get(name, 1) for name in seen):
                yield f"{key}: {NO_WEIGHT}"
        yield from find_prior_conflicts(learner, classes)


def find_step_conflicts(learners: Sequence[Learner], counts: Mapping[str, int]) -> Iterator[str]:
    """Steps that take more than all training pictures, whose number by class is `counts`."""
    for learner in learners:
        fraction, size = learner.settings.get("fraction", 1), learner.settings["batch_size"]
        pictures = sum(count_fraction(count, fraction) for count in counts.values())
        if problem := spell_step_problem(size, learner.settings["accumulate"], pictures):
            yield f"{learner.key}.{problem}"


def find_missing_weights(learners: Sequence[Learner]) -> Iterator[str]:
    """Files of pretrained weights that are not there, and that no stage writes."""
    for learner in learners:
        pretrained, arch = learner.settings["pretrained"], learner.settings["arch"].partition(".")[0]
        path = find_file(pretrained)
        is_file = pretrained not in (NO_WEIGHTS, LIBRARY_WEIGHTS)
        if is_file and WEIGHTS not in path.parents and not path.is_file():
            yield f"{learner.key}.pretrained: {spell_missing(pretrained)}"
        if pretrained in FETCHED and ALIASES.get(arch, (arch, {}))[0] != FETCHED[pretrained].arch:
            wanted, found = FETCHED[pretrained].arch, arch
            yield f"{learner.key}.pretrained: {pretrained} is of {wanted}, not of {found} (set arch to it)"


def count_fraction(count: int, fraction: float) -> int:
    """How many of `count` pictures of a class a `fraction` is: at least one."""
    return min(count, max(1, round(fraction * count)))


def list_by_class(learner: Learner) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The mappings by class that have an effect on a training, with their keys."""
    for name in ("class_weights", "prior"):
        if isinstance(learner.settings[name], dict):
            yield f"{learner.key}.{name}", learner.settings[name]
    for word in learner.strategy["loss"].split("+"):
        for name, value in learner.strategy["weighting"].get(word, {}).items():
            if name in BY_CLASS:
                yield f"{learner.weighting_key}.{word}.{name}", value


def find_unknown_classes(values: Mapping[str, Any], classes: Sequence[str], key: str) -> Iterator[str]:
    """The keys of a mapping by class, or of a mapping of such mappings, that are no classes."""
    known = set(classes)
    for name, value in values.items():
        if name not in known:
            yield spell_unknown_class(name, classes, key)
        elif isinstance(value, dict):
            yield from find_unknown_classes(value, classes, f"{key}.{name}")


def spell_unknown_class(name: str, classes: Sequence[str], key: str) -> str:
    """That `name`, a key of the section `key`, is no class, and which ones there are."""
    known = f" ({len(classes)} classes: {cut(list_some(classes, most=10))})"
    twin = next((one for one in classes if normalize("NFC", one) == normalize("NFC", name)), None)
    if twin:
        known = " (the folder's name has the same letters in another Unicode form: copy it from there)"
    return f"{key}.{cut(name)}: no such class{known if twin else suggest(name, classes) or known}"


def find_prior_conflicts(learner: Learner, classes: Sequence[str]) -> Iterator[str]:
    """A prior that a softmax cannot give, since its probabilities sum to 1."""
    prior, words = learner.settings["prior"], learner.strategy["loss"].split("+")
    if not isinstance(prior, dict) or "softmax" not in words or not set(prior) <= set(classes):
        return
    if problem := spell_prior_problem(prior, len(classes)):
        yield f"{learner.key}.prior: {problem}"


def spell_prior_problem(prior: Mapping[Any, float], num_classes: int) -> str:
    """Why these probabilities of some of C classes, by class, are none of a softmax; empty if they are."""
    total, rest = sum(prior.values()), num_classes - len(prior)
    if total < 1 if rest else abs(1 - total) <= TOLERANCE:
        return ""
    rule = "sum to less than 1, since other classes share the rest" if rest else "sum to 1"
    return f"the probabilities must {rule}, got {total:g}"


def spell_step_problem(batch_size: int, accumulate: int, pictures: int) -> str:
    """Why a step cannot take its batches from that many pictures, after the key; empty if it can."""
    if batch_size * accumulate <= pictures:
        return ""
    if accumulate == 1:
        name, product = "batch_size", f"{batch_size}"
    else:
        name, product = "batch_size times accumulate", f"{batch_size} x {accumulate}"
    return f"{name}: must be at most {pictures}, the number of training pictures, got {product}"
