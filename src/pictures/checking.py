"""Open every picture once, on all cores: hash, fit and pack it, or record why it is refused."""

import math
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tqdm import tqdm

from src.ground.files import open_atomically
from src.machine.workers import map_in_processes
from src.pictures.folders import Source
from src.pictures.grey import GreyRange, GreySetting, GreyUse
from src.pictures.ledger import PASSED, REFUSED, TAKEN, Ledger
from src.pictures.manifest import PackWriter, start_manifest
from src.pictures.opening import Checked, check_file, measure_values, refuse_lost
from src.pictures.settings import DataSettings

CHUNK, CHUNK_BYTES = 16, 2**22  # files that a process checks at a time, and bytes of their pixels


class Duplicates:
    """Remembers every picture's hash, to refuse a picture that is in two splits or in two classes.

    The same pixels in train and test invalidate the test; in two classes, at least one label is wrong. A
    picture repeated in the same class of the same split is only remarked on.
    """

    def __init__(self) -> None:
        self.first: dict[int, tuple[str, str]] = {}  # hash as a number -> path, class

    def compare(self, file: tuple[str, str], digest: str) -> tuple[str, str]:
        """The verdict on an intact picture (path, class) and its reason; splits in order."""
        path, name = self.first.setdefault(int(digest, 16), file)
        if path == file[0]:
            return TAKEN, ""
        split, other_split = file[0].partition("/")[0], path.partition("/")[0]
        if name != file[1]:
            reason = f"in two classes: the same pixels as {path} (one label is wrong: remove that file)"
            return REFUSED, reason
        if split != other_split:
            return REFUSED, f"in two splits: the same pixels as {path} (keep one of the two)"
        return TAKEN, f"repeated: the same pixels as {path}"


def choose_grey_range(setting: GreySetting, data: DataSettings, files: list[tuple[str, str]]) -> GreyRange:
    """The range that images.grey_range asks for; `set` reads the pictures among `files`, train's."""
    if setting == "file":
        return None
    if setting != "set":
        return setting[0], setting[1]
    use = GreyUse(None)
    for values in map_in_processes(partial(measure_values, data), files, CHUNK, lambda *_: None):
        use.add(values)
    if not use.pictures:
        print("images.grey_range: set: train has no 16-bit grey")
        return None
    low, high, _ = use.found
    print(f"images.grey_range: set: {use.pictures} pictures of train have values {low} to {high}")
    return low, max(high, low + 1)


def check_split(
    split: Source,
    data: DataSettings,
    size: tuple[int, int],
    fit: str,
    packed: bool,
    seen: Duplicates,
    ledger: Ledger,
    grey: GreyUse,
    manifest: Path,
    pack: Path,
) -> Counter[str]:
    """Write a split's manifest and its pack, empty if not `packed`, of pictures of `size` (height, width).

    `fit` says how they are brought to it. Every file is entered into the ledger. Returns the number of
    pictures per class.
    """
    counts: Counter[str] = Counter()
    for path, reason in split.passed:
        ledger.add(path, PASSED, reason)
    with open_atomically(manifest) as manifest_file, open_atomically(pack, "wb") as pack_file:
        rows, pictures = start_manifest(manifest_file), PackWriter(pack_file, *size)
        results = check_files(split.files, data, grey.range, size if packed else None, fit)
        progress = tqdm(results, split.name, len(split.files), disable=None)
        for file, checked in zip(split.files, progress, strict=True):
            path, name = file
            verdict, reason = REFUSED, checked.reason
            if not reason:
                verdict, reason = seen.compare(file, checked.hash)
            ledger.add(path, verdict, *filter(None, (reason, *checked.notes)))
            if verdict == REFUSED:
                continue
            rows.writerow([path, name, checked.hash])
            if packed:
                pictures.append(checked.pixels)
            grey.add(checked.values)
            counts[name] += 1
        pictures.write_header()
    return counts


def check_files(
    files: list[tuple[str, str]],
    data: DataSettings,
    grey_range: GreyRange,
    size: tuple[int, int] | None,
    fit: str,
) -> Iterator[Checked]:
    """The result for each file (path, class), in their order; uses one process per core."""
    picture = 3 * math.prod(size) if size else 1
    chunk = max(1, min(CHUNK, CHUNK_BYTES // picture))
    return map_in_processes(partial(check_file, data, grey_range, size, fit), files, chunk, refuse_lost)
