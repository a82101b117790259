"""Open every picture once, on all cores: hash and fit it, or record why it is refused.

N files of a source, whose pictures go to one split or are divided among several.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from src.machine.executor import map_items
from src.pictures.folders import Source
from src.pictures.grey import GreyRange, Values
from src.pictures.likeness import allocate
from src.pictures.manifest import pack_path
from src.pictures.opening import Checked, Sizes, check_file, refuse_lost
from src.pictures.settings import DataSettings, ImageSettings
from src.pictures.shards import write_pack

CHUNK, CHUNK_BYTES = 16, 2**22  # files that a process checks at a time, and bytes of their pixels
SHARED = Path("data/packed/.shared.npy")  # pixels of pictures until it is known which split each goes to


@dataclass(frozen=True)
class Checks:
    """What is known of a source's N files after they were opened, without their pixels."""

    source: Source
    sizes: Sizes  # of the pixels in `pack`, which holds those of each size after another
    pack: Path  # has a row per intact picture, in the order of the files; no row if there are no sizes
    reasons: list[str]  # (N,) why a file is refused; empty if it is intact
    notes: list[tuple[str, ...]]  # (N,)
    values: list[Values | None]  # (N,)
    digests: np.ndarray  # (N,) of all pixels, 32 bytes each
    hashes: np.ndarray  # (N,) uint64, perceptual
    thumbnails: np.ndarray  # (N, 768) uint8

    def find_intact(self) -> np.ndarray:
        """The numbers of the intact files, ascending."""
        return np.flatnonzero([not reason for reason in self.reasons])


def choose_sizes(source: Source, images: ImageSettings, packed: bool) -> Sizes:
    """The sizes in which a source's pictures are packed, each once; none if they are not packed."""
    return tuple(dict.fromkeys(images.size(split) for split in source.splits)) if packed else ()


def check_source(
    source: Source,
    sizes: Sizes,
    fit: str,
    data: DataSettings,
    grey_range: GreyRange,
    pack: Path | None = None,
    shard: float = math.inf,
) -> Checks:
    """Open every file of a source, and write the pixels to `pack`, else that of its split, or to SHARED.

    `fit` says how a picture is brought to each of `sizes` (height, width); `shard` is the
    most GiB of a file of a split's pack.
    """
    number = len(source.files)
    own = pack is None and len(source.splits) == 1
    pack = pack or (pack_path(source.splits[0]) if own else SHARED)
    thumbnails = allocate(number, pack.parent)
    checks = Checks(
        source, sizes, pack, [], [], [], np.zeros(number, "S32"), np.zeros(number, np.uint64), thumbnails
    )
    with write_pack(pack, find_shape(sizes), shard if own else math.inf) as writer:
        results = check_files(source.files, data, grey_range, sizes, fit)
        for row, checked in enumerate(tqdm(results, source.name, number, disable=None)):
            checks.reasons.append(checked.reason)
            checks.notes.append(checked.notes)
            checks.values.append(checked.values)
            checks.digests[row] = checked.hash.encode()
            if checked.likeness:
                checks.hashes[row] = checked.likeness.hash
                thumbnails[row] = np.frombuffer(checked.likeness.thumbnail, np.uint8)
            if sizes and not checked.reason:
                writer.append(checked.pixels)
    return checks


def find_shape(sizes: Sizes) -> tuple[int, ...]:
    """The shape of a row of a pack: a picture, or the pixels of several sizes after another."""
    return (*sizes[0], 3) if len(sizes) == 1 else (sum(3 * math.prod(size) for size in sizes),)


def check_files(
    files: Sequence[tuple[str, str]], data: DataSettings, grey_range: GreyRange, sizes: Sizes, fit: str
) -> Iterator[Checked]:
    """The result for each file (path, class), in their order, from processes here or on other machines."""
    picture = 1 + sum(3 * math.prod(size) for size in sizes)
    chunk = max(1, min(CHUNK, CHUNK_BYTES // picture))
    check, needs = partial(check_file, data, grey_range, sizes, fit), find_needs(data, files)
    return map_items(check, files, chunk, refuse_lost, needs)


def find_needs(data: DataSettings, files: Sequence[tuple[str, str]]) -> list[str]:
    """What a machine must see to check files (path, class): the data root, and the last of them."""
    paths = (Path(data.root, path) for path, _ in reversed(files))
    return [data.root, *(str(path) for path in islice(filter(Path.is_file, paths), 1))]
