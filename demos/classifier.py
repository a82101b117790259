"""Classify pictures with an exported network. Needs torch and Pillow; everything else is in the file.

    python demos/classifier.py data/export/student.pt PICTURE...         class and probability, or unsure
    python demos/classifier.py --all data/export/student.pt PICTURE...   probabilities of all classes, as JSON
    find FOLDER -name '*.jpg' | python demos/classifier.py data/export/student.pt -     any number of pictures

Copy this file next to your own program: `load` and `classify` are all you need. A picture is accepted and
read by the rule of the training, which is in the facts; damaged JPEGs are refused if simplejpeg is installed.
"""

import argparse
import contextlib
import json
import logging
import os
import re
import struct
import sys
import tempfile
import warnings
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image

try:
    import simplejpeg
except ImportError:
    simplejpeg = None

Image.MAX_IMAGE_PIXELS = None  # the facts have a limit
logging.getLogger("PIL").addHandler(logging.NullHandler())
TIFFS = (b"II*\0", b"MM\0*")
INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}  # types of a TIFF's tags
TURNS = {  # by EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BadPicture(ValueError):
    """The reason why a file is not classified."""


class Unreadable(BadPicture):
    """A decoder failed; perhaps only at the metadata."""


def load(path):
    """The network of a file and its facts: classes, height and width, fit, picture rule, base."""
    extra = {"facts.json": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch 2.9 and later warn that TorchScript is deprecated
        network = torch.jit.load(path, map_location="cpu", _extra_files=extra)
    return network.eval(), json.loads(extra["facts.json"])


@torch.inference_mode()
def classify(network, facts, path):
    """The probability of each class of `facts["classes"]` for a picture file, as a list of floats."""
    return network(read(path, facts)[None])[0].tolist()


def is_unsure(facts, probs):
    """Whether the probabilities are less certain than those that were as often right as wanted."""
    threshold = facts.get("calibration", {}).get("threshold", 0)  # which older files lack
    return threshold > 0 and not max(probs) >= threshold * sum(probs) > 0


def read(path, facts):
    """A picture file as uint8 (3, height, width), RGB, rotated upright by its EXIF orientation."""
    height, width = facts["height"], facts["width"]
    image = fit_picture(decode(Path(path).read_bytes(), facts["pictures"]), height, width, find_fit(facts))
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.view(height, width, 3).permute(2, 0, 1)


def find_fit(facts):
    """How a picture fills the input: the one of FITS that the facts name and put into words."""
    for name in FITS:
        if name in facts:
            return name
    raise ValueError(
        "the network fits pictures by a rule that this script lacks; take the script of its version"
    )


def fit_picture(image, height, width, fit):
    """The RGB picture resized, its centre on that of the input, as the training pictures were."""
    columns, rows = FITS[fit](image.width, image.height, width, height)
    seen = min(columns, width), min(rows, height)
    left, top = round((columns - seen[0]) / 2), round((rows - seen[1]) / 2)  # what is cut off
    x = left * image.width / columns, (left + seen[0]) * image.width / columns
    y = top * image.height / rows, (top + seen[1]) * image.height / rows
    resized = image.resize(seen, Image.Resampling.BILINEAR, (x[0], y[0], x[1], y[1]))
    canvas = Image.new("RGB", (width, height))
    canvas.paste(resized, ((width - seen[0]) // 2, (height - seen[1]) // 2))
    return canvas


def letterbox(width, height, into_width, into_height):
    """The size of a picture that is seen whole."""
    scale = min(into_width / width, into_height / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def crop(width, height, into_width, into_height):
    """The size of a picture that leaves nothing of the input empty."""
    if width * into_height >= height * into_width:
        return width * into_height // height, into_height
    return into_width, height * into_width // width


def stretch(width, height, into_width, into_height):
    """The size of a picture that is pulled out of shape."""
    return into_width, into_height


FITS = {"letterbox": letterbox, "crop": crop, "stretch": stretch}


def decode(content, rule):
    """The picture in a file's bytes as upright RGB; BadPicture if its like was refused in training.

    If it cannot be read with its metadata, it is read without them.
    """
    if not content:
        raise BadPicture("empty file")
    if content[8:11] == b"CR\2":
        raise BadPicture("a camera's raw picture is not read")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return decode_checked(content, rule)
        except Unreadable as bad:
            for pixels in without_metadata(content):
                with contextlib.suppress(Unreadable):
                    return decode_checked(pixels, rule)
            raise bad from None


def decode_checked(content, rule):
    """The picture, after every check."""
    image = open_header(content, rule)
    (width, height), tags = image.size, getattr(image, "tag_v2", {})
    if min(width, height) < rule["min_side"]:
        raise BadPicture(f"too small: {width} x {height} pixels, at least {rule['min_side']} are needed")
    if width * height > rule["max_pixels"]:
        raise BadPicture(f"too large: {width} x {height} pixels, the limit is {rule['max_pixels']}")
    kind = tags.get(254, 0)
    if 50706 in tags or (isinstance(kind, int) and kind & 1):
        raise BadPicture("a camera's raw picture is not read")
    if content.startswith(TIFFS):  # libtiff would complain of metadata
        content = next(without_metadata(content), content)
        image = open_header(content, rule)
    lines = []
    try:
        with catch_stderr(lines) if image.format == "TIFF" else contextlib.nullcontext():
            open_header(content, rule).verify()
            if simplejpeg and image.format in ("JPEG", "MPO"):
                check_jpeg(content, image.mode)
            full = read_unscaled(image)
            image.load()
        if lines:
            raise OSError(lines[0])
        orientation = find_orientation(image)
        image = to_rgb(image, full, rule["grey_range"])
        return image.transpose(TURNS[orientation]) if orientation in TURNS else image
    except BadPicture:
        raise
    except Exception as error:  # a broken file can raise almost anything
        raise Unreadable(f"broken {image.format}: {' '.join(str((lines or [error])[0]).split())}") from None


def open_header(content, rule):
    """The picture with only its header read; by these formats Pillow starts no other program."""
    try:
        return Image.open(BytesIO(content), formats=rule["formats"])
    except Exception:
        raise Unreadable("not a readable picture") from None


def find_orientation(image):
    """The EXIF orientation that is still to be applied; upright if it cannot be read."""
    try:
        found = image.getexif().get(0x0112, 1)
        return found if found in TURNS else 1
    except Exception:
        return 1


def read_unscaled(image):
    """The largest value of 16-bit grey; of a PGM, which Pillow would scale, before its pixels are decoded."""
    if image.format == "PPM" and image.mode == "I" and image.tile[0].codec_name != "raw":
        (tile,) = image.tile
        plain = tile.codec_name == "ppm_plain"
        changed = {"args": (tile.args[0], 65535)} if plain else {"codec_name": "raw", "args": "I;16B"}
        image.tile = [tile._replace(**changed)]
        return tile.args[1]
    if image.format == "TIFF" and image.mode.startswith("I;16"):
        (bits,) = image.tag_v2.get(258, (16,))
        return 2**bits - 1
    return 65535


def to_rgb(image, full, grey_range):
    """A decoded picture as RGB: 16-bit grey by its range, transparency composited onto black."""
    if image.mode.startswith("I;16") or (image.format == "PPM" and image.mode == "I"):
        low, high = (0, full) if grey_range == "file" else grey_range
        table = [min(max((value - low) * 256 // (high - low + 1), 0), 255) for value in range(65536)]
        values = image.convert("I")
        if image.format == "TIFF" and image.tag_v2.get(262) == 0:  # white is 0
            values = values.point(lambda value: value * -1 + full)
        return values.convert("I;16").convert("I").point(table, "L").convert("RGB")
    if image.mode in ("I", "F"):
        raise BadPicture(f"{'float' if image.mode == 'F' else 'signed or 32-bit'} pixels have no known range")
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, (0, 0, 0, 255)), picture).convert("RGB")
    return image.convert("RGB")


@contextlib.contextmanager
def catch_stderr(lines):
    """Append to `lines` what C code prints to stderr inside the block."""
    sys.stderr.flush()
    shown = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(shown, 2)
            os.close(shown)
            file.seek(0)
            lines += file.read().decode(errors="replace").splitlines()


def check_jpeg(content, mode):
    """Raise ValueError for damage that Pillow passes over; extraneous bytes between segments are none."""
    colours, smallest = {"L": ("GRAY", 1), "RGB": ("RGB", 1), "CMYK": ("CMYK", 8)}[mode]
    for _ in range(8):
        try:
            simplejpeg.decode_jpeg(content, colours, min_factor=smallest, strict=True)
            return
        except ValueError as error:
            found = re.search(r"(\d+) extraneous bytes before marker 0x([0-9a-f]{2})", str(error))
            if found:
                count, marker = int(found[1]), int(found[2], 16)
                if 0xD0 <= marker < 0xD8 and count <= 4:
                    return  # Pillow alone judges the rest
                mended = cut_extraneous(content, count, marker)
            else:
                mended = reset_scans(content) if "Invalid SOS parameters" in str(error) else content
            if mended == content:
                raise
            content = mended
    raise ValueError("too many extraneous bytes")


def cut_extraneous(content, count, marker):
    """A JPEG without bytes between its segments or, if there are none, `count` bytes of padding of a scan."""
    segments = list(find_segments(content))
    end = segments[-1][3] if segments else 2
    shorter = b"".join([content[:2], *(content[start:end] for _, start, _, end in segments), content[end:]])
    if shorter != content:
        return shorter
    for end in (end for marker, _, _, end in segments if marker == 0xDA):
        padding = content[end - count : end]
        if content[end + 1 : end + 2] == bytes([marker]) and (count <= 4 or len(set(padding)) == 1):
            return content[: end - count] + content[end:]
    return content


def reset_scans(content):
    """A sequential JPEG whose scans have the numbers that they should have; others have no effect."""
    mended = bytearray(content)
    for marker, _, data, _ in find_segments(content):
        if marker == 0xDA:
            mended[data - 3 : data] = 0, 63, 0
    return bytes(mended)


def find_segments(content):
    """The segments of a JPEG: marker, start, end of the header, end."""
    at = 2
    while found := re.compile(rb"\xff+[\x01-\xfe]").search(content, at):
        marker, data = content[found.end() - 1], found.end()
        if marker not in (0x01, *range(0xD0, 0xDA)):
            data += max(int.from_bytes(content[data : data + 2], "big"), 2)
        at = data
        if marker == 0xDA:
            following = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]").search(content, data)
            at = following.start() if following else len(content)
        yield marker, found.start(), data, at
        if marker == 0xD9:
            return


def without_metadata(content):
    """The file without metadata but those that hold the orientation, then without any."""
    for strip in (strip_png, strip_jpeg, strip_webp, strip_avif, strip_tiff):
        for keep in (True, False):
            try:
                if (shorter := strip(content, keep)) is not None:
                    yield shorter
            except (struct.error, IndexError):
                return


def strip_png(content, keep):
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return None
    wanted = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"acTL", b"fcTL", b"fdAT"}
    kept, at = [content[:8]], 8
    while at + 8 <= len(content):
        length, name = struct.unpack_from(">I4s", content, at)
        if name in wanted or (keep and name in (b"eXIf", b"iTXt")):
            kept.append(content[at : at + 12 + length])
        at += 12 + length
    return b"".join(kept)


def strip_jpeg(content, keep):
    if not content.startswith(b"\xff\xd8\xff"):
        return None
    kept, at = [content[:2]], 2
    while content[at] == 0xFF and content[at + 1] != 0xDA:
        marker = content[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        end = at + 2 + struct.unpack_from(">H", content, at + 2)[0]
        if marker not in (0xE0, *range(0xE2, 0xEE), 0xEF, 0xFE) and (keep or marker != 0xE1):
            kept.append(content[at:end])
        at = end
    return b"".join([*kept, content[at:]])


def strip_webp(content, keep):
    if content[8:12] != b"WEBP":
        return None
    wanted = {b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"} | ({b"EXIF", b"XMP "} if keep else set())
    body, at = b"", 12
    while at + 8 <= len(content):
        name, length = struct.unpack_from("<4sI", content, at)
        chunk = bytearray(content[at : at + 8 + length + length % 2])
        if name == b"VP8X":
            chunk[8] &= 0xDF if keep else 0xD3
        body += bytes(chunk) if name in wanted else b""
        at += 8 + length + length % 2
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def strip_avif(content, keep):
    if content[4:12] not in (b"ftypavif", b"ftypavis"):
        return None
    return content if keep else re.sub(rb"(infe.{8})(Exif|mime)", rb"\1none", content, flags=re.DOTALL)


def strip_tiff(content, keep):
    if not content.startswith(TIFFS):
        return None
    wanted = {*range(254, 260), 262, 266, 273, *range(277, 280), 284, 292, 293, 317, 320, *range(322, 326)}
    wanted |= {332, 338, 339, 347, *range(512, 516), *range(517, 522), *range(529, 533)}
    order, kept = "<" if content[:2] == b"II" else ">", []
    (start,) = struct.unpack_from(order + "I", content, 4)
    (count,) = struct.unpack_from(order + "H", content, start)
    for at in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from(order + "HHI", content, at)
        if tag == 274 and keep and number == 1 and kind in INTEGERS:
            (value,) = struct.unpack_from(order + INTEGERS[kind], content, at + 8)
            kept += [content[at : at + 12]] if 1 <= value <= 8 else []
        elif tag in wanted:
            kept.append(content[at : at + 12])
    directory = struct.pack(order + "H", len(kept)) + b"".join(kept) + bytes(4)
    return content[:start] + directory + content[start + len(directory) :]


def list_paths(arguments):
    """The paths in the arguments, and in place of - those on standard input: one a line, or ended by NUL."""
    for path in arguments:
        if path == "-":
            names = os.fsdecode(sys.stdin.buffer.read())
            yield from filter(None, names.split("\0" if "\0" in names else "\n"))
        else:
            yield path


def main():
    parser = argparse.ArgumentParser(description="Classify pictures with an exported network.")
    parser.add_argument("network", help="a .pt file that export_jit wrote")
    parser.add_argument("pictures", nargs="+", help="picture files; - reads their names from standard input")
    parser.add_argument(
        "--all", action="store_true", help="one JSON line per picture with the probability of every class"
    )
    arguments = parser.parse_args()
    sys.stdout.reconfigure(errors="backslashreplace")  # a class or file name that the terminal cannot show
    try:
        network, facts = load(arguments.network)
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0].partition(". ")[0]  # torch goes on for a paragraph
        sys.exit(f"error: {arguments.network}: not an exported network ({reason})")
    failed = False
    for path in list_paths(arguments.pictures):
        try:
            probs = classify(network, facts, path)
        except Exception as error:  # classify the others
            reason = getattr(error, "strerror", None) or error
            print(f"error: {path}: {reason}", file=sys.stderr)
            failed = True
            continue
        best = max(range(len(probs)), key=probs.__getitem__)
        if arguments.all:
            print(
                json.dumps({"path": path, "probabilities": dict(zip(facts["classes"], probs, strict=True))})
            )
        else:
            unsure = is_unsure(facts, probs)
            answer = f"{facts['classes'][best]} {probs[best]:.4f}"
            print(f"{path}: unsure, perhaps {answer}" if unsure else f"{path}: {answer}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
