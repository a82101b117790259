"""The intact pictures by split: duplicates are judged, manifests and packs written, all files entered."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import numpy as np

from src.ground.files import open_atomically
from src.pictures.assigning import Intact, Picture
from src.pictures.counts import warn_of_shares
from src.pictures.dividing import find_shares
from src.pictures.folders import Source
from src.pictures.ledger import PASSED, REFUSED, TAKEN, Ledger
from src.pictures.manifest import SPLITS, manifest_path, pack_path, start_manifest
from src.pictures.settings import ImageSettings, SplitSettings
from src.pictures.shards import open_shards, write_pack

IN_CLASSES, IN_SPLITS, ALIKE = "alike in two classes", "alike in two splits", "alike"
SAME = "looks the same as "
NAMED = 3  # pairs of pictures that a warning names
FINE = TAKEN, ""  # the same object for all such pictures


def judge(pictures: Intact) -> list[tuple[str, str]]:
    """The verdict on each intact picture and its reason, (N,): on those whose pixels an earlier one has.

    The same pixels in train and test invalidate the test; in two classes, at least one label is wrong. A
    picture repeated in the same class of the same split is only remarked on.
    """
    _, first, inverse = np.unique(pictures.gather("digests"), return_index=True, return_inverse=True)
    earlier, verdicts = first[inverse], [FINE] * len(pictures)
    for row in np.flatnonzero(earlier != np.arange(len(earlier))).tolist():
        verdicts[row] = compare(pictures[row], pictures[int(earlier[row])])
    return verdicts


def compare(one: Picture, first: Picture) -> tuple[str, str]:
    """The verdict on a picture that has the pixels of an earlier one, and its reason."""
    path, name = first.file
    if name != one.file[1]:
        return REFUSED, f"in two classes: the same pixels as {path} (one label is wrong: remove that file)"
    if first.split != one.split:
        return REFUSED, f"in two splits: the same pixels as {path} (keep one of the two)"
    return TAKEN, f"repeated: the same pixels as {path}"


def write_split(split: str, pictures: Intact, images: ImageSettings, packed: bool) -> None:
    """Write a split's manifest and its pack, empty if not `packed`."""
    with open_atomically(manifest_path(split)) as file:
        start_manifest(file).writerows([*one.file, one.digest] for one in pictures)
    first = next((one.checks for one in pictures), None)
    if packed and first and first.pack == pack_path(split) and len(pictures) == len(first.find_intact()):
        if all(one.checks is first for one in pictures):
            return  # check_source has written these rows, in this order
    size = images.size(split)
    with write_pack(pack_path(split), (*size, 3), images.shard) as writer:
        for pixels in read_pixels(pictures, size) if packed else ():
            writer.append(pixels)


def read_pixels(pictures: Iterable[Picture], size: tuple[int, int]) -> Iterator[bytes]:
    """The pixels of each picture in a size (height, width), from the packs that check_source wrote."""
    with ExitStack() as stack:
        packs = {path: open_pack(path, stack) for path in {one.checks.pack for one in pictures}}
        for one in pictures:
            files, most, start = packs[one.checks.pack]
            sizes, (shard, number) = one.checks.sizes, divmod(one.row, most)
            before = sum(3 * math.prod(other) for other in sizes[: sizes.index(size)])
            row = sum(3 * math.prod(other) for other in sizes)
            files[shard].seek(start + number * row + before)
            yield files[shard].read(3 * math.prod(size))


def open_pack(path: Path, stack: ExitStack) -> tuple[list[IO[bytes]], int, int]:
    """The files of a pack, the rows of each but the last, and the byte at which these begin."""
    shards = open_shards(path)
    files: list[IO[bytes]] = [stack.enter_context(open(shard.path, "rb")) for shard in shards]
    return files, max(1, len(shards[0].rows)), shards[0].rows.offset  # type: ignore[attr-defined]  # a memmap


