"""JPEGs decoded strictly: libjpeg-turbo's warnings, which Pillow does not pass on, are errors here.

Padding is no damage: some cameras write bytes that belong to nothing between two segments or after the
pixels. libjpeg-turbo reports only its first warning, so they are cut before the rest can be judged, and
numbers that have no effect are corrected.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import simplejpeg

EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0x([0-9a-f]{2})")
IGNORED = "Invalid SOS parameters"  # of a sequential JPEG: they have no effect, but are the first warning
MARKER = re.compile(rb"\xff+[\x01-\xfe]")
NEXT_SEGMENT = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # in a scan, a 0 or a restart follows other FFs
ALONE = (0x01, *range(0xD0, 0xD9))  # markers without a length
RESTARTS = range(0xD0, 0xD8)
START_OF_SCAN, END = 0xDA, 0xD9
FEW = 4  # extraneous bytes that may have any value, as webcams write them; damage mostly leaves more
TRIES = 8


def decode_strictly(content: bytes, colours: str, smallest: int = 1) -> np.ndarray | None:
    """Pixels uint8 (H, W, 1, 3 or 4) as Pillow decodes them; ValueError at the first sign of damage.

    None if extraneous bytes hide what follows them; Pillow then detects no more than a file that is cut off.

    `colours` is GRAY, RGB or CMYK. A size of 1 / `smallest` is enough for the check alone.
    """
    for _ in range(TRIES):
        try:
            return simplejpeg.decode_jpeg(content, colours, min_factor=smallest, strict=True)
        except ValueError as error:
            found = EXTRANEOUS.search(str(error))
            if found:
                count, marker = int(found[1]), int(found[2], 16)
                if marker in RESTARTS and count <= FEW:  # they may be in each row of pixels
                    return None
                mended = cut_extraneous(content, count, marker)
            else:
                mended = reset_scans(content) if IGNORED in str(error) else content
            if mended == content:
                raise
            content = mended
    raise ValueError("too many extraneous bytes")


def cut_extraneous(content: bytes, count: int, marker: int) -> bytes:
    """The file without bytes between its segments or, if there are none, `count` bytes of padding.

    Damage too leaves bytes over at the end of a scan, but they vary; padding repeats one.
    """
    segments = list(find_segments(content))
    end = segments[-1].end if segments else 2
    kept = (content[segment.start : segment.end] for segment in segments)
    shorter = b"".join((content[:2], *kept, content[end:]))
    if shorter != content:
        return shorter
    for end in (segment.end for segment in segments if segment.marker == START_OF_SCAN):
        padding = content[end - count : end]
        if content[end + 1 : end + 2] == bytes([marker]) and (count <= FEW or len(set(padding)) == 1):
            return content[: end - count] + content[end:]
    return content


def reset_scans(content: bytes) -> bytes:
    """A sequential JPEG whose scans have the numbers that it should have: 0 to 63, all bits."""
    mended = bytearray(content)
    for segment in find_segments(content):
        if segment.marker == START_OF_SCAN:
            mended[segment.data - 3 : segment.data] = 0, 63, 0
    return bytes(mended)


class Segment(NamedTuple):
    """Where a segment of a JPEG is."""

    marker: int  # its second byte
    start: int  # of the marker
    data: int  # the end of its header; of a scan, pixels follow
    end: int


def find_segments(content: bytes) -> Iterator[Segment]:
    """The segments after the start of the image."""
    at = 2
    while found := MARKER.search(content, at):
        marker, data = content[found.end() - 1], found.end()
        if marker not in (*ALONE, END):
            data += max(int.from_bytes(content[data : data + 2], "big"), 2)
        at = data
        if marker == START_OF_SCAN:
            following = NEXT_SEGMENT.search(content, data)
            at = following.start() if following else len(content)
        yield Segment(marker, found.start(), data, at)
        if marker == END:
            return
