"""Write the folder that NVIDIA Triton and KServe serve, from the exported ONNX file.

C classes, H height, W width in pixels. Names, shapes and types of the configuration are those in the file.

reads   data/export/student.onnx
writes  serve/NAME/1/model.onnx     the same bytes, as version 1
        serve/NAME/config.pbtxt     input `images` uint8 (3, H, W), output `probabilities` float32 (C,)
        serve/NAME/labels.txt       a class per line, in the order of the probabilities
run     python -m tools.serve_layout [--name NAME]
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from src.ground.errors import Parser, UserError, run
from src.ground.files import open_atomically

STUDENT = Path("data/export/student.onnx")
FOLDER = Path("serve")
FACTS = "facts.json"  # the key of the file's facts, as src/export/with_onnx.py writes it
MOST = 32  # pictures that the server may put into one batch
TYPES = {"UINT8": "TYPE_UINT8", "FLOAT": "TYPE_FP32"}  # ONNX -> Triton
CONFIG = """\
name: "{name}"
platform: "onnxruntime_onnx"
max_batch_size: {most}
input [
  {{
    name: "{images.name}"
    data_type: {images.type}
    format: FORMAT_NCHW
    dims: {images.dims}
  }}
]
output [
  {{
    name: "{probs.name}"
    data_type: {probs.type}
    dims: {probs.dims}
    label_filename: "labels.txt"
  }}
]
dynamic_batching {{ }}
"""


@dataclass(frozen=True)
class Tensor:
    """An input or output of the network, as the configuration names it."""

    name: str
    type: str  # Triton's name for it
    dims: list[int]  # without that of the batch, which the file leaves free


def main() -> None:
    parser = Parser(prog="python -m tools.serve_layout")
    parser.add_argument("--name", default="student", help="what the server calls the network")
    name = parser.parse_args().name
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise UserError(f"--name: only letters, digits, _ and - can be in it, got {name!r} (take another)")
    content = read_content()
    images, probs, classes = read_signature(content)
    folder = FOLDER / name
    with open_atomically(folder / "labels.txt") as file:
        file.writelines(f"{label}\n" for label in classes)
    with open_atomically(folder / "config.pbtxt") as file:
        file.write(CONFIG.format(name=name, most=MOST, images=images, probs=probs))
    with open_atomically(folder / "1/model.onnx", "wb") as file:
        file.write(content)
    print(f"{folder}: {len(classes)} classes, pictures of {' x '.join(map(str, images.dims[1:]))} pixels")


def read_content() -> bytes:
    """The bytes of the exported file."""
    if not STUDENT.exists():
        raise UserError(f"{STUDENT}: not found (add onnx to export.formats in params.yaml, then dvc repro)")
    return STUDENT.read_bytes()


def read_signature(content: bytes) -> tuple[Tensor, Tensor, list[str]]:
    """The input, the output and the classes (C,) of an ONNX file that export_jit wrote."""
    try:
        model = onnx.load_model_from_string(content)
        facts = {entry.key: entry.value for entry in model.metadata_props}
        classes = json.loads(facts[FACTS])["classes"]
        (images,), (probs,) = map(describe, model.graph.input), map(describe, model.graph.output)
        "".join(classes).encode()  # of texts, all of which a file can hold
        fits = len(images.dims) == 3 and min(images.dims) > 0 and probs.dims == [len(classes)]
    except (DecodeError, KeyError, TypeError, ValueError):
        fits = False
    if not fits:
        raise UserError(f"{STUDENT}: not a file that export_jit wrote (dvc repro -f export_jit)")
    for label in classes:
        if "\n" in label or "\r" in label:
            raise UserError(f"{STUDENT}: class {label!r}: its name must be one line (rename its folder)")
    return images, probs, classes


def describe(value: onnx.ValueInfoProto) -> Tensor:
    """An input or output of a graph."""
    kind = value.type.tensor_type
    _, *dims = (dim.dim_value for dim in kind.shape.dim)
    return Tensor(value.name, TYPES[onnx.TensorProto.DataType.Name(kind.elem_type)], dims)


if __name__ == "__main__":
    run(main)