def find_alike(pictures: Intact) -> dict[str, str]:
    """A remark for each path of a picture that looks the same as another, but has not the same pixels."""
    names, numbers, counts = np.unique(pictures.alike, return_inverse=True, return_counts=True)
    members: dict[int, list[Picture]] = {name: [] for name in names[counts > 1].tolist()}
    for row in np.flatnonzero(counts[numbers] > 1).tolist():
        members[int(pictures.alike[row])].append(pictures[row])
    remarks = {}
    for alike in members.values():
        for one, what, other in compare_alike(alike):
            remarks[one.file[0]] = f"{what}: {SAME}{other.file[0]}"
    return remarks


def compare_alike(alike: Sequence[Picture]) -> Iterator[tuple[Picture, str, Picture]]:
    """For each of several pictures that look the same: in what it differs from which one, class first."""
    kinds: tuple[tuple[str, Callable[[Picture], str]], ...] = (
        (IN_CLASSES, lambda one: one.file[1]),
        (IN_SPLITS, lambda one: one.split),
        (ALIKE, lambda one: one.digest),
    )
    firsts = [{find(one): one for one in reversed(alike)} for _, find in kinds]
    for one in alike:
        for (what, find), first in zip(kinds, firsts, strict=True):
            others = (other for key, other in reversed(first.items()) if key != find(one))
            if other := next(others, None):
                yield one, what, other
                break


def warn_of_alike(pictures: Intact, remarks: Mapping[str, str]) -> Iterator[str]:
    """A warning about pictures that look the same in two classes, and one about two splits."""
    for what, remedy in (
        (IN_CLASSES, "one of two labels may be wrong"),
        (IN_SPLITS, "what is measured may be too good: remove one of two"),
    ):
        paths = (one.file[0] for one in pictures)
        found = {path: remarks[path] for path in paths if remarks.get(path, "").startswith(f"{what}:")}
        pairs = dict.fromkeys(tuple(sorted((path, text.rpartition(SAME)[2]))) for path, text in found.items())
        if found:
            first = ", ".join(f"{one} and {other}" for one, other in [*pairs][:NAMED])
            more = ", ..." * (len(pairs) > NAMED)
            yield f"{len(found)} pictures {what}: {first}{more} ({remedy}; data/files.csv lists all)"


def warn_of_skew(
    pictures: Intact, divided: Sequence[Source], keys: Mapping[str, str], settings: SplitSettings
) -> Iterator[str]:
    """A warning for each source that was divided into other shares than those asked for."""
    for source in divided:
        place = next(place for place, checks in enumerate(pictures.checked) if checks.source is source)
        own = pictures.take(pictures.places == place)
        groups = Counter(keys[one.file[0]] for one in own if one.file[0] in keys)
        crowd = np.unique(own.alike, return_counts=True)[1].max(initial=0)
        found, shares = Counter(one.split for one in own), find_shares(source.splits, settings)
        yield from warn_of_shares(found, int(crowd), max(groups.values(), default=0), shares)


def enter_files(
    ledger: Ledger, pictures: Intact, verdicts: Sequence[tuple[str, str]], alike: Mapping[str, str]
) -> None:
    """Enter every file, with the verdicts (N,) on intact ones, and remarks by path."""
    for place, checks in enumerate(pictures.checked):
        source, own = checks.source, np.flatnonzero(pictures.places == place)
        for path, reason in source.passed:
            ledger.add(source.name, path, PASSED, reason)
        row_of = np.zeros(len(source.files), np.int64)
        row_of[pictures.numbers[own]] = own
        for (path, _), reason, notes, row in zip(
            source.files, checks.reasons, checks.notes, row_of.tolist(), strict=True
        ):
            verdict, why = (REFUSED, reason) if reason else verdicts[row]
            remark = alike.get(path, "") if verdict == TAKEN else ""
            ledger.add(source.name, path, verdict, *filter(None, (why, remark, *notes)))


def count_pictures(
    pictures: Intact, sources: Sequence[Source], refused: Sequence[tuple[str, str]]
) -> dict[str, Counter[str]]:
    """The number of pictures of each class in each split, and of refused files (path, reason)."""
    counts = {split: Counter(one.file[1] for one in pictures.of(split)) for split in SPLITS}
    paths = {path for path, _ in refused}
    files = (file for source in sources for file in source.files)
    return counts | {"refused": Counter(name for path, name in files if path in paths)}
