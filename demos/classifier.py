"""Classify pictures with an exported network. Needs torch and Pillow; everything else is in the file.

    python demos/classifier.py data/export/student.pt PICTURE...         class and probability of each
    python demos/classifier.py --all data/export/student.pt PICTURE...   probabilities of all classes, as JSON

Copy this file next to your own program: `load` and `classify` are all you need.
"""

import argparse
import json
import sys
import warnings

import torch
from PIL import Image, ImageOps

GREY16 = [value >> 8 for value in range(65536)]


def load(path):
    """The network of a file and its facts: classes, height and width in pixels, letterbox rule, base."""
    extra = {"facts.json": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch 2.9 and later warn that TorchScript is deprecated
        network = torch.jit.load(path, map_location="cpu", _extra_files=extra)
    return network.eval(), json.loads(extra["facts.json"])


def to_rgb(image):
    """A picture of any mode as RGB: 16-bit grey scaled to 8 bits, transparency composited onto black."""
    if image.mode.startswith("I;16"):
        return image.convert("I").point(GREY16, "L").convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"32-bit pixels ({image.mode}) have no known range")
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, (0, 0, 0, 255)), picture).convert("RGB")
    return image.convert("RGB")


def letterbox(image, height, width):
    """The RGB picture resized to fit and centred on black, as the training pictures were packed."""
    scale = min(width / image.width, height / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    canvas = Image.new("RGB", (width, height))
    corner = (width - size[0]) // 2, (height - size[1]) // 2
    canvas.paste(image.resize(size, Image.Resampling.BILINEAR), corner)
    return canvas


def read(path, height, width):
    """A picture file as uint8 (3, height, width), RGB, rotated upright by its EXIF orientation."""
    image = letterbox(to_rgb(ImageOps.exif_transpose(Image.open(path))), height, width)
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.view(height, width, 3).permute(2, 0, 1)


@torch.inference_mode()
def classify(network, facts, path):
    """The probability of each class of `facts["classes"]` for a picture file, as a list of floats."""
    return network(read(path, facts["height"], facts["width"])[None])[0].tolist()


def main():
    parser = argparse.ArgumentParser(description="Classify pictures with an exported network.")
    parser.add_argument("network", help="a .pt file that export_jit wrote")
    parser.add_argument("pictures", nargs="+")
    parser.add_argument(
        "--all", action="store_true", help="one JSON line per picture with the probability of every class"
    )
    arguments = parser.parse_args()
    sys.stdout.reconfigure(errors="backslashreplace")  # a class or file name that the terminal cannot show
    try:
        network, facts = load(arguments.network)
    except (RuntimeError, ValueError, OSError) as error:
        sys.exit(f"error: {arguments.network}: not an exported network ({str(error).splitlines()[0]})")
    failed = False
    for path in arguments.pictures:
        try:
            probs = classify(network, facts, path)
        except Exception as error:  # a broken file can raise almost anything; classify the others
            print(f"error: {path}: not a readable picture ({error})", file=sys.stderr)
            failed = True
            continue
        best = max(range(len(probs)), key=probs.__getitem__)
        if arguments.all:
            print(
                json.dumps({"path": path, "probabilities": dict(zip(facts["classes"], probs, strict=True))})
            )
        else:
            print(f"{path}: {facts['classes'][best]} {probs[best]:.4f}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
