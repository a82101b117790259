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
MATCHING, MATCHING_EACH = (
    5.0,
    0.001,
)  # seconds that matching may take, and for each path, which needs 0.000001


@dataclass(frozen=True)
class Looks:
    """What is compared of N intact pictures."""

    digests: Sequence[str]  # (N,) of all pixels
    hashes: np.ndarray  # (N,) uint64, perceptual
    thumbnails: np.ndarray  # (N, 768) uint8


def join_alike(looks: Looks, distance: int | None) -> Groups:
    """The pictures that are the same or, within a distance, look the same, as groups."""
    groups, first = Groups(len(looks.digests)), dict[str, int]()
    for row, digest in enumerate(looks.digests):
        groups.join(first.setdefault(digest, row), row)
    if distance is not None:
        join_near(looks.hashes, looks.thumbnails, distance, groups)
    return groups


def divide(
    files: Sequence[tuple[str, str]],
    keys: Mapping[str, str],
    looks: Looks,
    groups: Groups,
    splits: tuple[str, ...],
    settings: SplitSettings,
    by_looks: bool = True,
) -> list[str]:
    """The split of each picture, (N,), of `splits`; `files` are path and class, `keys` the group of a path.

    A picture draws a number from its class and, `by_looks`, its perceptual hash, else all its pixels; a group
    from its name. What belongs together goes to the first of train, val and test that one of it has drawn.
    """
    first: dict[str, int] = {}
    drawn, exact = [], find_flat(looks.thumbnails) | (not by_looks)
    for row, (path, name) in enumerate(files):
        if path in keys:
            groups.join(first.setdefault(keys[path], row), row)
            words = ("group", keys[path])
        elif exact[row]:
            words = (name, looks.digests[row])
        else:
            words = (name, f"{int(looks.hashes[row]):016x}")
        drawn.append(SPLITS.index(choose(draw(settings.seed, *words), splits, settings)))
    names, earliest = groups.names(), np.array(drawn, dtype=np.int64)
    np.minimum.at(earliest, names, np.array(drawn, dtype=np.int64))
    return [SPLITS[number] for number in earliest[names]]


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


def match_groups(source: Source, group: str) -> dict[str, str]:
    """The group of each path that has one, as data.split.group says."""
    if group == NO_GROUP:
        return {}
    if group == SUBFOLDER:
        return source.subfolders
    found = {}
    with limit_matching(group, len(source.files)):
        for path, _ in source.files:
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


def find_groups(source: Source, group: str) -> dict[str, str]:
    """As match_groups; a UserError if it groups nothing, or all together."""
    keys, (first, _) = match_groups(source, group), source.files[0]
    if group == SUBFOLDER and not keys:
        raise UserError(f"{KEY}: subfolder, but no class folder has folders inside (set none)")
    if group != NO_GROUP and not keys:
        raise UserError(f"{KEY}: {group!r} matches no path, such as {first} (correct it, or set none)")
    if len(keys) == len(source.files) and len(set(keys.values())) == 1:
        raise UserError(f"{KEY}: {group!r} puts all pictures into one group, {keys[first]!r} (correct it)")
    return keys


def warn_of_groups(sources: Sequence[Source], group: str) -> Iterator[str]:
    """A warning if groups are in two folders of splits, so that they cannot be kept together."""
    first: dict[str, Source] = {}
    torn = set()
    for source in sources:
        for key in match_groups(source, group).values():
            if first.setdefault(key, source) is not source:
                torn.add(key)
    if torn:
        yield (
            f"data.split.group: {len(torn)} group{'s' * (len(torn) > 1)} in folders of two splits: "
            f"{list_some(sorted(torn))} (what is measured may be too good: move each into one split)"
        )
