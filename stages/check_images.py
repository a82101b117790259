"""Open every picture once: refuse unusable ones, list and pack the rest.

params  data, images
reads   ${data.root}/${data.train}              <class>/<picture>
        ${data.root}/${data.val}                the same
        ${data.root}/${data.test}               the same
writes  data/manifest/classes.json               the classes of train, sorted
        data/manifest/{train,val,test}.csv       path, class, hash
        data/manifest/grey_range.json            "file" or [lowest, highest], see images.grey_range
        data/packed/{train,val,test}.npy         uint8 (N, H, W, 3), fitted; N = 0 if not packed
        data/bad_images.csv                      path, reason of each refused file
        data/files.csv                           path, verdict, reason of every file found
        data/models/teachers/classes.json        the same classes, beside every teacher
        metrics/data.json
removes what dvc.lock records of other stages' figures for the pictures of another data.root
run     python -m stages.check_images [--preflight: check params.yaml and the folders, open no picture]
"""

import sys
from pathlib import Path

from src.ground.errors import UserError, run
from src.ground.files import open_atomically, write_json
from src.ground.params import check_pictures, read
from src.pictures.checking import Duplicates, check_split, choose_grey_range
from src.pictures.folders import Source, scan
from src.pictures.grey import GreyUse, write_grey_range
from src.pictures.ledger import Ledger, write_refused
from src.pictures.manifest import CLASSES, manifest_path, pack_path
from src.pictures.settings import DataSettings, ImageSettings
from src.results.stale import find_stale_figures

BAD = Path("data/bad_images.csv")
FILES = Path("data/files.csv")
TEACHER_CLASSES = Path("data/models/teachers/classes.json")
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
    splits, classes, warnings = scan(data)
    if any(len(source.splits) > 1 for source in splits):
        raise UserError(f"{root}: splits of one folder cannot be divided yet (give each its own folder)")
    for warning in warnings:
        print(f"warning: {warning}")
    if preflight and data.on_bad == "stop":
        stop([], splits, root)
    check_pictures(splits[0].count(), trains=preflight)
    if preflight:
        return

    write_json(CLASSES, classes)
    write_json(TEACHER_CLASSES, classes)
    seen, counts = Duplicates(), {}
    grey = GreyUse(choose_grey_range(images.grey_range, data, splits[0].files))
    write_grey_range(grey.range)
    packed = images.packs({split.name: len(split.files) for split in splits})
    with open_atomically(FILES) as file:
        ledger = Ledger(file)
        for split in splits:
            size, paths = images.size(split.name), (manifest_path(split.name), pack_path(split.name))
            counts[split.name] = check_split(
                split, data, size, images.fit, packed, seen, ledger, grey, *paths
            )
            print(ledger.count_split(split.name))
    write_refused(BAD, ledger.refused)
    for line in ledger.count_reasons():
        print(line)
    print(f"{FILES}: every file with its verdict and the reason")
    if warning := grey.warn():
        print(f"warning: {warning}")
    stale = find_stale_figures(data.root)
    for path in stale:
        path.unlink()
    if stale:
        print(
            f"removed the figures of another data.root's pictures ({len(stale)} of metrics, plots and data)"
        )
    if data.on_bad == "stop":
        stop(ledger.refused, splits, root)
    emptied = [root / "train" / name for name in classes if not counts["train"][name]]
    emptied += [root / name for name, count in counts.items() if not count]
    if emptied:
        raise UserError(*(f"{folder}: no usable picture is left (see {BAD})" for folder in emptied))
    totals = {name: count.total() for name, count in counts.items()}
    write_json(METRICS, {"data": {"classes": len(classes), **totals, "bad": len(ledger.refused)}})


def stop(refused: list[tuple[str, str]], splits: list[Source], root: Path) -> None:
    """End the stage if pictures would be left out: refused ones, and those that are in the wrong place."""
    misplaced = [row for split in splits for row in split.misplaced()]
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
