"""The student as ONNX, by torch's exporter: for ONNX Runtime, OpenVINO and browsers."""

import contextlib
import io
import logging
import warnings
from functools import lru_cache
from pathlib import Path

import onnx
import torch

from src.export.deployed import Product
from src.ground.files import open_atomically

FACTS = "facts.json"
IMAGE_KEYS = {  # the standard keys of ONNX for models of images (docs/MetadataProps.md)
    "Image.BitmapPixelFormat": "Rgb8",
    "Image.ColorSpaceGamma": "SRGB",
    "Image.NominalPixelRange": "NominalRange_0_255",
}


def write_onnx(path: Path, product: Product) -> None:
    """Write the student as ONNX: `images` uint8 (N, 3, H, W) -> `probabilities` float32 (N, C), N free."""
    with open_atomically(path, "wb") as file:
        file.write(build_onnx(product))


@lru_cache(maxsize=1)  # several formats begin with it
def build_onnx(product: Product) -> bytes:
    """The bytes of the ONNX file; without the names of this machine's source files."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            product.deployed,
            (product.example,),
            dynamo=True,
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            input_names=["images"],
            output_names=["probabilities"],
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    for part in (model.graph, *model.functions):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
        for node in (*part.node, *part.value_info, *part.input, *part.output):
            if not isinstance(node, str):
                node.ClearField("metadata_props")
                node.ClearField("doc_string")
    onnx.helper.set_model_props(model, {FACTS: product.about, **IMAGE_KEYS})
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)
