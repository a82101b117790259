"""From facts, costs and minutes to settings, each with its reason: a pure function."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from src.ground.rules import ANY_FILE
from src.ground.weights import NO_WEIGHTS
from tools.init import recipes
from tools.init.facts import Costs, Facts, Plan, Training
from tools.init.forecast import forecast
from tools.init.planning import Weights, Wish, choose_plan, list_steps
from tools.init.recipes import Augmentation


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
    largest = max(step.side for step in list_steps(facts, weights))
    choices = [*choose_pictures(facts, plan, largest, wish), *choose_machine(wish, plan)]
    choices += choose_training(facts, plan, wish)
    return Chosen(plan, choices, forecast(plan, facts, costs) if costs else {})


def choose_pictures(facts: Facts, plan: Plan, largest: int, wish: Wish) -> Iterator[Choice]:
    """Where the pictures are, their size and how they are fitted; `largest` is the largest that is tried."""
    place = ", ".join(f"{key.partition('.')[2]} {value}" for key, value in facts.place.items())
    why = "as they lie there" + "; splits of one folder are divided by data.split" * facts.divided
    yield Choice({"data.root": facts.root, **facts.place}, f"pictures {facts.root} ({place})", why)
    size = {"images.height": plan.side, "images.width": plan.side}
    yield Choice(size, f"input {plan.side} x {plan.side}", explain_side(facts, plan.side == largest, wish))
    fit, why = choose_fit(facts)
    yield Choice({"images.fit": fit}, f"fit {fit}", why)
    if facts.deep:
        yield Choice(
            {"images.grey_range": "set"}, "grey range set", "16-bit grey: its values become 0 to 255"
        )
    else:
        yield Choice({"images.grey_range": "file"}, "grey range file", "no effect without 16-bit grey")


def explain_side(facts: Facts, largest: bool, wish: Wish) -> str:
    own = f"the pictures are {facts.width} x {facts.height}"
    if facts.digits:
        return f"{own} and grey, so they are treated as the demo's digits"
    if largest:
        return f"{own}, and larger inputs would enlarge them or are not tried"
    return f"{own}, and a larger input does not fit {wish.minutes:g} minutes"


def choose_fit(facts: Facts) -> tuple[str, str]:
    """The value of images.fit, and the reason."""
    if facts.square:
        return "letterbox", "no effect, the pictures are square"
    long = f"{facts.long:.0%} of the pictures are more than {recipes.LONG:g} times as long as wide"
    if facts.long > 0.5:
        return "letterbox", f"{long}, and a crop would lose what is at their ends"
    return "crop", f"{long}, the others lose little, and nothing of the input is left black"


def choose_machine(wish: Wish, plan: Plan) -> Iterator[Choice]:
    """Where the run computes."""
    why = "as FOR says" if wish.device == "cpu" else "a GPU if torch sees one"
    yield Choice({"device": wish.device}, f"device {wish.device}", why)
    yield Choice(
        {"threads": wish.threads}, f"threads {wish.threads}", f"one a core, at most {recipes.MOST_THREADS}"
    )
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
    yield Choice(
        {"teacher_common.select": teacher.recipe.select, "student.select": student.recipe.select},
        f"best epoch by {teacher.recipe.select} for the teacher, by {student.recipe.select} for the student",
        "val's loss may rise while accuracy still does, as a network learns its pictures by heart",
    )
    keys = "teacher.big.augment", "teacher_common.augment"
    yield choose_augmentation("teacher", *keys, teacher.recipe.augmentation)
    yield choose_augmentation("student", "augment", "augment", student.recipe.augmentation)
    yield choose_class_weights(facts)
    least = round(min(0.5, recipes.CHANCE / classes), 4)
    if plan.taught:
        yield Choice({"knowledge.teachers": ["big"]}, "one teacher", "a second costs as much again")
    else:
        why = f"in {wish.minutes:g} minutes a larger input and more epochs of the student bring more"
        yield Choice({"knowledge.teachers": []}, "no teacher", why)
    yield Choice(
        {"knowledge.min_accuracy": least},
        f"a teacher under accuracy {least:g} on val is refused",
        f"of {classes} classes it has learnt next to nothing",
    )
    yield Choice(
        {"distill.share": recipes.SHARE, "distill.temperature": recipes.TEMPERATURE},
        f"distillation {recipes.SHARE:g} of the target at temperature {recipes.TEMPERATURE:g}",
        "the student learns from the teacher's probabilities and from the labels"
        if plan.taught
        else "no effect without a teacher",
    )


def explain_teacher(facts: Facts, plan: Plan) -> str:
    if facts.digits:
        return "small grey pictures do without pretrained weights"
    if plan.teacher.pretrained == NO_WEIGHTS:
        return "no pretrained weights are to be had (make weights fetches some, then make init again)"
    if not plan.taught:
        return "not trained, since there is no time for it; set for when there is"
    return "the largest of those with ImageNet's weights for which there is time"


def explain_student(student: Training, classes: int, size: str) -> str:
    count, most = student.network.count(classes), f"{recipes.MOST[size] / 1e6:g} M"
    limit = (
        f"under the {most}"
        if count < recipes.MOST[size]
        else f"over the {most}, as all with so many classes,"
    )
    return f"{count / 1e6:.2f} M parameters with {classes} classes, {limit} of SIZE={size}"


def choose_class_weights(facts: Facts) -> Choice:
    ratio = f"the largest has {facts.uneven:.3g} times the pictures of the smallest"
    value, over = ("balanced", "over") if facts.uneven > recipes.UNEVEN else ("none", "not over")
    keys = "teacher_common.class_weights", "student.class_weights"
    return Choice(dict.fromkeys(keys, value), f"class weights {value}", f"{ratio}, {over} {recipes.UNEVEN:g}")


def choose_augmentation(name: str, key: str, shared: str, one: Augmentation) -> Choice:
    return Choice(
        {
            f"{key}.policy": one.policy,
            f"{key}.flip": one.flip,
            f"{shared}.basis": one.basis,
            f"{shared}.min_area": one.min_area,
            f"{shared}.rotate": one.rotate,
            f"{shared}.shift": one.shift,
            f"{shared}.scale": one.scale,
            f"{shared}.train_scales": [one.train_scale],
        },
        f"{name} augmentation {one.policy}, flip {one.flip:g}",
        one.source,
    )
