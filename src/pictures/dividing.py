"""Which split each picture of a shared folder goes to: by its looks, or its group, and by nothing else.

N pictures. Whether a picture is in train, val or test depends on the picture, not on its name or on others:
one that is added or renamed moves no other one. Only what belongs together is put together.
"""

import hashlib
import re
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from src.ground.errors import UserError, list_some
from src.pictures.folders import SUBFOLDER, Source
from src.pictures.likeness import Groups, find_flat, join_near
from src.pictures.manifest import SPLITS
from src.pictures.settings import SplitSettings

NO_GROUP = "none"  # of data.split.group
KEY = "params.yaml: data.split.group"
MATCHING = 5.0  # seconds that matching may take
MATCHING_EACH = 0.001  # and for each path; the usual pattern needs a thousandth of it


@dataclass(frozen=True)
class Looks:
    """What is compared of N intact pictures."""

    digests: np.ndarray  # (N,) of all pixels, 32 bytes each
    hashes: np.ndarray  # (N,) uint64, perceptual
    thumbnails: np.ndarray  # (N, 768) uint8


def join_alike(looks: Looks, distance: int | None) -> Groups:
    """The pictures that are the same or, within a distance, look the same, as groups."""
    groups = Groups(len(looks.digests))
    _, first, numbers = np.unique(looks.digests, return_index=True, return_inverse=True)
    for row in np.flatnonzero(first[numbers] != np.arange(len(numbers))).tolist():
        groups.join(int(first[numbers[row]]), row)
    if distance is not None:
        join_near(looks.hashes, looks.thumbnails, distance, groups)
    return groups


def divide(
    files: Sequence[tuple[str, str]],
    keys: Mapping[str, str],
    looks: Looks,
    groups: Groups,
    choices: Sequence[tuple[str, ...]],
    settings: SplitSettings,
    by_looks: bool = True,
) -> list[str]:
    """The split of each picture, (N,); `files` are path and class, `keys` the group of a path.

    A picture of several `choices` draws a number from its class and, `by_looks`, its perceptual hash, else
    all its pixels; a group from its name. What belongs together goes to the first of train, val and test that
    one of it has drawn, or where the user has put one of it. Joins `groups` by keys.
    """
    first: dict[str, int] = {}
    found, exact = [], find_flat(looks.thumbnails) | (not by_looks)
    for row, (path, name) in enumerate(files):
        if path in keys:
            groups.join(first.setdefault(keys[path], row), row)
            words = ("group", keys[path])
        elif exact[row]:
            words = (name, looks.digests[row].decode())
        else:
            words = (name, f"{int(looks.hashes[row]):016x}")
        found.append(SPLITS.index(choose(draw(settings.seed, *words), choices[row], settings)))
    drawn, names = np.array(found, dtype=np.int64), groups.names()
    fixed = np.array([len(some) == 1 for some in choices], dtype=bool)
    joined = fixed | ~np.isin(names, names[fixed])  # those whose split counts for what belongs to them
    earliest = np.full(len(names), len(SPLITS))
    np.minimum.at(earliest, names[joined], drawn[joined])
    return [SPLITS[number] for number in np.where(fixed, drawn, earliest[names])]


def draw(seed: int, *words: str) -> float:
    """A number in [0, 1) that depends on the seed and the words only."""
    text = "\0".join((str(seed), *words)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:6]) / 2**48


def choose(number: float, splits: tuple[str, ...], settings: SplitSettings) -> str:
    """The split for a number in [0, 1): below test's share test, then val, then train."""
    shares = find_shares(splits, settings)
    for split in reversed(splits):
        if number < shares[split]:
            return split
        number -= shares[split]
    return splits[0]


def find_shares(splits: tuple[str, ...], settings: SplitSettings) -> dict[str, float]:
    """The share of each of the splits that divide some pictures; without train the others share all."""
    shares = {split: {"val": settings.val, "test": settings.test}.get(split, 0.0) for split in splits}
    total = sum(shares.values())
    if "train" in shares:
        return shares | {"train": 1 - total}
    return {split: share / total for split, share in shares.items()}


def find_linked(sources: Sequence[Source]) -> list[Source]:
    """The sources whose pictures are divided, and those of a split that pictures of these can go to."""
    splits = {split for source in sources if len(source.splits) > 1 for split in source.splits}
    return [source for source in sources if splits & set(source.splits)]


def match_groups(sources: Sequence[Source], group: str) -> dict[str, str]:
    """The group of each path that has one, as data.split.group says."""
    if group == NO_GROUP:
        return {}
    if group == SUBFOLDER:
        return {path: name for source in sources for path, name in source.subfolders.items()}
    found, paths = {}, [path for source in sources for path, _ in source.files]
    with limit_matching(group, len(paths)):
        for path in paths:
            if match := re.search(group, path):
                found[path] = (match[1] or "") if match.re.groups else match[0]
    return found


@contextmanager
def limit_matching(group: str, paths: int) -> Iterator[None]:
    """Within the context a UserError ends a pattern that backtracks nearly without end.

    Which patterns do cannot be told beforehand. The module re looks for signals while it matches. Counted is
    the processor's time, so that a busy machine refuses nothing.
    """
    seconds = MATCHING + MATCHING_EACH * paths

    def refuse(*_: object) -> NoReturn:
        raise UserError(
            f"{KEY}: {group!r} takes over {seconds:.0f} seconds for {paths} paths (make it "
            "simpler, without a repetition inside of another, such as (a+)+)"
        )

    before = signal.signal(signal.SIGVTALRM, refuse)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def find_groups(sources: Sequence[Source], group: str) -> dict[str, str]:
    """As match_groups; a UserError if it groups nothing of what is divided, or all of it together."""
    keys = match_groups(sources, group)
    paths = [path for source in find_linked(sources) for path, _ in source.files]
    if not paths or group == NO_GROUP:
        return keys
    found = [keys[path] for path in paths if path in keys]
    if group == SUBFOLDER and not found:
        raise UserError(f"{KEY}: subfolder, but the pictures are in the folders of classes alone (set none)")
    if not found:
        raise UserError(f"{KEY}: {group!r} matches no path, such as {paths[0]} (correct it, or set none)")
    if len(found) == len(paths) and len(set(found)) == 1:
        raise UserError(f"{KEY}: {group!r} puts all pictures into one group, {found[0]!r} (correct it)")
    return keys


def warn_of_lone(sources: Sequence[Source], keys: Mapping[str, str]) -> Iterator[str]:
    """A warning if pictures that are divided are in no group, while others are."""
    divided = [source for source in sources if len(source.splits) > 1]
    files = [file for source in divided for file in source.files] if keys else []
    lone = [(path, name) for path, name in files if path not in keys]
    classes = {name for _, name in lone} - {name for path, name in files if path in keys}
    if lone:
        whole = f", all of {list_some(sorted(classes))}" if classes else ""
        yield (
            f"data.split.group: {len(lone)} of {len(files)} pictures are in no group, first "
            f"{lone[0][0]}{whole} (correct it if they belong together: each is divided by itself)"
        )


def warn_of_groups(splits: Mapping[str, str], keys: Mapping[str, str]) -> Iterator[str]:
    """A warning if groups are in two splits, by the split and the group of each path."""
    first: dict[str, str] = {}
    torn = {
        keys[path]
        for path, split in splits.items()
        if path in keys and first.setdefault(keys[path], split) != split
    }
    if torn:
        yield (
            f"data.split.group: {len(torn)} group{'s' * (len(torn) > 1)} in two splits: "
            f"{list_some(sorted(torn))} (what is measured may be too good: keep each in one split)"
        )
