"""The student as OpenVINO's intermediate representation, in float32 or, quantised on train, in 8 bits.

The 8 bits are those of NNCF's post-training quantisation; no training follows. Weights use 7 of the bits:
CPUs without VNNI add up products of 8 bits in 16, which overflow otherwise, and would say something else than
the CPU on which the file was measured.
"""

import contextlib
import io
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import numpy as np
import openvino

from src.export.deployed import Product
from src.export.with_onnx import build_onnx
from src.ground.errors import UserError, shorten
from src.ground.files import open_atomically


def write_openvino(path: Path, product: Product) -> None:
    """Write the student as an .xml file, with its weights in a .bin file beside it."""
    save(read_model(product), path, product)


def write_openvino_int8(path: Path, product: Product) -> None:
    """The same with weights and maps of 8 bits, whose ranges are those seen on pictures of train.

    If more accuracy is lost on val than allowed, the layers that matter most to it stay float32:
    one after another, until it is enough.
    """
    os.environ.setdefault("NNCF_CI", "1")  # else it reports its use to a server
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        import nncf
        from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix

        nncf.set_log_level(logging.ERROR)
        seen = product.seen()
        images = [np.ascontiguousarray(picture.transpose(2, 0, 1)[None]) for picture in seen.train]
        model = nncf.quantize_with_accuracy_control(
            read_model(product),
            calibration_dataset=nncf.Dataset(images),
            validation_dataset=nncf.Dataset([*zip(seen.val, seen.labels, strict=True)]),
            validation_fn=find_accuracy,
            max_drop=seen.max_drop,
            preset=nncf.QuantizationPreset.MIXED,  # maps may have a zero point
            subset_size=len(images),
            advanced_quantization_parameters=AdvancedQuantizationParameters(overflow_fix=OverflowFix.ENABLE),
        )
    save(model, path, product)


def find_accuracy(
    model: openvino.CompiledModel, pictures: Iterable[tuple[np.ndarray, int]]
) -> tuple[float, list[float]]:
    """In [0, 1], and of each picture (H, W, 3) whether its class is found, as NNCF asks for."""
    answers = ((model(picture.transpose(2, 0, 1)[None])[0].argmax(), label) for picture, label in pictures)
    right = [float(found == label) for found, label in answers]
    return float(np.mean(right)), right


def read_model(product: Product) -> openvino.Model:
    return openvino.Core().read_model(model=build_onnx(product))


def save(model: openvino.Model, path: Path, product: Product) -> None:
    """Write both files; the facts are among the model's runtime information, as `facts`.

    Each appears whole, and the .xml last: never beside weights of another network.
    """
    model.set_rt_info(product.about, ["facts"])
    with TemporaryDirectory() as folder:
        written = Path(folder, path.name)
        try:
            openvino.save_model(model, written, compress_to_fp16=False)
        except RuntimeError as error:  # which names neither file nor cause
            raise UserError(f"{written}: {shorten(error, 100)} (free some space in {gettempdir()})") from None
        path.unlink(missing_ok=True)
        for source in (written.with_suffix(".bin"), written):
            with open_atomically(path.with_name(source.name), "wb") as file:
                file.write(source.read_bytes())
