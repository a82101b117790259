"""The student as files of torch: TorchScript, and its successor torch.export."""

import warnings
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import IO
from zipfile import ZipFile, ZipInfo

import torch
from torch import Tensor, nn

from src.export.deployed import Product
from src.ground.files import open_atomically

FACTS = "facts.json"
ORIGINS = (".debug_pkl", ".data/serialization_id")  # records that name source files; the second is their hash


def write_torchscript(path: Path, product: Product) -> None:
    """Trace and freeze the student into a TorchScript file."""
    buffer = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # deprecated but still complete in torch 2.14
        network = trace(product.deployed, product.example)
        torch.jit.save(network, buffer, _extra_files={FACTS: product.about})
    with open_atomically(path, "wb") as file:
        copy_without_origin(buffer, file)


def trace(model: nn.Module, example: Tensor) -> torch.jit.ScriptModule:
    """The model as TorchScript with its weights frozen."""
    return torch.jit.freeze(torch.jit.trace(model.eval(), example))


def write_torch_export(path: Path, product: Product) -> None:
    """Write the student as torch.export's program, for batches of any number of pictures."""
    program, buffer = export_program(product), BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of weights that share memory, on other devices
        torch.export.save(program, buffer, extra_files={FACTS: product.about})
    with open_atomically(path, "wb") as file:
        copy_without_origin(buffer, file)


def export_program(product: Product) -> torch.export.ExportedProgram:
    """The student as a graph of torch's operations that names no source file of this machine."""
    batch = {"images": {0: torch.export.Dim("batch")}}
    with torch.no_grad():
        program = torch.export.export(product.deployed, (product.example,), dynamic_shapes=batch)
    forget_origin(program.graph_module.graph.nodes)
    return program


def forget_origin(nodes: Iterable[torch.fx.Node]) -> None:
    """Remove what a graph's nodes tell of the files and lines that they come from."""
    for node in nodes:
        for key in ("stack_trace", "source_fn_stack", "torch_fn"):
            node.meta.pop(key, None)


def copy_without_origin(source: IO[bytes], target: IO[bytes]) -> None:
    """Copy an archive of torch without the records that name this machine's source files.

    Otherwise the same network exported from two folders would differ in bytes, and reveal the folder's path.
    """
    with ZipFile(source) as records, ZipFile(target, "w") as copy:
        for record in records.infolist():
            if not record.filename.endswith(ORIGINS):
                copy.writestr(ZipInfo(record.filename), records.read(record))  # no date, uncompressed
