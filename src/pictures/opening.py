"""One file of any kind: opened, decoded, hashed and fitted, or the reason why it is refused."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from src.ground.errors import shorten
from src.machine.stderr import catch_stderr
from src.pictures.decode import FORMATS, BadPicture, decode, may_be_deep_grey
from src.pictures.fitting import fit_picture
from src.pictures.grey import GreyRange, Values
from src.pictures.likeness import Likeness, find_likeness
from src.pictures.settings import DataSettings

BYTES_PER_PIXEL, METADATA = 16, 2**28  # together the most bytes that an accepted picture's file can have
HEAD = 4096  # bytes from which a file's format is known
Sizes = tuple[tuple[int, int], ...]  # height and width of the pictures to make of one


@dataclass(frozen=True)
class Checked:
    """The result for one file: pixels and hash, or the reason for refusal."""

    pixels: bytes  # H x W x 3, fitted, of each size after another; empty if refused or not requested
    hash: str  # of the picture before it is fitted
    reason: str  # empty if the picture is intact
    notes: tuple[str, ...] = ()  # what is odd about an intact picture
    values: Values | None = None  # of 16-bit grey
    likeness: Likeness | None = None  # None if refused


def refuse(reason: str) -> Checked:
    return Checked(b"", "", reason)


def refuse_lost(file: tuple[str, str], why: str) -> Checked:
    """The result for a file whose process died."""
    return refuse(f"fatal: decoding it ended the process, {why} (save it again, smaller, or remove it)")


def check_file(
    data: DataSettings, grey_range: GreyRange, sizes: Sizes, fit: str, file: tuple[str, str]
) -> Checked:
    """Read, verify, decode and hash a file (path, class); fit it to each of `sizes` (height, width).

    Nothing that a file contains raises an error here. What libraries print on it becomes part of the result.
    """
    with catch_stderr() as said:
        checked = open_file(Path(data.root, file[0]), data, grey_range, sizes, fit)
    warnings = (f"decoder's warning: {line[:200]}" for line in said[:1])
    return replace(checked, notes=(*checked.notes, *warnings))


def open_file(path: Path, data: DataSettings, grey_range: GreyRange, sizes: Sizes, fit: str) -> Checked:
    """The result for the file at `path`."""
    try:
        content = read_bytes(path, data.max_pixels)
        decoded = decode(content, data.min_side, data.max_pixels)
        picture = decoded.to_rgb(grey_range) if sizes else decoded.image
        pixels = b"".join(fit_picture(picture, *size, fit).tobytes() for size in sizes)
        likeness, values = find_likeness(decoded.image), decoded.find_values()
        return Checked(pixels, decoded.hash(), "", decoded.notes, values, likeness)
    except BadPicture as bad:
        return refuse(str(bad))
    except MemoryError:
        return refuse("too large: more memory is needed than there is (save it smaller)")
    except Exception as error:
        return refuse(f"broken: {type(error).__name__}: {shorten(error, 200)} (save it again or remove it)")


def read_bytes(path: Path, max_pixels: int) -> bytes:
    """The contents of a regular file or of a link's target; of one that is no picture only the head.

    Raises BadPicture for one that is longer than a picture of `max_pixels` can be.
    """
    try:
        if not path.is_file():
            raise BadPicture(explain_missing(path))
        with open(path, "rb") as file:
            if not is_known(head := file.read(HEAD)):
                return head
            length = file.seek(0, os.SEEK_END)
            if length > BYTES_PER_PIXEL * max_pixels + METADATA:
                raise BadPicture(
                    f"too large: {length / 2**20:.0f} MB, more than a picture of data.max_pixels can have "
                    "(save it smaller, raise data.max_pixels or remove it)"
                )
            file.seek(0)
            return file.read()
    except OSError as error:
        raise BadPicture(f"cannot be read: {error.strerror} (make it readable or remove it)") from None


def explain_missing(path: Path) -> str:
    """Why a path that was found is no regular file, nor a link to one."""
    if path.exists():
        return "not a file: a device or a pipe (remove it)"
    if path.is_symlink():
        return "a broken link: its target is gone (restore the target or remove the link)"
    return "gone: it was removed during the run (run again)"


def is_known(head: bytes) -> bool:
    """Whether a file that begins so may be in a format that `decode` opens."""
    Image.init()
    return any(accepts is None or accepts(head) for _, accepts in (Image.OPEN[name] for name in FORMATS))


def measure_values(data: DataSettings, file: tuple[str, str]) -> Values | None:
    """The values of a file of 16-bit grey; None for any other."""
    try:
        content = read_bytes(Path(data.root, file[0]), data.max_pixels)
        if may_be_deep_grey(content):
            return decode(content, data.min_side, data.max_pixels).find_values()
    except Exception:  # check_file will say why
        pass
    return None
