"""Picture files without their metadata: what cannot be read there must not cost a picture its sound pixels.

Metadata are colour profiles, texts, thumbnails, resolutions, makers' notes. Exif and XMP hold the
orientation, so they are removed only if the picture cannot be read with them.
"""

import re
import struct
from collections.abc import Callable, Iterator

PNG, JPEG, WEBP = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"WEBP"
TIFFS = (b"II*\0", b"MM\0*")
PNG_PIXELS = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"acTL", b"fcTL", b"fdAT"}
PNG_ORIENTATION = {b"eXIf", b"iTXt"}
JPEG_METADATA = {0xE0, *range(0xE2, 0xEE), 0xEF, 0xFE}  # COM, all APP but Exif, XMP and Adobe's colours
JPEG_ORIENTATION = 0xE1
WEBP_PIXELS = {b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"}
WEBP_ORIENTATION = {b"EXIF", b"XMP "}
WEBP_FLAGS = {b"ICCP": 0x20, b"EXIF": 0x08, b"XMP ": 0x04}  # in VP8X
AVIF_ITEM = re.compile(rb"(infe.{8})(Exif|mime)", re.DOTALL)
TIFF_PIXELS = {
    *range(254, 260), 262, 266, 273, *range(277, 280), 284, 292, 293, 317, 320, *range(322, 326), 332, 338,
    339, 347, *range(512, 516), *range(517, 522), *range(529, 533),
}  # fmt: skip
TIFF_ORIENTATION = 274
INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}  # types of a TIFF's tags


def without_metadata(content: bytes) -> Iterator[bytes]:
    """The file without metadata but those that hold the orientation, then without any; none if unknown."""
    for accept, strip in STRIPPERS:
        if accept(content):
            for keep_orientation in (True, False):
                try:
                    yield strip(content, keep_orientation)
                except (struct.error, IndexError):  # its structure is damaged too
                    return
            return


def strip_png(content: bytes, keep_orientation: bool) -> bytes:
    """Only intact chunks can hold the orientation; those of the pixels stay as they are."""
    wanted = PNG_PIXELS | (PNG_ORIENTATION if keep_orientation else set())
    kept, at = [content[:8]], 8
    while at + 8 <= len(content):
        length, name = struct.unpack_from(">I4s", content, at)
        if name in wanted:
            kept.append(content[at : at + 12 + length])
        at += 12 + length
    return b"".join(kept)


def strip_jpeg(content: bytes, keep_orientation: bool) -> bytes:
    kept, at = [content[:2]], 2
    while content[at] == 0xFF and content[at + 1] != 0xDA:
        if content[at + 1] == 0xFF:  # a fill byte
            at += 1
            continue
        end = at + 2 + struct.unpack_from(">H", content, at + 2)[0]
        marker = content[at + 1]
        if marker not in JPEG_METADATA and (keep_orientation or marker != JPEG_ORIENTATION):
            kept.append(content[at:end])
        at = end
    return b"".join([*kept, content[at:]])


def strip_webp(content: bytes, keep_orientation: bool) -> bytes:
    wanted = WEBP_PIXELS | (WEBP_ORIENTATION if keep_orientation else set())
    kept, at = [], 12
    while at + 8 <= len(content):
        name, length = struct.unpack_from("<4sI", content, at)
        end = at + 8 + length + length % 2
        chunk = bytearray(content[at:end])
        if name == b"VP8X":
            for other, flag in WEBP_FLAGS.items():
                chunk[8] &= 0xFF if other in wanted else ~flag & 0xFF
        if name in wanted:
            kept.append(bytes(chunk))
        at = end
    body = b"".join(kept)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def strip_avif(content: bytes, keep_orientation: bool) -> bytes:
    """The rotation is a property of the picture and stays; Exif and XMP become items of unknown type."""
    return content if keep_orientation else AVIF_ITEM.sub(rb"\1none", content)


def strip_tiff(content: bytes, keep_orientation: bool) -> bytes:
    """The tags of the first picture that its pixels need, in a directory that is shortened in place."""
    order = "<" if content[:2] == b"II" else ">"
    (start,) = struct.unpack_from(order + "I", content, 4)
    (count,) = struct.unpack_from(order + "H", content, start)
    entries = [content[start + 2 + 12 * n : start + 14 + 12 * n] for n in range(count)]
    kept = []
    for entry in entries:
        tag, kind, number = struct.unpack_from(order + "HHI", entry)
        if tag == TIFF_ORIENTATION and keep_orientation and kind in INTEGERS and number == 1:
            (value,) = struct.unpack_from(order + INTEGERS[kind], entry, 8)
            kept += [entry] if 1 <= value <= 8 else []
        elif tag in TIFF_PIXELS:
            kept.append(entry)
    directory = struct.pack(order + "H", len(kept)) + b"".join(kept) + bytes(4)  # no further picture
    return content[:start] + directory + content[start + len(directory) :]


STRIPPERS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes, bool], bytes]], ...] = (
    (lambda content: content.startswith(PNG), strip_png),
    (lambda content: content.startswith(JPEG), strip_jpeg),
    (lambda content: content[8:12] == WEBP, strip_webp),
    (lambda content: content[4:12] in (b"ftypavif", b"ftypavis"), strip_avif),
    (lambda content: content.startswith(TIFFS), strip_tiff),
)
