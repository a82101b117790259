"""Which split every intact picture goes to, and which of them look the same: each is found once for all."""

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import numpy as np

from src.ground.chunks import list_chunks
from src.machine.executor import map_items
from src.pictures.checking import CHUNK, Checks, check_source, find_needs
from src.pictures.dividing import Looks, divide, find_linked, join_alike
from src.pictures.fitting import LETTERBOX
from src.pictures.folders import Source
from src.pictures.grey import GreyRange, GreySetting, GreyUse, Values
from src.pictures.likeness import Groups, allocate, join_near
from src.pictures.manifest import SPLITS
from src.pictures.opening import measure_values
from src.pictures.settings import DataSettings


@dataclass(frozen=True, slots=True)
class Picture:
    """An intact picture: where it is in which checks, and where it goes."""

    checks: Checks
    number: int  # of the file
    row: int  # in the pack of the checks
    split: str
    alike: int  # the same number for all that look the same

    @property
    def file(self) -> tuple[str, str]:
        """Its path and class."""
        return self.checks.source.files[self.number]

    @property
    def digest(self) -> str:
        return self.checks.digests[self.number].decode()

    @property
    def values(self) -> Values | None:
        return self.checks.values[self.number]


def list_pictures(checked: Sequence[Checks], data: DataSettings, keys: Mapping[str, str]) -> list[Picture]:
    """Every intact picture, in the order of the splits, and within one of the paths.

    `keys` has the group of each path that has one.
    """
    linked = find_linked([checks.source for checks in checked])
    checked = sorted(checked, key=lambda checks: checks.source not in linked)
    intact = [checks.find_intact() for checks in checked]
    files = [checks.source.files[row] for checks, rows in zip(checked, intact, strict=True) for row in rows]
    choices = [checks.source.splits for checks, rows in zip(checked, intact, strict=True) for _ in rows]
    known = sum(len(rows) for checks, rows in zip(checked, intact, strict=True) if checks.source in linked)
    looks = gather_looks(checked, intact)
    groups = join_alike(looks.take(known), data.distance)
    near, joined = data.distance is not None, deepcopy(groups)
    splits = divide(files[:known], keys, looks.take(known), joined, choices[:known], data.split, near)
    splits += [one for (one,) in choices[known:]]
    alike = join_rest(looks, data.distance, groups, known)
    found = iter(zip(splits, alike, strict=True))
    pictures = [
        Picture(checks, number, row, *next(found))
        for checks, rows in zip(checked, intact, strict=True)
        for row, number in enumerate(rows.tolist())
    ]
    return sorted(pictures, key=lambda picture: (SPLITS.index(picture.split), picture.file))


def gather_looks(checked: Sequence[Checks], intact: Sequence[np.ndarray]) -> Looks:
    """The looks of the intact files of all checks."""
    rows = list(zip(checked, intact, strict=True))
    thumbnails = allocate(sum(map(len, intact)), checked[0].pack.parent)
    start = 0
    for checks, some in rows:
        for part in list_chunks(len(some), thumbnails.shape[1]):
            thumbnails[start + part.start : start + part.stop] = checks.thumbnails[some[part]]
        start += len(some)
    return Looks(
        np.concatenate([checks.digests[some] for checks, some in rows]),
        np.concatenate([checks.hashes[some] for checks, some in rows]),
        thumbnails,
    )


def join_rest(looks: Looks, distance: int | None, groups: Groups, known: int) -> list[int]:
    """The number of the group of each picture that looks the same as others; the first `known` are joined."""
    if distance is None:
        return list(range(len(looks.digests)))
    all_groups = Groups(len(looks.digests))
    all_groups.above[:known] = groups.above
    if known < len(looks.digests):
        join_near(looks.hashes, looks.thumbnails, distance, all_groups, known)
    return all_groups.names().tolist()


def choose_grey_range(
    setting: GreySetting, data: DataSettings, sources: Sequence[Source], keys: Mapping[str, str]
) -> GreyRange:
    """The range that images.grey_range asks for; `set` reads train's pictures among those of the sources.

    Where pictures are divided to find train's, all among which they are divided are opened once more.
    """
    if setting == "file":
        return None
    if setting != "set":
        return setting[0], setting[1]
    use = GreyUse(None)
    for values in read_train_values(data, sources, keys):
        use.add(values)
    if not use.pictures:
        print("images.grey_range: set: train has no 16-bit grey")
        return None
    low, high, _ = use.found
    print(f"images.grey_range: set: {use.pictures} pictures of train have values {low} to {high}")
    return low, max(high, low + 1)


def read_train_values(
    data: DataSettings, sources: Sequence[Source], keys: Mapping[str, str]
) -> Iterable[Values | None]:
    """The values of 16-bit grey of each picture of train."""
    linked = find_linked(sources)
    if any("train" in source.splits for source in linked):
        checked = [check_source(source, (), LETTERBOX, data, None) for source in linked]
        return [one.values for one in list_pictures(checked, data, keys) if one.split == "train"]
    files = [file for source in sources if source.splits == ("train",) for file in source.files]
    needs = find_needs(data, files)
    return map_items(partial(measure_values, data), files, CHUNK, lambda *_: None, needs)
