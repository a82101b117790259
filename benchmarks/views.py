"""What each value of distill.view costs: seconds of dump_knowledge, and of the student's epochs.

The views take turns, each in a working folder of its own; ratios are of one round. Run `dvc repro` first.

run     python -m benchmarks.views [--rounds 5 --epochs 2] [KEY=VALUE ...]
"""

import contextlib
import shutil
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.students import mute_stdout, train_student
from benchmarks.timing import format_table, time_in_turns
from src.ground.errors import Parser, run
from src.teaching.views import FILE
from src.training.state import State
from stages import dump_knowledge, plan_views
from tools.ablation.overrides import override_params

LABELS, PLAIN = "labels alone", "plain"
STORED = {f"stored {count}": ["distill.view=stored", f"knowledge.views={count}"] for count in (4, 16)}
VIEWS = {LABELS: ["distill.share=0"], PLAIN: [], **STORED, "live": ["distill.view=live"]}
WRITTEN = (FILE, dump_knowledge.DISTILL, dump_knowledge.LABELS)  # anew by each view


def main() -> None:
    parser = Parser(prog="python -m benchmarks.views")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("overrides", nargs="*", help="KEY=VALUE, for all")
    given = parser.parse_args()
    common = [*given.overrides, f"student.epochs={given.epochs}", f"student.warmup={given.epochs - 1}"]
    with tempfile.TemporaryDirectory() as name:
        folders = {view: Path(name) / view for view in VIEWS}
        for folder in folders.values():
            prepare(folder)
        rows = {view: [*common, *overrides] for view, overrides in VIEWS.items()}
        dumps = {view: partial(dump, folders[view], rows[view]) for view in (PLAIN, *STORED)}
        print("dump_knowledge\n" + format_table(time_in_turns(dumps, given.rounds), PLAIN), flush=True)
        for view in (LABELS, "live"):
            dump(folders[view], rows[view])
        students = {view: partial(train, folders[view], rows[view]) for view in VIEWS}
        seconds = time_in_turns(students, given.rounds)
        print(f"student, {given.epochs} epochs\n" + format_table(seconds, PLAIN))


def prepare(folder: Path) -> None:
    """Make a working folder that shares all but what a view writes."""
    folder.mkdir()
    for file in ("params.yaml", "params.schema.json"):
        shutil.copy(file, folder)
    (folder / "data").mkdir()
    for path in Path("data").iterdir():
        if path not in WRITTEN:
            (folder / path).symlink_to(path.absolute())


def dump(folder: Path, overrides: Sequence[str]) -> None:
    with contextlib.chdir(folder), override_params(overrides), mute_stdout():
        plan_views.main()
        dump_knowledge.main()


def train(folder: Path, overrides: Sequence[str]) -> None:
    with contextlib.chdir(folder):
        train_student(overrides, State())


if __name__ == "__main__":
    run(main)
