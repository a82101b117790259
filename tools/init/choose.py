"""From facts, costs and minutes to settings, each with its reason: a pure function."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Any

from src.ground.errors import UserError
from src.ground.rules import ANY_FILE
from src.ground.weights import NO_WEIGHTS
from tools.init.facts import Costs, Facts, Plan, Training
from tools.init.forecast import forecast, spell_time, total
from tools.init.recipes import (
    CHANCE,
    DIGIT_STEPS,
    DIGIT_STUDENT,
    DIGIT_STUDENTS,
    DIGIT_TEACHER,
    DIGITS,
    EFFORTS,
    ENLARGED,
    FEW,
    LESSER,
    LITE0,
    LONG,
    MANY,
    MOST,
    MOST_THREADS,
    MOST_WORKERS,
    NEW_STEPS,
    NEW_STUDENT,
    NEW_TEACHER,
    PHOTO_STEPS,
    PHOTOS,
    SHARE,
    SHORE,
    STUDENTS,
    TEMPERATURE,
    TUNED_STUDENT,
    TUNED_TEACHER,
    UNEVEN,
    Candidate,
    Recipe,
)

Weights = Mapping[str, str]  # network -> the value of `pretrained` that gives its weights


@dataclass(frozen=True)
class Wish:
    """What the user asks for."""

    minutes: float
    device: str  # of params.yaml
    gpu: bool  # whether the run will be on one
    size: str  # small or tiny
    threads: int  # of the machine that runs it


@dataclass(frozen=True)
class Choice:
    """Some keys of params.yaml with their new values, and the reason in one line."""

    values: Mapping[str, Any]
    what: str  # the values in a few words
    reason: str


@dataclass(frozen=True)
class Chosen:
    """The settings, and how long the run takes with them."""

    plan: Plan
    choices: Sequence[Choice]
    stages: Mapping[str, float]  # seconds; empty if nothing could be measured

    def settings(self) -> dict[str, Any]:
        """Every value by its dotted key."""
        return {key: value for choice in self.choices for key, value in choice.values.items()}


def choose(facts: Facts, weights: Weights, costs: Costs | None, wish: Wish) -> Chosen:
    """The largest plan that the minutes allow, as settings; without costs the largest of all.

    A UserError names the smallest number of minutes if even the smallest plan takes more.
    """
    plan = choose_plan(facts, weights, costs, wish)
    choices = [*choose_pictures(facts, plan, costs, wish), *choose_machine(wish, plan)]
    choices += choose_training(facts, plan, wish)
    return Chosen(plan, choices, forecast(plan, facts, costs) if costs else {})


# the plan


def list_candidates(facts: Facts, weights: Weights, size: str) -> list[Candidate]:
    """The networks that a plan may have, without repetition: those whose costs are needed."""
    teachers = [teacher for _, teacher in list_steps(facts, weights)]
    return list(dict.fromkeys([*teachers, choose_student(facts, weights, size)]))


def list_pretrained() -> list[Candidate]:
    """The networks whose weights a plan for photographs may start from."""
    students = [one for candidates in STUDENTS.values() for one in candidates if one.name]
    return list(dict.fromkeys([*students, *(teacher for _, teacher in PHOTO_STEPS)]))


def list_steps(facts: Facts, weights: Weights) -> list[tuple[int, Candidate]]:
    """Side and teacher, from the cheapest to the best, as far as these pictures and weights go."""
    steps: Sequence[tuple[int, Candidate]] = NEW_STEPS
    if facts.digits:
        steps = DIGIT_STEPS
    elif any(network.arch in weights for network in LESSER[LITE0]):
        steps = tuple((side, find_teacher(network, weights)) for side, network in PHOTO_STEPS)
    smallest = steps[0][0]
    fitting = [step for step in steps if step[0] <= max(smallest, ENLARGED * facts.short)]
    return list(dict.fromkeys(fitting))


def find_teacher(wanted: Candidate, weights: Weights) -> Candidate:
    """The network, or the next one that has weights."""
    return next(network for network in LESSER[wanted] if network.arch in weights)


def choose_student(facts: Facts, weights: Weights, size: str) -> Candidate:
    """The first that is small enough, with weights if it is meant to have them; else the smallest."""
    candidates = DIGIT_STUDENTS[size] if facts.digits else STUDENTS[size]
    there = [one for one in candidates if not one.name or one.arch in weights]
    fitting = [one for one in there if one.count(len(facts.train)) < MOST[size]]
    return fitting[0] if fitting else min(there, key=lambda one: one.count(len(facts.train)))


def choose_plan(facts: Facts, weights: Weights, costs: Costs | None, wish: Wish) -> Plan:
    """The last step that fits with all its epochs, then as many more as fit; or the first with fewer."""
    steps, limit = list_steps(facts, weights), 60 * wish.minutes * SHORE

    def fits(plan: Plan) -> bool:
        return costs is None or total(forecast(plan, facts, costs)) <= limit

    def build(step: tuple[int, Candidate], effort: float) -> Plan:
        return build_plan(step, effort, facts, weights, wish)

    fitting = [step for step in steps if fits(build(step, 1.0))]
    if costs is None:
        return build(steps[-1], 1.0)
    plans = [build(fitting[-1] if fitting else steps[0], effort) for effort in EFFORTS]
    affordable = [plan for plan in plans if fits(plan)]
    if affordable:
        return affordable[-1]
    needed = ceil(total(forecast(plans[0], facts, costs)) / 60 / SHORE)
    raise UserError(
        f"MINUTES: {wish.minutes:g} is too short for {facts.pictures} training pictures here: the shortest "
        f"run takes {spell_time(60 * needed * SHORE)} (MINUTES={needed}, or fewer pictures)"
    )


def build_plan(
    step: tuple[int, Candidate], effort: float, facts: Facts, weights: Weights, wish: Wish
) -> Plan:
    """The plan of a step with `effort` times its epochs."""
    side, teacher = step
    student = choose_student(facts, weights, wish.size)
    return Plan(
        side=side,
        augmentation=DIGITS if facts.digits else PHOTOS,
        teacher=build_training(teacher, find_recipe(teacher, facts, True), effort, facts, weights),
        student=build_training(student, find_recipe(student, facts, False), effort, facts, weights),
        workers=min(wish.threads, MOST_WORKERS) if wish.gpu else 0,
    )


def find_recipe(network: Candidate, facts: Facts, teaches: bool) -> Recipe:
    if facts.digits:
        return DIGIT_TEACHER if teaches else DIGIT_STUDENT
    if network.name:
        return TUNED_TEACHER if teaches else TUNED_STUDENT
    return NEW_TEACHER if teaches else NEW_STUDENT


def build_training(
    network: Candidate, recipe: Recipe, effort: float, facts: Facts, weights: Weights
) -> Training:
    epochs = max(2, round(effort * recipe.epochs * sqrt(recipe.pictures / facts.pictures)))
    pretrained = weights[network.arch] if network.name else NO_WEIGHTS
    warmup = min(epochs - 1, max(1, round(recipe.warmup * epochs)))
    return Training(network, pretrained, recipe, epochs, warmup, choose_batch(recipe.batch, facts.pictures))


def choose_batch(usual: int, pictures: int) -> int:
    """Pictures a step."""
    if pictures >= MANY:
        return 2 * usual
    most = next((size for limit, size in FEW if pictures < limit), usual)
    return max(2, min(usual, most, pictures))


# the settings


def choose_pictures(facts: Facts, plan: Plan, costs: Costs | None, wish: Wish) -> Iterator[Choice]:
    """Where the pictures are, their size and how they are fitted."""
    place = ", ".join(f"{key.partition('.')[2]} {value}" for key, value in facts.place.items())
    why = "as they lie there" + "; splits of one folder are divided by data.split" * facts.divided
    yield Choice({"data.root": facts.root, **facts.place}, f"pictures {facts.root} ({place})", why)
    size = {"images.height": plan.side, "images.width": plan.side}
    yield Choice(size, f"input {plan.side} x {plan.side}", explain_side(facts, costs, wish))
    fit, why = choose_fit(facts)
    yield Choice({"images.fit": fit}, f"fit {fit}", why)
    if facts.deep:
        yield Choice(
            {"images.grey_range": "set"}, "grey range set", "16-bit grey: its values become 0 to 255"
        )
    else:
        yield Choice({"images.grey_range": "file"}, "grey range file", "no effect without 16-bit grey")


def explain_side(facts: Facts, costs: Costs | None, wish: Wish) -> str:
    own = f"the pictures are {facts.width} x {facts.height}"
    if facts.digits:
        return f"{own} and grey, so they are treated as the demo's digits"
    if costs is None:
        return f"{own}, and larger inputs than 224 are not tried"
    return f"{own}, and more does not fit {wish.minutes:g} minutes"


def choose_fit(facts: Facts) -> tuple[str, str]:
    """The value of images.fit, and the reason."""
    if facts.square:
        return "letterbox", "no effect, the pictures are square"
    long = f"{facts.long:.0%} of the pictures are more than {LONG:g} times as long as wide"
    if facts.long > 0.5:
        return "letterbox", f"{long}, and a crop would lose what is at their ends"
    return "crop", f"{long}, the others lose little, and nothing of the input is left black"


def choose_machine(wish: Wish, plan: Plan) -> Iterator[Choice]:
    """Where the run computes."""
    why = "as FOR says" if wish.device == "cpu" else "a GPU if torch sees one"
    yield Choice({"device": wish.device}, f"device {wish.device}", why)
    yield Choice({"threads": wish.threads}, f"threads {wish.threads}", f"one a core, at most {MOST_THREADS}")
    if wish.gpu:
        yield Choice({"workers": plan.workers}, f"workers {plan.workers}", "they augment beside the GPU")
        yield Choice({"tf32": True}, "tf32 true", "a GPU is faster with 10 bits of each factor")
    else:
        yield Choice({"workers": 0}, "workers 0", "on a CPU they would only compete with the network")
        yield Choice({"tf32": False}, "tf32 false", "no effect on a CPU")


def choose_training(facts: Facts, plan: Plan, wish: Wish) -> Iterator[Choice]:
    """The networks and how they learn."""
    classes, teacher, student = len(facts.train), plan.teacher, plan.student
    for key, shared, one, why in (
        ("teacher.big", "teacher_common", teacher, explain_teacher(facts, plan)),
        ("student", "student", student, explain_student(student, classes, wish.size)),
    ):
        name, recipe = key.partition(".")[0], one.recipe
        yield Choice(
            {
                f"{key}.arch": one.network.arch,
                f"{key}.pretrained": one.pretrained,
                f"{shared}.pretrained_sha256": ANY_FILE,
            },
            f"{name} {one.network.arch}, pretrained {one.pretrained}",
            why,
        )
        yield Choice(
            {f"{key}.epochs": one.epochs, f"{key}.warmup": one.warmup, f"{key}.batch_size": one.batch},
            f"{name} {one.epochs} epochs, {one.warmup} of them warm-up, batches of {one.batch}",
            f"for {facts.pictures} pictures, as far as the time goes; usual are {recipe.epochs} for "
            f"{recipe.pictures}",
        )
        yield Choice(
            {
                f"{key}.optimizer": recipe.optimizer,
                f"{key}.lr": recipe.lr,
                f"{key}.weight_decay": recipe.weight_decay,
                f"{shared}.layer_decay": recipe.layer_decay,
                f"{shared}.ema": recipe.ema,
            },
            f"{name} {recipe.optimizer}, lr {recipe.lr:g}, weight decay {recipe.weight_decay:g}, layer decay "
            f"{recipe.layer_decay:g}, ema {recipe.ema:g}",
            f"{'from nothing' if one.pretrained == NO_WEIGHTS else 'fine-tuning'}: {recipe.source}",
        )
    yield choose_class_weights(facts)
    yield choose_augmentation(plan)
    least = round(min(0.5, CHANCE / classes), 4)
    yield Choice({"knowledge.teachers": ["big"]}, "one teacher", "a second costs as much again")
    yield Choice(
        {"knowledge.min_accuracy": least},
        f"a teacher under {least:g} on val is refused",
        f"of {classes} classes it has learnt next to nothing",
    )
    yield Choice(
        {"distill.share": SHARE, "distill.temperature": TEMPERATURE},
        f"distillation {SHARE:g} of the target at temperature {TEMPERATURE:g}",
        "the student learns from the teacher's probabilities and from the labels",
    )


def explain_teacher(facts: Facts, plan: Plan) -> str:
    if facts.digits:
        return "small grey pictures do without pretrained weights"
    if plan.teacher.pretrained == NO_WEIGHTS:
        return "no pretrained weights are to be had (make weights fetches some, then make init again)"
    return "the largest of those with ImageNet's weights for which there is time"


def explain_student(student: Training, classes: int, size: str) -> str:
    count, most = student.network.count(classes), f"{MOST[size] / 1e6:g} M"
    limit = f"under the {most}" if count < MOST[size] else f"over the {most}, as all with so many classes,"
    return f"{count / 1e6:.2f} M parameters with {classes} classes, {limit} of SIZE={size}"


def choose_class_weights(facts: Facts) -> Choice:
    ratio = f"the largest has {facts.uneven:.3g} times the pictures of the smallest"
    value, over = ("balanced", "over") if facts.uneven > UNEVEN else ("none", "not over")
    keys = "teacher_common.class_weights", "student.class_weights"
    return Choice(dict.fromkeys(keys, value), f"class weights {value}", f"{ratio}, {over} {UNEVEN:g}")


def choose_augmentation(plan: Plan) -> Choice:
    one, values = plan.augmentation, dict[str, Any]()
    for key, shared in (("teacher.big.augment", "teacher_common.augment"), ("augment", "augment")):
        values |= {f"{key}.policy": one.policy, f"{key}.flip": one.flip, f"{shared}.min_area": one.min_area}
        values |= {f"{shared}.rotate": one.rotate, f"{shared}.shift": one.shift, f"{shared}.scale": one.scale}
        values |= {f"{shared}.train_scales": [one.train_scale]}
    return Choice(values, f"augmentation {one.policy}, flip {one.flip:g}", one.source)
