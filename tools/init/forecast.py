"""How long make repro will take: a pure function of the plan, the facts and what was measured here."""

from bisect import bisect_right
from collections.abc import Mapping

from tools.init.facts import BySide, Costs, Facts, Plan, Training
from tools.init.recipes import DRAWING, DVC, EPOCH, MAKE, PACKING, READING, STARTS, WRITING

FORMATS = 3  # that export_jit writes and compares, as params.yaml has it
SHOWN, HEATMAPS = 600, 12  # pictures in the report, and those under heat maps, for two classes each
PACK_LIMIT = 32  # GiB, as params.yaml has it: more pictures are read from their files each time


def forecast(plan: Plan, facts: Facts, costs: Costs) -> dict[str, float]:
    """Seconds by stage, in the order in which they run; without a teacher its stage does not."""
    train, val, test, side = facts.pictures, facts.val, facts.test, plan.side
    everything, probabilities = train + val + test, train * len(facts.train)
    read = costs.check / costs.cores if everything * 3 * side**2 > PACK_LIMIT * 2**30 else 0.0
    teacher = plan.taught * (read + at_side(costs.forward[plan.teacher.network.arch], side))
    student = read + at_side(costs.forward[plan.student.network.arch], side)
    work = {
        "check_images": MAKE + everything * (costs.check / costs.cores + 3 * side * side / PACKING),
        "train_teacher": estimate_training(plan.teacher, plan, facts, costs, read),
        "plan_views": 0.0,
        "dump_knowledge": (train + val) * teacher + probabilities * WRITING,
        "make_curriculum": probabilities * READING,
        "train_student": estimate_training(plan.student, plan, facts, costs, read) + probabilities * READING,
        "evaluate": test * (teacher + student) + val * student + len(facts.train) ** 2 * DRAWING,
        "export_jit": test * (student + FORMATS * (costs.check + student)),  # by the model, then by the demo
        "report": SHOWN * costs.check + HEATMAPS * 2 * (teacher + student),
    }
    if not plan.taught:
        del work["train_teacher"]
    return {stage: DVC + STARTS[stage] * costs.start + seconds for stage, seconds in work.items()}


def estimate_training(training: Training, plan: Plan, facts: Facts, costs: Costs, read: float) -> float:
    """Seconds of all epochs; processes that augment do so while the network learns.

    `read` is what a picture costs each time that is not in a pack.
    """
    arch, augmentation = training.network.arch, training.recipe.augmentation
    step = at_side(costs.step[arch], plan.side * augmentation.train_scale)
    augment = read + at_side(costs.augment[augmentation.kind], plan.side)
    each = max(step, augment / plan.workers) if plan.workers else step + augment
    epoch = facts.pictures * each + facts.val * (read + at_side(costs.forward[arch], plan.side))
    return training.epochs * (EPOCH + epoch)


def at_side(measured: BySide, side: float) -> float:
    """The value at a side in pixels: linear in the number of pixels between two that were measured.

    Beyond them the line through the nearest two goes on; a single one is scaled by the pixels.
    """
    sides = sorted(measured)
    if len(sides) == 1:
        return measured[sides[0]] * (side / sides[0]) ** 2
    place = min(max(bisect_right(sides, side), 1), len(sides) - 1)
    low, high = sides[place - 1], sides[place]
    share = (side**2 - low**2) / (high**2 - low**2)
    return max(0.0, measured[low] + share * (measured[high] - measured[low]))


def spell_time(seconds: float) -> str:
    """As 42 s, 7 min or 1 h 05 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def total(stages: Mapping[str, float]) -> float:
    """Seconds of all stages."""
    return sum(stages.values())
