"""Open every picture once: refuse unusable ones, list and pack the rest.

params  data, images
reads   ${data.root}/{train,val,test}           <class>/<picture>
writes  data/manifest/classes.json               the classes of train, sorted
        data/manifest/{train,val,test}.csv       path, class, hash
        data/packed/{train,val,test}.npy         uint8 (N, H, W, 3), letterboxed; N = 0 if not packed
        data/bad_images.csv                      path, reason
        data/models/teachers/classes.json        the same classes, beside every teacher
        metrics/data.json
run     python -m stages.check_images [--preflight: check params.yaml and the folders, open no picture]
"""

import sys
from pathlib import Path

from src.ground.errors import UserError, run
from src.ground.files import write_json
from src.ground.params import check_pictures, read
from src.pictures.checking import DataSettings, Duplicates, ImageSettings, check_split
from src.pictures.folders import scan
from src.pictures.manifest import CLASSES, manifest_path, pack_path, write_bad_images

BAD = Path("data/bad_images.csv")
TEACHER_CLASSES = Path("data/models/teachers/classes.json")
METRICS = Path("metrics/data.json")
OWN = Path("data/train")  # where users put their own pictures inside the project
DEMO = "data/demo"


def main() -> None:
    data, images = read(DataSettings, "data"), read(ImageSettings, "images")
    root = Path(data.root)
    if OWN.exists() and data.root == DEMO:
        print(f"ATTENTION: {OWN} exists, but data.root is {DEMO}: this run uses the demo data, not yours")
    if "--preflight" in sys.argv[1:] and data.root == DEMO and not root.exists():
        return  # make_demo will write it
    splits, classes, warnings = scan(root)
    for warning in warnings:
        print(f"warning: {warning}")
    check_pictures(splits[0].count(), trains="--preflight" in sys.argv[1:])
    if "--preflight" in sys.argv[1:]:
        return

    write_json(CLASSES, classes)
    write_json(TEACHER_CLASSES, classes)
    seen, bad, counts = Duplicates(), [], {}
    packed = images.packs({split.name: len(split.files) for split in splits})
    for split in splits:
        size, paths = images.size(split.name), (manifest_path(split.name), pack_path(split.name))
        counts[split.name], refused = check_split(root, split, data, size, packed, seen, *paths)
        bad += refused
        print(
            f"{split.name}: {counts[split.name].total()} pictures, {len(refused)} refused, "
            f"{split.hidden} hidden files skipped"
        )
    write_bad_images(BAD, bad)
    if seen.repeated:
        print(f"warning: {seen.repeated} duplicate pictures within the same class and split")
    if bad and data.on_bad == "stop":
        path, reason = bad[0]
        raise UserError(
            f"{BAD}: {len(bad)} pictures refused, first {root / path}: {reason} (fix or remove them, or "
            "skip them with data.on_bad: skip)"
        )
    for name in classes:
        if not counts["train"][name]:
            raise UserError(f"{root / 'train' / name}: no usable picture is left (see {BAD})")
    for split in splits:
        if not counts[split.name]:
            raise UserError(f"{root / split.name}: no usable picture is left (see {BAD})")
    totals = {name: count.total() for name, count in counts.items()}
    write_json(METRICS, {"data": {"classes": len(classes), **totals, "bad": len(bad)}})


if __name__ == "__main__":
    run(main, arguments=["--preflight"])
