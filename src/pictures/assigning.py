"""Which split every intact picture goes to, and which of them look the same: each is found once for all."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

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


class Picture(NamedTuple):
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


@dataclass(frozen=True)
class Intact:
    """N intact pictures in columns: a million objects would take ten times their memory."""

    checked: Sequence[Checks]
    places: np.ndarray  # (N,) int8, index into checked
    numbers: np.ndarray  # (N,) int32, as in Picture
    rows: np.ndarray  # (N,) int32
    splits: np.ndarray  # (N,) int8, index into SPLITS
    alike: np.ndarray  # (N,) int32

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Picture:
        number, row, alike = (int(column[index]) for column in (self.numbers, self.rows, self.alike))
        return Picture(self.checked[self.places[index]], number, row, SPLITS[self.splits[index]], alike)

    def __iter__(self) -> Iterator[Picture]:
        return (self[index] for index in range(len(self)))

    def take(self, indices: np.ndarray | slice) -> "Intact":
        """Some of them, by indices (n,), a mask (N,) or a slice."""
        columns = (self.places, self.numbers, self.rows, self.splits, self.alike)
        return Intact(self.checked, *(column[indices] for column in columns))

    def of(self, split: str) -> "Intact":
        """Those of a split."""
        return self.take(self.splits == SPLITS.index(split))

    def gather(self, name: str) -> np.ndarray:
        """An array of the checks, such as their digests, for these pictures: (N, ...)."""
        columns = [getattr(checks, name) for checks in self.checked]
        found = np.zeros((len(self), *columns[0].shape[1:]), columns[0].dtype)
        for place, column in enumerate(columns):
            own = self.places == place
            found[own] = column[self.numbers[own]]
        return found


def list_pictures(checked: Sequence[Checks], data: DataSettings, keys: Mapping[str, str]) -> Intact:
    """Every intact picture, in the order of the splits, and within one of the paths.

    `keys` has the group of each path that has one.
    """
    linked = find_linked([checks.source for checks in checked])
    order = sorted(range(len(checked)), key=lambda place: checked[place].source not in linked)
    intact = {place: checked[place].find_intact() for place in order}
    places = np.repeat(np.array(order, np.int8), [len(some) for some in intact.values()])
    numbers = np.concatenate([*intact.values()], dtype=np.int32)
    rows = np.concatenate([np.arange(len(some), dtype=np.int32) for some in intact.values()])
    firsts = [SPLITS.index(checks.source.splits[0]) for checks in checked]
    found = Intact(checked, places, numbers, rows, np.array(firsts, np.int8)[places], numbers)
    thumbnails = gather_thumbnails([checked[place] for place in order], [*intact.values()])
    known = sum(len(some) for place, some in intact.items() if checked[place].source in linked)
    some = found.take(slice(known))
    looks = Looks(some.gather("digests"), some.gather("hashes"), thumbnails[:known])
    groups = join_alike(looks, data.distance)
    near, joined = data.distance is not None, deepcopy(groups)
    files, choices = [one.file for one in some], [one.checks.source.splits for one in some]
    splits = divide(files, keys, looks, joined, choices, data.split, near)
    found.splits[:known] = [SPLITS.index(split) for split in splits]
    alike = join_rest(found.gather("hashes"), thumbnails, data.distance, groups)
    found = replace(found, alike=alike.astype(np.int32))
    by_file = np.array(sorted(range(len(found)), key=lambda row: found[row].file), np.int64)
    return found.take(by_file[found.splits[by_file].argsort(kind="stable")])


def gather_thumbnails(checked: Sequence[Checks], intact: Sequence[np.ndarray]) -> np.ndarray:
    """The thumbnails of the intact files of all checks, in a file."""
    thumbnails = allocate(sum(map(len, intact)), checked[0].pack.parent)
    start = 0
    for checks, some in zip(checked, intact, strict=True):
        for part in list_chunks(len(some), thumbnails.shape[1]):
            thumbnails[start + part.start : start + part.stop] = checks.thumbnails[some[part]]
        start += len(some)
    return thumbnails


def join_rest(hashes: np.ndarray, thumbnails: np.ndarray, distance: int | None, groups: Groups) -> np.ndarray:
    """The number of the group of each picture that looks the same as others; the first are in `groups`."""
    if distance is None:
        return np.arange(len(hashes))
    all_groups, known = Groups(len(hashes)), len(groups.above)
    all_groups.above[:known] = groups.above
    if known < len(hashes):
        join_near(hashes, thumbnails, distance, all_groups, known)
    return all_groups.names()


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
