"""Classify pictures with an exported network. Needs Pillow and what runs the file; the rest is in the file.

    python demos/classifier.py MODEL PICTURE|FOLDER...       class and probability of each picture, or unsure
    python demos/classifier.py --json --top 3 MODEL ...      the three most probable classes, a JSON line each
    python demos/classifier.py --all MODEL PICTURE...        probabilities of all classes, as JSON
    find FOLDER -name '*.jpg' | python demos/classifier.py MODEL -      any number of pictures
    python demos/classifier.py --check golden.npz MODEL      whether a deployed file says what it should

MODEL is student.pt or student.pt2 (with torch), student.onnx or student.html (onnxruntime, numpy) or
student.xml with its .bin (openvino, numpy). Copy this file next to your own program: `load` and `classify` do
all the rest. A picture is accepted and read by the rule of the training, which is in the facts; damaged JPEGs
are refused if simplejpeg is installed.
"""

import argparse
import base64
import contextlib
import gc
import gzip
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

try:
    from PIL import Image
except ModuleNotFoundError:
    if __name__ != "__main__":
        raise
    sys.exit("error: needs Pillow (pip install pillow)")

try:
    import simplejpeg
except ImportError:
    simplejpeg = None

Image.MAX_IMAGE_PIXELS = None  # the facts have a limit
logging.getLogger("PIL").addHandler(logging.NullHandler())
TIFFS = (b"II*\0", b"MM\0*")
INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}  # types of a TIFF's tags
BYTES_PER_PIXEL, METADATA = 16, 2**26  # at most in a picture file
WHERE = re.compile(r"Exception from src/|Check '")  # lines of openvino about its own sources
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


class NoNetwork(ValueError):
    """The reason why a file is not used as a network."""


def load(path, threads=0):
    """The network of a file and its facts: classes, height and width, fit, picture rule, base.

    The network maps a list of pictures, as `read` gives them, to a list of their probabilities. `threads` is
    the number of the CPU's threads that it may use; 0: as many as the library takes.
    """
    path = Path(path)
    loader = LOADERS.get(path.suffix)
    if loader is None:
        raise NoNetwork(f"not an exported network (its name ends in none of {', '.join(LOADERS)})")
    if not os.path.isfile(path):
        raise NoNetwork("not an exported network (no such file)")
    try:
        open(path, "rb").close()
        with catch_stderr([]):  # libraries tell a page of what is wrong
            run, text = loader(path, threads)
            facts = parse_facts(text)
            height, width = facts["height"], facts["width"]
            found, wanted = len(run([bytes(3 * height * width)], height, width)[0]), len(facts["classes"])
        if found != wanted:
            raise ValueError(f"{found} probabilities for {wanted} classes")
    except ModuleNotFoundError as error:
        raise NoNetwork(f"needs {error.name} (pip install {error.name})") from None
    except NoNetwork:
        raise
    except PermissionError as error:
        raise NoNetwork(f"{error.strerror} (make it readable)") from None
    except Exception as error:  # a broken file can raise almost anything
        reason = find_reason(error)
        raise NoNetwork(f"not an exported network: {reason} (copy the whole file again)") from None

    def classify_all(pictures):
        try:
            return run(pictures, height, width)
        except Exception as error:  # mostly of memory
            reason = f"{find_reason(error)} (fewer at once, --batch, need less memory)"
            raise NoNetwork(f"cannot classify {len(pictures)} pictures at once: {reason}") from None

    return classify_all, facts


def parse_facts(text):
    """The facts in a file; an error unless all that is needed to classify is among them."""
    if not text:
        raise ValueError("it holds no facts.json, another program wrote it")
    facts = json.loads(text)
    try:
        rule = facts["pictures"]
        names = [*facts["classes"], *rule["formats"]]
        numbers = [facts["height"], facts["width"], rule["min_side"], rule["max_pixels"]]
        complete = "grey_range" in rule and all(isinstance(name, str) for name in names)
        complete = complete and all(isinstance(number, int) and number > 0 for number in numbers)
    except (KeyError, TypeError):
        complete = False
    if not complete:
        raise ValueError("its facts.json is incomplete, another program wrote it")
    find_fit(facts)
    return facts


