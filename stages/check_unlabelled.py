"""Open every picture of a folder without labels once: refuse unusable ones, list and pack the rest.

params  data, images
reads   ${data.root}/NAME                <picture>, at any depth
        data/manifest/classes.json
        data/manifest/grey_range.json
        data/manifest/{train,val,test}.csv
        data/packed/train.npy
writes  data/unlabelled/NAME.csv         path, hash
        data/unlabelled/NAME.files.csv   path, verdict, reason of every file found
        data/unlabelled/NAME.npy         uint8 (N, H, W, 3), as train's are packed
run     python -m stages.check_unlabelled NAME
"""

import sys
from pathlib import Path

from src.ground.errors import UserError, escape, run
from src.ground.files import open_atomically
from src.ground.params import read
from src.pictures.assigning import Picture
from src.pictures.checking import Checks, check_source, choose_sizes
from src.pictures.grey import read_grey_range
from src.pictures.ledger import PASSED, TAKEN, Ledger
from src.pictures.manifest import pack_path as find_pack
from src.pictures.manifest import read_classes
from src.pictures.reading import Pack
from src.pictures.settings import DataSettings, ImageSettings
from src.pictures.shards import write_pack
from src.pictures.splits import read_pixels
from src.pictures.unlabelled import (
    choose_name,
    files_path,
    judge,
    pack_path,
    scan_unlabelled,
    warn_of_classes,
    write_list,
)


def main() -> None:
    data, images = read(DataSettings, "data"), read(ImageSettings, "images")
    name, root = choose_name(sys.argv[1:], data.unlabelled), Path(data.root)
    source = scan_unlabelled(root, name)
    sizes = choose_sizes(source, images, packed=len(Pack(find_pack("train"))) > 0)
    shared = pack_path(f".{name}")
    try:
        checks = check_source(source, sizes, images.fit, data, read_grey_range(), shared)
        verdicts = judge(checks)
        taken = [row for row, (verdict, _) in enumerate(verdicts) if verdict == TAKEN]
        gather(pack_path(name), checks, taken, images)
    finally:
        shared.unlink(missing_ok=True)
    write_list(name, [(source.files[row][0], checks.digests[row].decode()) for row in taken])
    with open_atomically(files_path(name)) as file:
        ledger = Ledger(file)
        for path, reason in source.passed:
            ledger.add(name, path, PASSED, reason)
        for (path, _), (verdict, reason), notes in zip(source.files, verdicts, checks.notes, strict=True):
            ledger.add(name, path, verdict, *filter(None, (reason, *notes)))
    for line in (
        *ledger.count_sources(),
        *ledger.count_reasons(),
        *warn_of_classes(root / name, read_classes()),
    ):
        print(escape(line))
    if ledger.refused and data.on_bad == "stop":
        path, reason = ledger.refused[0]
        raise UserError(
            f"{files_path(name)}: {len(ledger.refused)} refused, first {root / path}: "
            f"{reason.removesuffix(')')}, or leave such pictures out with data.on_bad: skip)"
        )
    if not taken:
        raise UserError(f"{root / name}: no usable picture (add some, or take it out of data.unlabelled)")


def gather(path: Path, checks: Checks, taken: list[int], images: ImageSettings) -> None:
    """Write the pictures that are taken; none if they are not packed."""
    row_of = {number: row for row, number in enumerate(checks.find_intact().tolist())}
    pictures = [Picture(checks, number, row_of[number], "train", 0) for number in taken]
    size = images.size("train")
    with write_pack(path, (*size, 3), images.shard) as writer:
        for pixels in read_pixels(pictures, size) if checks.sizes else ():
            writer.append(pixels)


if __name__ == "__main__":
    run(main)
