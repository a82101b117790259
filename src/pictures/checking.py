"""Open every picture once, on all cores: hash, letterbox and pack it, or record why it is refused."""

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from tqdm import tqdm

from src.ground.errors import shorten
from src.ground.files import open_atomically
from src.ground.kinds import Count, Factor, Pixels, Rule, within
from src.ground.params import Settings
from src.machine.memory import keep_memory
from src.pictures.decode import BadPicture, decode, hash_pixels
from src.pictures.folders import Split
from src.pictures.letterbox import letterbox
from src.pictures.manifest import PackWriter, start_manifest

FOLDER = Rule(minLength=1, rule="must be the folder that contains train, val and test")


@dataclass(frozen=True)
class DataSettings(Settings):
    """Where the pictures are and which of them are accepted."""

    root: Annotated[str, FOLDER]  # the folder that contains train, val and test
    on_bad: Literal["stop", "skip"]  # whether a bad picture stops the stage or is left out
    min_side: Count  # pixels; smaller pictures are refused
    max_pixels: Count  # height x width; larger pictures are refused without decoding


@dataclass(frozen=True)
class ImageSettings(Settings):
    """The input size of every network, and how pictures are stored."""

    height: Pixels  # of every network's input, in pixels
    width: Pixels  # of every network's input, in pixels
    pack: Literal["auto", True, False]  # whether letterboxed pictures are stored, one file per split
    pack_limit: Factor  # GiB; auto packs if all packs together take at most this
    pack_margin: Annotated[float, within("[0, 4]")]  # share by which train is packed larger, to crop from
    dct_scaling: bool  # if not packed: decode large JPEGs at 1/2, 1/4 or 1/8 of their size

    def size(self, split: str) -> tuple[int, int]:
        """Height and width of the pictures in a split's pack."""
        scale = 1 + self.pack_margin if split == "train" else 1
        return round(scale * self.height), round(scale * self.width)

    def packs(self, counts: Mapping[str, int]) -> bool:
        """Whether splits with these numbers of pictures are packed; prints what auto decided."""
        if self.pack != "auto":
            return bool(self.pack)
        gigabytes = sum(count * 3 * math.prod(self.size(split)) for split, count in counts.items()) / 2**30
        packed = gigabytes <= self.pack_limit
        verb = "are packed" if packed else "are read from their files each time"
        print(f"images.pack: auto: the pictures {verb} ({gigabytes:.2g} of at most {self.pack_limit:g} GiB)")
        return packed


@dataclass(frozen=True)
class Checked:
    """The result for one file: pixels and hash, or the reason for refusal."""

    path: str  # relative to the data root
    name: str  # its class
    pixels: bytes  # H x W x 3, letterboxed; empty if refused or not requested
    hash: str  # of the picture before letterboxing
    reason: str  # empty if the picture is intact
    notes: tuple[str, ...] = ()  # what is odd about an intact picture, such as that it has several frames


class Duplicates:
    """Remembers every picture's hash, to refuse a picture that is in two splits or in two classes.

    The same pixels in train and test invalidate the test; in two classes, at least one label is wrong. A
    picture repeated in the same class of the same split is only counted.
    """

    def __init__(self) -> None:
        self.first: dict[str, tuple[str, str]] = {}  # hash -> path, class
        self.repeated = 0

    def refuse(self, checked: Checked) -> str:
        """The reason to refuse an intact picture, or an empty text; call it in the order train, val, test."""
        path, name = self.first.setdefault(checked.hash, (checked.path, checked.name))
        if path == checked.path:
            return ""
        if name == checked.name and path.partition("/")[0] == checked.path.partition("/")[0]:
            self.repeated += 1
            return ""
        return f"the same pixels as {path}"


def check_split(
    root: Path,
    split: Split,
    data: DataSettings,
    size: tuple[int, int],
    packed: bool,
    seen: Duplicates,
    manifest: Path,
    pack: Path,
) -> tuple[Counter[str], list[tuple[str, str]]]:
    """Write a split's manifest and its pack of pictures of `size` (height, width), empty if not `packed`.

    Returns the number of pictures per class, and (path, reason) of each refused file.
    """
    counts: Counter[str] = Counter()
    bad: list[tuple[str, str]] = []
    with open_atomically(manifest) as manifest_file, open_atomically(pack, "wb") as pack_file:
        rows, pictures = start_manifest(manifest_file), PackWriter(pack_file, *size)
        files = check_files(root, split.files, data, size if packed else None)
        for checked in tqdm(files, split.name, len(split.files), disable=None):
            reason = checked.reason or seen.refuse(checked)
            if reason:
                bad.append((checked.path, reason))
                continue
            rows.writerow([checked.path, checked.name, checked.hash])
            if packed:
                pictures.append(checked.pixels)
            counts[checked.name] += 1
        pictures.write_header()
    return counts, bad


def check_files(
    root: Path, files: list[tuple[str, str]], data: DataSettings, size: tuple[int, int] | None
) -> Iterator[Checked]:
    """The result for each file (path, class), in their order; uses one process per core."""
    with ProcessPoolExecutor(os.cpu_count(), initializer=keep_memory) as pool:
        yield from pool.map(partial(check_file, root, data, size), files, chunksize=16)


def check_file(
    root: Path, data: DataSettings, size: tuple[int, int] | None, file: tuple[str, str]
) -> Checked:
    """Read, verify, decode and hash one file; letterbox it to `size` (height, width) if given."""
    path, name = file
    try:
        decoded = decode(read_bytes(root / path), data.min_side, data.max_pixels)
        pixels = letterbox(decoded.to_rgb(None), *size).tobytes() if size else b""
        return Checked(path, name, pixels, hash_pixels(decoded.image), "", decoded.notes)
    except BadPicture as bad:
        return Checked(path, name, b"", "", str(bad))
    except Exception as error:  # of one file: the others are checked all the same
        reason = (
            f"cannot be decoded: {type(error).__name__} {shorten(error, 100)} (save it again or remove it)"
        )
        return Checked(path, name, b"", "", reason)


def read_bytes(path: Path) -> bytes:
    """The contents of a regular file or of a link's target."""
    if path.is_symlink() and not path.exists():
        raise BadPicture("a broken link")
    if not path.is_file():
        raise BadPicture("not a file; pictures must be directly in the class folder")
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadPicture(f"cannot be read: {error.strerror}") from None