def find_reason(error):
    """The first thing that an exception says, on one line."""
    lines = [line for line in str(error).splitlines() if line.strip() and not WHERE.match(line)]
    return lines[0].partition(". ")[0][:120] if lines else type(error).__name__


def load_torchscript(path, threads):
    import torch

    extra = {"facts.json": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch 2.9 and later warn that TorchScript is deprecated
        network = torch.jit.load(path, map_location="cpu", _extra_files=extra).eval()
    return run_torch(network, threads), extra["facts.json"]


def load_torch_export(path, threads):
    import torch

    extra = {"facts.json": ""}
    logging.getLogger("torch.export").setLevel(logging.CRITICAL)  # load reports what is wrong
    network = torch.export.load(path, extra_files=extra).module()
    return run_torch(network, threads), extra["facts.json"]


def run_torch(network, threads):
    """A function of a batch of pictures for a network of torch."""
    import torch

    if threads:
        torch.set_num_threads(threads)

    @torch.inference_mode()
    def run(pictures, height, width):
        pixels = torch.frombuffer(bytearray(b"".join(pictures)), dtype=torch.uint8)
        return network(pixels.view(len(pictures), height, width, 3).permute(0, 3, 1, 2)).tolist()

    return run


def load_onnx(path, threads):
    run, properties = start_onnx(path, threads)
    return run, properties.get("facts.json", "")


def load_page(path, threads):
    """The network inside a page for browsers, run here by ONNX Runtime."""
    text = path.read_text(encoding="utf-8")
    parts = dict(re.findall(r'<script id="(facts|network)"[^>]*>([^<]*)</script>', text))
    if len(parts) != 2:
        raise ValueError("no network in this page")
    if not text.rstrip().endswith("</html>"):
        raise ValueError("the end of this page is missing")
    return start_onnx(gzip.decompress(base64.b64decode(parts["network"])), threads)[0], parts["facts"]


def start_onnx(network, threads):
    """A function of a batch of pictures for an ONNX file or its bytes, and the properties in the file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    (given,), (answer,) = session.get_inputs(), session.get_outputs()

    def run(pictures, height, width):
        return session.run([answer.name], {given.name: to_array(pictures, height, width)})[0].tolist()

    return run, session.get_modelmeta().custom_metadata_map


def load_openvino(path, threads):
    import openvino

    if not path.with_suffix(".bin").is_file():
        raise NoNetwork(f"needs {path.with_suffix('.bin').name} beside it (copy both files)")
    core = openvino.Core()
    model = core.read_model(path)
    settings = {"INFERENCE_PRECISION_HINT": "f32"}  # some CPUs would round to bfloat16
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    facts = model.get_rt_info(["facts"]).astype(str) if model.has_rt_info(["facts"]) else ""
    compiled = core.compile_model(model, "CPU", settings)

    def run(pictures, height, width):
        return compiled(to_array(pictures, height, width))[0].tolist()

    return run, facts


def to_array(pictures, height, width):
    """Pictures as one numpy array uint8 (number, 3, height, width)."""
    import numpy as np

    pixels = np.frombuffer(b"".join(pictures), np.uint8).reshape(len(pictures), height, width, 3)
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


LOADERS = {
    ".pt": load_torchscript,
    ".pt2": load_torch_export,
    ".onnx": load_onnx,
    ".xml": load_openvino,
    ".html": load_page,
}


def classify(network, facts, path):
    """The probability of each class of `facts["classes"]` for a picture file, as a list of floats."""
    return network([read(path, facts)])[0]


def is_unsure(facts, probs):
    """Whether the probabilities are less certain than those that were as often right as wanted."""
    threshold = facts.get("calibration", {}).get("threshold", 0)  # which older files lack
    return threshold > 0 and not max(probs) >= threshold * sum(probs) > 0


def read(path, facts):
    """A picture file as the bytes of height x width x 3 pixels, RGB, upright by its EXIF orientation."""
    return read_content(read_bytes(path, facts["pictures"]["max_pixels"]), facts)


def read_bytes(path, max_pixels):
    """The bytes of a file that may be a picture; of a pipe or a device there may be no end."""
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        raise BadPicture("not a file: a device or a pipe")
    with open(path, "rb") as file:
        length = file.seek(0, os.SEEK_END)
        if length > BYTES_PER_PIXEL * max_pixels + METADATA:
            raise BadPicture(
                f"too large: {length / 2**20:.0f} MB, no picture of {max_pixels} pixels has them"
            )
        file.seek(0)
        return file.read()


def read_content(content, facts):
    """The same of a picture file's bytes."""
    image = decode(content, facts["pictures"])
    return fit_picture(image, facts["height"], facts["width"], find_fit(facts)).tobytes()


def find_fit(facts):
    """How a picture fills the input: the one of FITS that the facts name and put into words."""
    for name in FITS:
        if name in facts:
            return name
    raise NoNetwork(
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
    Image.init()
    formats = [name for name in rule["formats"] if name in Image.OPEN]  # Pillow may be built without AVIF
    try:
        return Image.open(BytesIO(content), formats=formats)
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
    if sys.stderr is None:  # closed, or a program without a terminal
        yield
        return
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


def list_paths(arguments, formats):
    """The pictures that the arguments name; in a folder, and those below it, all files of the formats.

    In place of - those on standard input: one a line, or ended by NUL. A folder that cannot be read is in
    their place: whoever opens it is told why.
    """
    for path in arguments:
        if path == "-":
            names = os.fsdecode(sys.stdin.buffer.read()) if sys.stdin else ""
            found = list(filter(None, names.split("\0" if "\0" in names else "\n")))
            if not found:
                raise ValueError("-: no name on standard input (one a line, or ended by NUL)")
            yield from found
        elif os.path.isdir(path):
            found = list_folder(path, formats)
            if not found:
                raise ValueError(f"{path}: no picture in this folder (named as a {', '.join(formats)} file)")
            yield from map(str, found)
        else:
            yield path


def list_folder(folder, formats):
    """The files of the formats in a folder and below it, by their endings, and the folders that are shut."""
    endings = {end for end, name in Image.registered_extensions().items() if name in formats}
    shut = []
    found = [Path(place, name) for place, _, names in os.walk(folder, onerror=shut.append) for name in names]
    found = [one for one in found if one.suffix.lower() in endings]
    return sorted([*found, *(Path(error.filename) for error in shut)])


def answer_all(network, facts, paths, size):
    """Each path with its probabilities, or with the reason why there are none; `size` pictures at once."""
    batch = []  # paths, and pictures or errors
    for path in [*paths, None]:
        if path is not None:
            try:
                batch.append((path, read(path, facts), None))
            except Exception as error:  # classify the others
                batch.append((path, None, say_why(error)))
        pictures = [picture for _, picture, _ in batch if picture is not None]
        if len(pictures) == size or (path is None and batch):
            answers = iter(network(pictures) if pictures else [])
            for name, picture, problem in batch:
                yield name, None if picture is None else next(answers), problem
            batch = []


def describe(path, facts, probs, top):
    """What is said of a picture, as a JSON value: the most probable classes, and whether it is unsure."""
    best = sorted(range(len(probs)), key=lambda number: -probs[number])[:top]
    return {
        "path": path,
        "classes": [{"class": facts["classes"][number], "probability": probs[number]} for number in best],
        "unsure": is_unsure(facts, probs),
    }


def put_into_words(said):
    """The same as a line for people."""
    answer = ", ".join(f"{one['class']} {one['probability']:.4f}" for one in said["classes"])
    return escape(f"{said['path']}: {'unsure, perhaps ' if said['unsure'] else ''}{answer}")


def escape(text):
    """The text on one line: a name may hold line ends, and orders to the terminal."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def say_why(error):
    """What an exception says of a file."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def fail(text):
    sys.exit(f"error: {escape(text)}")


def check(network, facts, file, golden):
    """Whether a file still says of the golden pictures what it should; prints how far it is from that."""
    import numpy as np

    contents, expected, allowed = read_golden(golden, facts, Path(file).name)
    found = np.array(network([read_content(content, facts) for content in contents]))
    difference = float(np.abs(found - expected).max())
    said = f"largest difference {difference:.3g}, allowed {allowed:.3g}"
    print(escape(f"{file}: {len(contents)} golden pictures, {said}"))
    return difference <= allowed


def read_golden(golden, facts, name):
    """The golden pictures' files as bytes, what is expected of each by the file `name`, and how nearly."""
    import numpy as np

    if not os.path.isfile(golden):
        raise ValueError("no such file (take the golden.npz beside the network)")
    try:
        with np.load(golden) as told:
            told = dict(told)
        starts, ends = [0, *told["ends"][:-1]], told["ends"]
        contents = [told["content"][start:end].tobytes() for start, end in zip(starts, ends, strict=True)]
        expected = told.get(f"probabilities_{name}", told["probabilities"])
        allowed = float(told.get(f"tolerance_{name}", 1e-5))
        classes, student = list(told["classes"]), str(told.get("student", facts.get("student")))
        if expected.shape != (len(contents), len(classes)) or not contents:
            raise ValueError("its arrays do not fit each other")
    except Exception as error:  # a broken file can raise almost anything
        raise ValueError(f"no golden.npz: {find_reason(error)} (copy the whole file again)") from None
    if classes != facts["classes"]:
        raise ValueError("its classes are others than those of the network (take the one beside it)")
    if student != str(facts.get("student")):
        raise ValueError("it was made for other weights (take the one beside the network)")
    return contents, expected, allowed


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message):
        self.exit(2, f"error: {escape(message)} (--help lists what it takes)\n")


def parse_arguments():
    parser = Parser(description="Classify pictures with an exported network.")
    parser.add_argument("network", help="a file that export_jit wrote: .pt, .pt2, .onnx, .xml or .html")
    parser.add_argument("pictures", nargs="*", help="pictures or folders; - reads names from standard input")
    parser.add_argument("--all", action="store_true", help="a JSON line with the probability of every class")
    parser.add_argument("--json", action="store_true", help="a JSON line with the most probable classes")
    parser.add_argument("--top", type=int, default=1, metavar="K", help="how many classes are told")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="pictures at once")
    parser.add_argument(
        "--threads", type=int, default=0, metavar="N", help="of the CPU; 0: the library's choice"
    )
    parser.add_argument("--check", metavar="GOLDEN", help="compare with the golden.npz beside the file")
    arguments = parser.parse_args()
    if not arguments.pictures and not arguments.check:
        parser.error("no picture is named")
    if min(arguments.top, arguments.batch) < 1:
        parser.error("--top and --batch are at least 1")
    most = os.cpu_count() or 1
    if not 0 <= arguments.threads <= most:  # libraries hang or crash of thousands
        parser.error(f"--threads is from 0 to {most}, as many as this CPU has")
    return arguments


