"""Write params.yaml for your own pictures: look at them, time a step here, choose, show the difference.

reads   the pictures, params.yaml of the last commit, data/pretrained
writes  params.yaml, after the difference is shown; .scratch/init.json, what was measured
run     python -m tools.init DATA [--for cpu|gpu] [--minutes 30] [--size small|tiny]
"""

from dataclasses import replace
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from src.ground.errors import Parser, UserError, escape, run
from src.ground.params import PARAMS, read_top
from src.machine.cores import count_cores
from tools.init.choose import Choice, Chosen, choose
from tools.init.facts import Costs, Facts
from tools.init.forecast import spell_time, total
from tools.init.look import find_place, look, time_check
from tools.init.planning import Wish, list_augmentations, list_candidates, list_pretrained, list_steps
from tools.init.recipes import LONG, MOST, MOST_THREADS
from tools.init.write import UNDO, change, check_settings, read_committed, spell_difference, write
from tools.preflight import check_git

if TYPE_CHECKING:
    from argparse import Namespace

DEVICES = {"": "auto", "cpu": "cpu", "gpu": "auto"}  # FOR -> device of params.yaml


def main() -> None:
    arguments = parse()
    check_git(Path.cwd())
    committed = read_committed()
    data = find_place(arguments.data)
    facts, files = look(data)
    print("\n".join(map(escape, describe(facts, len(files)))))
    import torch  # takes seconds, and much can be refused before

    from src.machine.runtime import MachineSettings
    from tools.init.timing import measure_costs
    from tools.init.weights import find_weights

    there = torch.cuda.is_available()
    wish = Wish(
        minutes=parse_minutes(arguments.minutes),
        device=DEVICES[arguments.device],
        gpu=arguments.device == "gpu" or (there and arguments.device != "cpu"),
        size=arguments.size,
        threads=min(count_cores(), MOST_THREADS),
    )
    weights = find_weights([] if facts.digits else list_pretrained())
    costs: Costs | None = None
    if wish.gpu and not there:
        print("FOR=gpu, but torch sees no GPU here: nothing can be timed, so there is no forecast")
    else:
        candidates = list_candidates(facts, weights, wish.size)
        machine = replace(
            read_top(MachineSettings),
            device="cuda" if wish.gpu else "cpu",
            processes=1,
            threads=wish.threads,
        )
        check = time_check(data, files)
        inputs = [step.side for step in list_steps(facts, weights)]
        archs, augmentations = [one.arch for one in candidates], list_augmentations(candidates, facts)
        costs = measure_costs(archs, augmentations, inputs, check, machine)
    chosen = choose(facts, weights, costs, wish)
    print("\n".join(["", *map(spell_choice, chosen.choices), "", *spell_forecast(chosen), ""]))
    after = change(committed, chosen.settings())
    check_settings(after, chosen.settings(), facts.train)
    if difference := spell_difference(committed, after):
        print(difference)
    if PARAMS.read_text(encoding="utf-8") == after:
        print(
            f"{PARAMS}: unchanged, it is as above already ({UNDO})" if difference else f"{PARAMS}: unchanged"
        )
    else:
        write(after)
        print(f"{PARAMS}: written ({UNDO})")
    print("next: make repro")


def parse() -> "Namespace":
    parser = Parser(prog="make init", allow_abbrev=False)
    parser.add_argument("data", help="the folder of the pictures")
    parser.add_argument("--for", dest="device", default="", help="where the run will compute: cpu or gpu")
    parser.add_argument("--minutes", default="30", help="that the whole run may take")
    parser.add_argument("--size", default="small", help="of the student: small or tiny")
    arguments = parser.parse_args()
    if arguments.device not in DEVICES:
        raise UserError(f"FOR: must be cpu or gpu, got {arguments.device!r} (FOR=cpu)")
    if arguments.size not in MOST:
        raise UserError(f"SIZE: must be {' or '.join(MOST)}, got {arguments.size!r} (SIZE=small)")
    parse_minutes(arguments.minutes)
    return arguments


def parse_minutes(text: str) -> float:
    """The number of minutes; a UserError if it is none above 0."""
    try:
        minutes = float(text)
    except ValueError:
        minutes = inf
    if not isfinite(minutes) or minutes <= 0:
        raise UserError(f"MINUTES: must be a number above 0, got {text!r} (MINUTES=30)")
    return minutes


def describe(facts: Facts, files: int) -> list[str]:
    """What was found, in a few lines; `files` are those of all splits."""
    about = "about " * facts.divided
    counts = sorted(facts.train.values())
    kind = "colours" if facts.colour else "16-bit grey" if facts.deep else "grey"
    lines = [
        f"{facts.root}: {files:,} files of {len(facts.train)} classes: "
        f"{about}{facts.pictures:,} for train, {facts.val:,} for val, {facts.test:,} for test",
        f"classes of train: {counts[0]:,} to {counts[-1]:,} files ({facts.uneven:.3g} : 1)",
        f"pictures: {facts.width} x {facts.height} in the median, {kind}, {facts.long:.0%} of them long "
        f"(over {LONG:g} : 1)",
    ]
    if facts.copies:
        lines.append(f"copies: {facts.copies:,} files are byte for byte another one")
    return lines


def spell_choice(choice: Choice) -> str:
    """What was chosen and why, in one line."""
    return escape(f"{choice.what}: {choice.reason}")


def spell_forecast(chosen: Chosen) -> list[str]:
    """The expected time of make repro, by stage."""
    if not chosen.stages:
        return ["expected time: unknown, since nothing could be timed here"]
    each = ", ".join(f"{stage} {spell_time(seconds)}" for stage, seconds in chosen.stages.items())
    return [f"expected time: {spell_time(total(chosen.stages))} ({each})"]


if __name__ == "__main__":
    run(main)
