"""Open every picture once: refuse unusable ones, list and pack the rest.

params  data, images
reads   ${data.root}/${data.train}              <class>/<picture>
        ${data.root}/${data.val}                the same; splits of the same folder are divided
        ${data.root}/${data.test}               the same
writes  data/manifest/classes.json               the classes of train, sorted
        data/manifest/{train,val,test}.csv       path, class, hash
        data/manifest/grey_range.json            "file" or [lowest, highest], see images.grey_range
        data/packed/{train,val,test}.npy         uint8 (N, H, W, 3), fitted; N = 0 if not packed
        data/bad_images.csv                      path, reason of each refused file
        data/files.csv                           path, verdict, reason of every file found
        data/counts.csv                          class, train, val, test, refused: numbers of pictures
        data/models/teachers/classes.json        the same classes, beside every teacher
        data/models/folds/classes.json           beside those trained without a fold
        data/unlabelled/classes.json             and beside every folder without labels
        metrics/data.json
removes what dvc.lock records of other stages' figures for the pictures of another data.root
run     python -m stages.check_images [--preflight: check params.yaml and the folders, open no picture]
"""

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from src.ground.errors import UserError, escape, run
from src.ground.files import open_atomically, remove_unfinished, write_json
from src.ground.params import check_pictures, read
from src.pictures.assigning import choose_grey_range, list_pictures
from src.pictures.checking import SHARED, check_source, choose_sizes
from src.pictures.counts import find_missing, format_counts, warn_of_counts, write_counts
from src.pictures.dividing import find_groups, find_shares, warn_of_groups, warn_of_lone
from src.pictures.folders import Source, scan
from src.pictures.grey import GreyUse, write_grey_range
from src.pictures.layouts import NO_LIST
from src.pictures.ledger import TAKEN, Ledger, write_refused
from src.pictures.listing import scan_list
from src.pictures.manifest import CLASSES, SPLITS
from src.pictures.settings import DataSettings, ImageSettings
from src.pictures.splits import (
    count_pictures,
    enter_files,
    find_alike,
    judge,
    warn_of_alike,
    warn_of_skew,
    write_split,
)
from src.results.stale import find_stale_figures

BAD = Path("data/bad_images.csv")
FILES = Path("data/files.csv")
COUNTS = Path("data/counts.csv")
TEACHER_CLASSES = Path("data/models/teachers/classes.json")
FOLD_CLASSES = Path("data/models/folds/classes.json")
UNLABELLED_CLASSES = Path("data/unlabelled/classes.json")
METRICS = Path("metrics/data.json")
OWN = Path("data/train")  # where users put their own pictures inside the project
DEMO = "data/demo"


def main() -> None:
    data, images = read(DataSettings, "data"), read(ImageSettings, "images")
    root, preflight = Path(data.root), "--preflight" in sys.argv[1:]
    if OWN.exists() and data.root == DEMO:
        print(f"ATTENTION: {OWN} exists, but data.root is {DEMO}: this run uses the demo data, not yours")
    if data.root == DEMO and not root.exists():
        if preflight:
            return  # make_demo will write it
        raise UserError(f"{DEMO}: not there yet (make repro writes it, or python -m stages.make_demo)")
    sources, classes, warnings, keys = find_sources(data, preflight)
    shared = [source for source in sources if len(source.splits) > 1]
    expected = count_expected(sources, data)
    check_pictures(expected["train"], trains=preflight)
    if preflight:
        return

    remove_unfinished(SHARED)  # of a run that was killed
    SHARED.unlink(missing_ok=True)
    write_json(CLASSES, classes)
    write_json(TEACHER_CLASSES, classes)
    write_json(FOLD_CLASSES, classes)
    write_json(UNLABELLED_CLASSES, classes)
    grey = GreyUse(choose_grey_range(images.grey_range, data, sources, keys))
    write_grey_range(grey.range)
    packed = images.packs({split: counts.total() for split, counts in expected.items()})
    if packed and shared:
        print(f"{SHARED.parent}: takes twice as much while the pictures are divided")
    try:
        sizes = [choose_sizes(source, images, packed) for source in sources]
        checked = [
            check_source(source, some, images.fit, data, grey.range, shard=images.shard)
            for source, some in zip(sources, sizes, strict=True)
        ]
        intact = list_pictures(checked, data, keys)
        verdicts = judge(intact)
        taken = intact.take(np.array([verdict == TAKEN for verdict, _ in verdicts], bool))
        for split in SPLITS:
            write_split(split, taken.of(split), images, packed)
    finally:
        SHARED.unlink(missing_ok=True)
    for one in taken:
        grey.add(one.values)
    alike = find_alike(taken)
    with open_atomically(FILES) as file:
        ledger = Ledger(file)
        enter_files(ledger, intact, verdicts, alike)
    write_refused(BAD, ledger.refused)
    counts = count_pictures(taken, sources, ledger.refused)
    write_counts(COUNTS, classes, counts)
    divided = [split for source in shared for split in source.splits]
    for line in (*ledger.count_sources(), *ledger.count_reasons()):
        print(escape(line))
    print(f"{FILES}: every file with its verdict and the reason")
    remove_stale(data)
    for line in format_counts(classes, counts, COUNTS):
        print(line)
    splits = {one.file[0]: one.split for one in taken if one.file[0] in keys}
    warn([*warnings, *warn_of_skew(taken, shared, keys, data.split)])
    warn([*warn_of_alike(taken, alike), *warn_of_groups(splits, keys)])
    warn([*warn_of_counts(classes, counts, sources), *grey.warn()])
    if data.on_bad == "stop":
        stop(ledger.refused, sources, root)
    check_numbers(data, classes, counts, divided)
    totals = {split: counts[split].total() for split in SPLITS}
    write_json(METRICS, {"data": {"classes": len(classes), **totals, "bad": len(ledger.refused)}})