def main():
    arguments = parse_arguments()
    if sys.stdout is None:
        fail("standard output is closed (lead it to a file or /dev/null)")
    sys.stdout.reconfigure(errors="backslashreplace")  # a class or file name that the terminal cannot show
    gc.disable()  # what is imported is no garbage: to search all of torch for some takes 0.8 s
    try:
        network, facts = load(arguments.network, arguments.threads)
    except NoNetwork as error:
        fail(f"{arguments.network}: {error}")
    finally:
        gc.freeze()
        gc.enable()
    failed = False
    if arguments.check:
        try:
            failed = not check(network, facts, arguments.network, arguments.check)
        except ModuleNotFoundError as error:
            fail(f"--check needs {error.name} (pip install {error.name})")
        except ValueError as error:
            fail(f"{arguments.check}: {error}")
        if failed:
            print("error: too far (script, network and golden.npz must be of one export)", file=sys.stderr)
    try:
        paths = list(list_paths(arguments.pictures, facts["pictures"]["formats"]))
    except ValueError as error:
        fail(str(error))
    try:
        for path, probs, problem in answer_all(network, facts, paths, arguments.batch):
            failed |= probs is None
            tell(path, facts, probs, problem, arguments)
    except NoNetwork as error:
        fail(f"{arguments.network}: {error}")
    sys.stdout.flush()
    sys.exit(1 if failed else 0)


def tell(path, facts, probs, problem, arguments):
    """Print what is found of a picture in the form asked for, or why it is not classified."""
    if probs is None:
        print(escape(f"error: {path}: {problem}"), file=sys.stderr)
    elif arguments.all:
        print(json.dumps({"path": path, "probabilities": dict(zip(facts["classes"], probs, strict=True))}))
    else:
        said = describe(path, facts, probs, arguments.top)
        print(json.dumps(said) if arguments.json else put_into_words(said))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:  # of the answers; whoever reads them, as `head` does, may have enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        closed = isinstance(error, BrokenPipeError)
        sys.exit(1 if closed else f"error: standard output: {error.strerror} (free some space there)")
