"""JPEGs decoded strictly: libjpeg-turbo's warnings, which Pillow does not pass on, are errors here.

Padding is no damage: some cameras write bytes that belong to nothing between two segments or after the
pixels. libjpeg-turbo reports only its first warning, so they are cut before the rest can be judged.
"""

import re

import numpy as np
import simplejpeg

EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0x([0-9a-f]{2})")
IGNORED = "Invalid SOS parameters"  # of a sequential JPEG: numbers that have no effect
MARKER = re.compile(rb"\xff+[\x01-\xfe]")
NEXT_SEGMENT = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # in a scan, a 0 or a restart follows other FFs
ALONE = (0x01, *range(0xD0, 0xD9))  # markers without a length
RESTARTS = range(0xD0, 0xD8)
START_OF_SCAN, END = 0xDA, 0xD9
FEW = 4  # extraneous bytes that may have any value, as webcams write them; damage mostly leaves more
TRIES = 8


def decode_strictly(content: bytes, colours: str, smallest: int = 1) -> np.ndarray:
    """Pixels uint8 (H, W, 1, 3 or 4) as Pillow decodes them; ValueError at the first sign of damage.

    `colours` is GRAY, RGB or CMYK. A size of 1 / `smallest` is enough for the check alone.
    """
    for _ in range(TRIES):
        try:
            return simplejpeg.decode_jpeg(content, colours, min_factor=smallest, strict=True)
        except ValueError as error:
            found = EXTRANEOUS.search(str(error))
            if found is None and IGNORED not in str(error):
                raise
            count, marker = (int(found[1]), int(found[2], 16)) if found else (0, RESTARTS[0])
            if marker in RESTARTS and count <= FEW:  # they may be in each row of pixels
                return simplejpeg.decode_jpeg(content, colours, min_factor=smallest, strict=False)
            shorter = cut_extraneous(content, count, marker)
            if shorter == content:
                raise
            content = shorter
    raise ValueError("too many extraneous bytes")


def cut_extraneous(content: bytes, count: int, marker: int) -> bytes:
    """The file without bytes between its segments or, if there are none, `count` bytes of padding.

    Damage too leaves bytes over at the end of a scan, but they vary; padding repeats one.
    """
    kept, at, after_scans = [content[:2]], 2, []
    while found := MARKER.search(content, at):
        start, code = found.start(), content[found.end() - 1]
        end = found.end()
        if code not in (*ALONE, END):
            end += max(int.from_bytes(content[end : end + 2], "big"), 2)
        if code == START_OF_SCAN:
            found = NEXT_SEGMENT.search(content, end)
            end = found.start() if found else len(content)
            after_scans.append(end)
        kept.append(content[start:end])
        at = end
        if code == END:
            break
    shorter = b"".join([*kept, content[at:]])
    if shorter != content:
        return shorter
    for end in after_scans:
        padding = content[end - count : end]
        if content[end + 1 : end + 2] == bytes([marker]) and (count <= FEW or len(set(padding)) == 1):
            return content[: end - count] + content[end:]
    return content
