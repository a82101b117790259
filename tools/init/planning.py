"""How large a run the minutes allow: input, teacher, student and their epochs; a pure function."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, sqrt

from src.ground.errors import UserError
from src.ground.weights import NO_WEIGHTS
from tools.init import recipes
from tools.init.facts import Costs, Facts, Plan, Training
from tools.init.forecast import forecast, spell_time, total
from tools.init.recipes import Augmentation, Candidate, Recipe, Step

Weights = Mapping[str, str]  # network -> the value of `pretrained` that gives its weights


@dataclass(frozen=True)
class Wish:
    """What the user asks for."""

    minutes: float
    device: str  # of params.yaml
    gpu: bool  # whether the run will be on one
    size: str  # small or tiny
    threads: int  # of the machine that runs it


def list_candidates(facts: Facts, weights: Weights, size: str) -> list[Candidate]:
    """The networks that a plan may have, without repetition: those whose costs are needed."""
    teachers = [step.teacher for step in list_steps(facts, weights)]
    return list(dict.fromkeys([*teachers, choose_student(facts, weights, size)]))


def list_augmentations(candidates: Sequence[Candidate], facts: Facts) -> list[Augmentation]:
    """How their pictures may be augmented: what else a plan's costs depend on."""
    used = [find_recipe(one, facts, teaches).augmentation for one in candidates for teaches in (True, False)]
    return list(dict.fromkeys(used))


def list_pretrained() -> list[Candidate]:
    """The networks whose weights a plan for photographs may start from."""
    students = [one for candidates in recipes.STUDENTS.values() for one in candidates if one.name]
    return list(dict.fromkeys([*students, *(step.teacher for step in recipes.PHOTO_STEPS)]))


def list_steps(facts: Facts, weights: Weights) -> list[Step]:
    """Side and teacher, from the cheapest to the best, as far as these pictures and weights go."""
    steps: Sequence[Step] = recipes.NEW_STEPS
    if facts.digits:
        steps = recipes.DIGIT_STEPS
    elif any(network.arch in weights for network in recipes.LESSER[recipes.LITE0]):
        steps = [step._replace(teacher=find_teacher(step.teacher, weights)) for step in recipes.PHOTO_STEPS]
    smallest = steps[0].side
    fitting = [step for step in steps if step.side <= max(smallest, recipes.ENLARGED * facts.short)]
    return list(dict.fromkeys(fitting))


def find_teacher(wanted: Candidate, weights: Weights) -> Candidate:
    """The network, or the next one that has weights."""
    return next(network for network in recipes.LESSER[wanted] if network.arch in weights)


def choose_student(facts: Facts, weights: Weights, size: str) -> Candidate:
    """The first that is small enough, with weights if it is meant to have them; else the smallest."""
    candidates = recipes.DIGIT_STUDENTS[size] if facts.digits else recipes.STUDENTS[size]
    there = [one for one in candidates if not one.name or one.arch in weights]
    fitting = [one for one in there if one.count(len(facts.train)) < recipes.MOST[size]]
    return fitting[0] if fitting else min(there, key=lambda one: one.count(len(facts.train)))


def choose_plan(facts: Facts, weights: Weights, costs: Costs | None, wish: Wish) -> Plan:
    """The last step that fits with all its epochs, then as many more as fit; or the first with fewer."""
    steps, limit = list_steps(facts, weights), 60 * wish.minutes * recipes.SAFE

    def fits(plan: Plan) -> bool:
        return costs is None or total(forecast(plan, facts, costs)) <= limit

    def build(step: Step, effort: float) -> Plan:
        return build_plan(step, effort, facts, weights, wish)

    fitting = [step for step in steps if fits(build(step, 1.0))]
    if costs is None:
        return build(steps[-1], 1.0)
    plans = [build(fitting[-1] if fitting else steps[0], effort) for effort in recipes.EFFORTS]
    affordable = [plan for plan in plans if fits(plan)]
    if affordable:
        return affordable[-1]
    needed = ceil(total(forecast(plans[0], facts, costs)) / 60 / recipes.SAFE)
    raise UserError(
        f"MINUTES: {wish.minutes:g} is too short for {facts.pictures} training pictures here: the shortest "
        f"run takes {spell_time(60 * needed * recipes.SAFE)} (MINUTES={needed}, or fewer pictures)"
    )


def build_plan(step: Step, effort: float, facts: Facts, weights: Weights, wish: Wish) -> Plan:
    """The plan of a step with `effort` times its epochs."""
    teacher, student = step.teacher, choose_student(facts, weights, wish.size)
    return Plan(
        side=step.side,
        taught=step.taught,
        teacher=build_training(teacher, find_recipe(teacher, facts, True), effort, facts, weights),
        student=build_training(student, find_recipe(student, facts, False), effort, facts, weights),
        workers=min(wish.threads, recipes.MOST_WORKERS) if wish.gpu else 0,
    )


def find_recipe(network: Candidate, facts: Facts, teaches: bool) -> Recipe:
    if facts.digits:
        return recipes.DIGIT_TEACHER if teaches else recipes.DIGIT_STUDENT
    if network.name:
        return recipes.TUNED_TEACHER if teaches else recipes.TUNED_STUDENT
    return recipes.NEW_TEACHER if teaches else recipes.NEW_STUDENT


def build_training(
    network: Candidate, recipe: Recipe, effort: float, facts: Facts, weights: Weights
) -> Training:
    epochs = max(2, round(effort * recipe.epochs * sqrt(recipe.pictures / facts.pictures)))
    pretrained = weights[network.arch] if network.name else NO_WEIGHTS
    warmup = min(epochs - 1, max(1, round(recipe.warmup * epochs)))
    return Training(network, pretrained, recipe, epochs, warmup, choose_batch(recipe.batch, facts.pictures))


def choose_batch(usual: int, pictures: int) -> int:
    """Pictures a step; at most half of them, since a folder that is divided may have fewer than expected."""
    if pictures >= recipes.MANY:
        return 2 * usual
    most = next((size for limit, size in recipes.FEW if pictures < limit), usual)
    return max(2, min(usual, most, pictures // 2))
