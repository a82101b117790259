"""Open every picture once, on all cores: hash, letterbox and pack it, or record why it is refused."""

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from PIL import Image
from tqdm import tqdm

from src.ground.errors import shorten
from src.ground.files import open_atomically
from src.ground.kinds import Count, Factor, Pixels, Rule, within
from src.ground.params import Settings
from src.machine.stderr import catch_stderr
from src.machine.workers import map_in_processes
from src.pictures.decode import FORMATS, BadPicture, decode, hash_pixels, may_be_deep_grey
from src.pictures.folders import Split
from src.pictures.grey import GreyRange, GreySetting, GreyUse, Values
from src.pictures.ledger import PASSED, REFUSED, TAKEN, Ledger
from src.pictures.letterbox import letterbox
from src.pictures.manifest import PackWriter, start_manifest

CHUNK, CHUNK_BYTES = 16, 2**22  # files that a process checks at a time, and bytes of their pixels
BYTES_PER_PIXEL, METADATA = (
    16,
    2**28,
)  # a file over these for data.max_pixels cannot be a picture that is accepted
HEAD = 4096  # bytes from which a file's format is known
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
    grey_range: GreySetting  # values of 16-bit grey that become 0 to 255: file, set or [lowest, highest]

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

    pixels: bytes  # H x W x 3, letterboxed; empty if refused or not requested
    hash: str  # of the picture before letterboxing
    reason: str  # empty if the picture is intact
    notes: tuple[str, ...] = ()  # what is odd about an intact picture
    values: Values | None = None  # of 16-bit grey


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
            return (
                REFUSED,
                f"in two classes: the same pixels as {path} (one label is wrong: remove that file)",
            )
        if split != other_split:
            return REFUSED, f"in two splits: the same pixels as {path} (keep one of the two)"
        return TAKEN, f"repeated: the same pixels as {path}"


def choose_grey_range(
    setting: GreySetting, root: Path, files: list[tuple[str, str]], data: DataSettings
) -> GreyRange:
    """The range that images.grey_range asks for; `set` reads the pictures among `files`, train's."""
    if setting == "file":
        return None
    if setting != "set":
        return setting[0], setting[1]
    use = GreyUse(None)
    for values in map_in_processes(partial(measure_values, root, data), files, CHUNK, lambda *_: None):
        use.add(values)
    if not use.pictures:
        print("images.grey_range: set: train has no 16-bit grey")
        return None
    low, high, _ = use.found
    print(f"images.grey_range: set: {use.pictures} pictures of train have values {low} to {high}")
    return low, max(high, low + 1)


def measure_values(root: Path, data: DataSettings, file: tuple[str, str]) -> Values | None:
    """The values of a file of 16-bit grey; None for any other."""
    try:
        content = read_bytes(root / file[0], BYTES_PER_PIXEL * data.max_pixels + METADATA)
        if may_be_deep_grey(content):
            return decode(content, data.min_side, data.max_pixels).find_values()
    except Exception:  # check_file will say why
        pass
    return None


def check_split(
    root: Path,
    split: Split,
    data: DataSettings,
    size: tuple[int, int],
    packed: bool,
    seen: Duplicates,
    ledger: Ledger,
    grey: GreyUse,
    manifest: Path,
    pack: Path,
) -> Counter[str]:
    """Write a split's manifest and its pack of pictures of `size` (height, width), empty if not `packed`.

    Every file is entered into the ledger. Returns the number of pictures per class.
    """
    counts: Counter[str] = Counter()
    for path, reason in split.passed:
        ledger.add(path, PASSED, reason)
    with open_atomically(manifest) as manifest_file, open_atomically(pack, "wb") as pack_file:
        rows, pictures = start_manifest(manifest_file), PackWriter(pack_file, *size)
        results = check_files(root, split.files, data, grey.range, size if packed else None)
        progress = tqdm(results, split.name, len(split.files), disable=None)
        for file, checked in zip(split.files, progress, strict=True):
            path, name = file
            verdict, reason = (
                (REFUSED, checked.reason) if checked.reason else seen.compare(file, checked.hash)
            )
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
    root: Path,
    files: list[tuple[str, str]],
    data: DataSettings,
    grey_range: GreyRange,
    size: tuple[int, int] | None,
) -> Iterator[Checked]:
    """The result for each file (path, class), in their order; uses one process per core."""
    picture = 3 * math.prod(size) if size else 1
    chunk = max(1, min(CHUNK, CHUNK_BYTES // picture))
    return map_in_processes(partial(check_file, root, data, grey_range, size), files, chunk, refuse_lost)


def refuse_lost(file: tuple[str, str], why: str) -> Checked:
    """The result for a file whose process died."""
    return Checked(
        b"", "", f"fatal: decoding it ended the process, {why} (save it again, smaller, or remove it)"
    )


def check_file(
    root: Path,
    data: DataSettings,
    grey_range: GreyRange,
    size: tuple[int, int] | None,
    file: tuple[str, str],
) -> Checked:
    """Read, verify, decode and hash one file; letterbox it to `size` (height, width) if given.

    Nothing that a file contains raises an error here. What libraries print on it becomes part of the result.
    """
    with catch_stderr() as said:
        checked = open_file(root / file[0], data, grey_range, size)
    return (
        replace(checked, notes=(*checked.notes, f"decoder's warning: {said[0][:200]}")) if said else checked
    )


def open_file(path: Path, data: DataSettings, grey_range: GreyRange, size: tuple[int, int] | None) -> Checked:
    """The result for the file at `path`."""
    try:
        content = read_bytes(path, BYTES_PER_PIXEL * data.max_pixels + METADATA)
        decoded = decode(content, data.min_side, data.max_pixels)
        pixels = letterbox(decoded.to_rgb(grey_range), *size).tobytes() if size else b""
        return Checked(pixels, hash_pixels(decoded.image), "", decoded.notes, decoded.find_values())
    except BadPicture as bad:
        return Checked(b"", "", str(bad))
    except MemoryError:
        return Checked(b"", "", "too large: more memory is needed than there is (save it smaller)")
    except Exception as error:
        return Checked(
            b"", "", f"broken: {type(error).__name__}: {shorten(error, 200)} (save it again or remove it)"
        )


def read_bytes(path: Path, most: int) -> bytes:
    """The contents of a regular file or of a link's target; of one that is no picture only the head.

    Raises BadPicture for one of over `most` bytes.
    """
    if path.is_symlink() and not path.exists():
        raise BadPicture("a broken link: its target is gone (restore the target or remove the link)")
    if not path.exists():
        raise BadPicture("gone: it was removed during the run (run again)")
    if not path.is_file():
        raise BadPicture("not a file: a device or a pipe (remove it)")
    try:
        with open(path, "rb") as file:
            if not is_known(head := file.read(HEAD)):
                return head
            length = file.seek(0, os.SEEK_END)
            if length > most:
                raise BadPicture(
                    f"too large: {length / 2**20:.0f} MB, more than a picture of data.max_pixels can have "
                    "(save it smaller, raise data.max_pixels or remove it)"
                )
            file.seek(0)
            return file.read()
    except OSError as error:
        raise BadPicture(f"cannot be read: {error.strerror} (make it readable or remove it)") from None


def is_known(head: bytes) -> bool:
    """Whether a file that begins so may be in a format that `decode` opens."""
    Image.init()
    return any(accepts is None or accepts(head) for _, accepts in (Image.OPEN[name] for name in FORMATS))
