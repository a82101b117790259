"""The formats in which the student ships; what writes one is imported when it is asked for."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from src.export.deployed import Product
from src.ground.errors import UserError


class Format(NamedTuple):
    """A file format in which the student is shipped."""

    file: str  # name in data/export
    runs_in: str  # what a machine that classifies with it needs
    beside: tuple[str, ...] = ()  # files that belong to it
    exact: bool = True  # whether its probabilities must be the model's, up to export.tolerance

    def list_files(self) -> tuple[str, ...]:
        """The names of all its files."""
        return self.file, *self.beside


FORMATS = {
    "torchscript": Format("student.pt", "torch"),
    "torch_export": Format("student.pt2", "torch, 2.6 or newer"),
    "onnx": Format("student.onnx", "onnxruntime and others that read ONNX"),
    "openvino": Format("student.xml", "openvino", ("student.bin",)),
    "openvino_int8": Format("student_int8.xml", "openvino, in 8 bits", ("student_int8.bin",), exact=False),
    "web": Format("student.html", "a browser"),
}


def find_writer(name: str) -> Callable[[Path, Product], None]:
    """What writes the file of a format; a UserError if its library is not installed."""
    try:
        if name == "torchscript":
            from src.export.with_torch import write_torchscript as write
        elif name == "torch_export":
            from src.export.with_torch import write_torch_export as write
        elif name == "onnx":
            from src.export.with_onnx import write_onnx as write
        elif name == "openvino":
            from src.export.with_openvino import write_openvino as write
        elif name == "web":
            from src.export.web import write_web as write
        else:
            from src.export.with_openvino import write_openvino_int8 as write
    except ModuleNotFoundError as error:
        raise UserError(
            f"params.yaml: export.formats: {name} needs {error.name} (make install, or leave {name} out)"
        ) from None
    return write