def find_sources(
    data: DataSettings, preflight: bool
) -> tuple[list[Source], tuple[str, ...], list[str], dict[str, str]]:
    """As folders.scan, and the group of each path; refuses groups that cannot be.

    As `preflight` it refuses pictures in the wrong place too, and prints the warnings: later they come after
    the checks of every picture.
    """
    sources, classes, warnings = scan(data) if data.list == NO_LIST else scan_list(data)
    keys = find_groups(sources, data.split.group)
    warnings += warn_of_lone(sources, keys)
    if preflight:
        warn(warnings)
    if preflight and data.on_bad == "stop":
        stop([], sources, Path(data.root))
    return sources, classes, warnings, keys


def remove_stale(data: DataSettings) -> None:
    """Remove the figures that belong to the pictures of another data root."""
    stale = find_stale_figures(data.root)
    for path in stale:
        path.unlink()
    if stale:
        print(
            f"removed the figures of another data.root's pictures ({len(stale)} of metrics, plots and data)"
        )


def count_expected(sources: Sequence[Source], data: DataSettings) -> dict[str, Counter[str]]:
    """About how many pictures of each class each split will have, by the numbers of files."""
    expected: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    for source in sources:
        for split, share in find_shares(source.splits, data.split).items():
            expected[split] += Counter({name: max(1, round(share * n)) for name, n in source.count().items()})
    return expected


def warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        print(f"warning: {escape(warning)}")


def check_numbers(
    data: DataSettings, classes: Sequence[str], counts: dict[str, Counter[str]], divided: Sequence[str]
) -> None:
    """Refuse classes that cannot be learned, and splits without pictures."""
    root, parts = Path(data.root), data.parts()
    problems = list(find_missing(classes, counts, divided, data.root))
    emptied = [name for name in classes if not counts["train"][name] and "train" not in divided]
    empty = [split for split in SPLITS if not counts[split] and split not in divided]
    what = [f"{root / data.train / name}: no usable picture" for name in emptied]
    what += [f"{root / parts[split]}: no usable picture" for split in empty]
    if data.list != NO_LIST:
        what = [f"{root / data.list}: no usable picture of {name} for train" for name in emptied]
        what += [f"{root / data.list}: no usable picture for {split}" for split in empty]
    problems = [f"{one} is left (see {BAD})" for one in what] or problems
    if problems:
        raise UserError(*problems)


def stop(refused: list[tuple[str, str]], sources: Sequence[Source], root: Path) -> None:
    """End the stage if pictures would be left out: refused ones, and those that are in the wrong place."""
    misplaced = [row for source in sources for row in source.misplaced()]
    problems = []
    for place, what, rows in ((BAD, "refused", refused), (root, "in the wrong place", misplaced)):
        for path, reason in rows[:1]:
            skip = f"{reason.removesuffix(')')}, or leave such pictures out with data.on_bad: skip)"
            problems.append(
                f"{place}: {len(rows)} picture{'s' * (len(rows) > 1)} {what}, first {root / path}: {skip}"
            )
    if problems:
        raise UserError(*problems)


if __name__ == "__main__":
    run(main, arguments=["--preflight"])
