"""Picture files of every format, mode, orientation and size that is read, and damaged copies; seeded."""

import io
import struct

import numpy as np
from PIL import Image

XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="{}"/></x:xmpmeta>'
KINDS = (  # format, modes that Pillow can save in it
    ("JPEG", ("L", "RGB", "CMYK")),
    ("MPO", ("L", "RGB")),
    ("PNG", ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
    ("GIF", ("L", "P", "RGBA")),
    ("BMP", ("1", "L", "P", "RGB", "RGBA")),
    ("WEBP", ("RGB", "RGBA")),
    ("TIFF", ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I;16B")),
    ("PPM", ("1", "L", "RGB", "I;16", "I;16B")),  # I;16B: written as plain text here
    ("AVIF", ("L", "RGB", "RGBA")),
    ("JPEG2000", ("L", "LA", "RGB", "RGBA", "I;16")),
)
EACH_KIND = [(name, mode) for name, modes in KINDS for mode in modes]


def encode(image, name, **options):
    """The bytes of a file of Pillow's format `name`."""
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def draw(generator, mode, width, height):
    """Noise on a slope, in any mode."""
    if mode.startswith("I;16"):
        most = int(generator.choice([255, 1023, 4095, 65535]))
        pixels = generator.integers(0, most + 1, (height, width), dtype=np.uint16)
        return Image.fromarray(pixels)
    slope = np.linspace(0, 160, width)[None, :, None] + generator.integers(0, 95, (height, width, 3))
    image = Image.fromarray(slope.astype(np.uint8))
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(generator.integers(0, 256, (height, width), dtype=np.uint8)))
        return image if mode == "RGBA" else image.convert("LA")
    if mode == "LAB":
        return Image.frombytes("LAB", image.size, image.tobytes())
    return image.convert(mode)


def write_grey_map(magic, maxval, pixels):
    """A PGM of any maxval over 255, which Pillow cannot write: P5, or P2 as plain text."""
    values = pixels.astype(">u2").tobytes() if magic == "P5" else " ".join(map(str, pixels.ravel())).encode()
    return f"{magic}\n# a comment\n{pixels.shape[1]} {pixels.shape[0]}\n{maxval}\n".encode() + values


def make_picture(generator, name, mode, width, height, orientation=1):
    """The bytes of a picture file; 1 as `orientation` writes none."""
    image, options = draw(generator, mode, width, height), {}
    if name == "PPM" and mode.startswith("I;16"):
        pixels = np.asarray(image)
        maxval = max(int(generator.choice([256, 1000, 4095, 65535])), int(pixels.max()))
        return write_grey_map("P2" if mode == "I;16B" else "P5", maxval, pixels)
    if name in ("JPEG", "MPO"):
        options = {"quality": int(generator.integers(30, 96)), "progressive": bool(generator.integers(2))}
    if name == "MPO" or (
        name in ("GIF", "WEBP", "TIFF", "PNG") and mode != "I;16B" and generator.random() < 0.15
    ):
        options |= {"save_all": True, "append_images": [draw(generator, mode, width, height)]}
    if name in ("WEBP", "JPEG2000") and generator.integers(2):
        options |= {"lossless": True} if name == "WEBP" else {"irreversible": True}
    if name == "PNG" and mode in ("P", "L", "RGB") and generator.random() < 0.3:
        options |= {"transparency": (9, 9, 9) if mode == "RGB" else 9}
    if name == "TIFF":
        compressions = {"1": ["group4"], "RGB": ["jpeg"]}.get(mode, []) + [None, "tiff_lzw", "packbits"]
        if mode not in ("LAB", "I;16B"):
            options |= {"compression": str(generator.choice(compressions + ["tiff_adobe_deflate"]))}
            options = {key: value for key, value in options.items() if value != "None"}
        if mode == "I;16B":
            image = Image.frombytes("I;16B", image.size, np.asarray(image).astype(">u2").tobytes())
        options |= {"tiffinfo": {274: orientation}} if orientation > 1 else {}
    elif orientation > 1:
        exif = Image.Exif()
        exif[0x0112], exif[0x010F] = orientation, "maker"
        by_xmp = name in ("JPEG", "WEBP") and generator.random() < 0.3
        options |= {"xmp": XMP.format(orientation).encode()} if by_xmp else {"exif": exif.tobytes()}
    content = encode(image, name, **options)
    if name == "TIFF" and mode == "I;16" and generator.integers(2):  # white is 0: X-rays
        content = content.replace(struct.pack("<HHIH", 262, 3, 1, 1), struct.pack("<HHIH", 262, 3, 1, 0))
    return content


def make_pictures(count, seed=0):
    """Names and bytes of `count` files, all kinds in turns, of random sizes and orientations."""
    for number in range(count):
        generator = np.random.default_rng([seed, number])
        name, mode = EACH_KIND[number % len(EACH_KIND)]
        width, height = (int(side) for side in generator.integers(8, 130, 2))
        if generator.random() < 0.1:
            width, height = [(width // 4 + 8, 10 * height), (8 * width, 8)][generator.integers(2)]
        orientation = int(generator.integers(1, 9))
        what = f"{number}: {name} {mode} {width} x {height}, orientation {orientation}"
        yield what, make_picture(generator, name, mode, width, height, orientation)


def mutate(generator, content):
    """A copy with a few bytes changed, removed, added or cut off, often in the header."""
    damaged = bytearray(content)
    for _ in range(int(generator.choice([1, 1, 2, 5, 20]))):
        at = int(generator.integers(min(len(damaged), int(generator.choice([40, 400, 10**9])))))
        way = generator.random()
        if way < 0.5:
            damaged[at] = int(generator.integers(256))
        elif way < 0.7:
            del damaged[at : at + int(generator.integers(1, 20))]
        elif way < 0.9:
            damaged[at:at] = generator.bytes(int(generator.integers(1, 8)))
        else:
            del damaged[max(20, at) :]
        if len(damaged) < 10:
            break
    return bytes(damaged)


def make_mutations(count, seed=0):
    """`count` damaged copies of small pictures of every kind, with the names of these."""
    for number in range(count):
        generator = np.random.default_rng([seed, number, 1])
        name, mode = EACH_KIND[number % len(EACH_KIND)]
        orientation = int(generator.integers(1, 9))
        sound = make_picture(generator, name, mode, 24, 17, orientation)
        yield f"{number}: damaged {name} {mode}, orientation {orientation}", mutate(generator, sound)
