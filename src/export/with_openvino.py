"""The student as OpenVINO's intermediate representation, in float32 or, quantised on train, in 8 bits.

The 8 bits are those of NNCF's post-training quantisation; no training follows.
"""

import contextlib
import io
import logging
import os
from pathlib import Path

import numpy as np
import openvino

from src.export.deployed import Product
from src.export.with_onnx import build_onnx


def write_openvino(path: Path, product: Product) -> None:
    """Write the student as an .xml file, with its weights in a .bin file beside it."""
    save(read_model(product), path, product)


def write_openvino_int8(path: Path, product: Product) -> None:
    """The same with weights and maps of 8 bits, whose ranges are those seen on pictures of train."""
    os.environ.setdefault("NNCF_CI", "1")  # else it reports its use to a server
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        import nncf

        nncf.set_log_level(logging.ERROR)
        images = [np.ascontiguousarray(picture.transpose(2, 0, 1)[None]) for picture in product.seen()]
        model = nncf.quantize(read_model(product), nncf.Dataset(images), subset_size=len(images))
    save(model, path, product)


def read_model(product: Product) -> openvino.Model:
    return openvino.Core().read_model(model=build_onnx(product))


def save(model: openvino.Model, path: Path, product: Product) -> None:
    """Write both files; the facts are among the model's runtime information, as `facts`."""
    model.set_rt_info(product.about, ["facts"])
    path.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(model, path, compress_to_fp16=False)
