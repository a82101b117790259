"""How long the exported student takes for a picture on this machine, in words, beside the page."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch

from src.export.formats import FORMATS
from src.ground.errors import UserError, shorten
from src.networks.checkpoint import load_model

CALLS = 30


def tell_latency(student: Path, export: Path) -> str:
    """A script that tells the page how long the exported files of a student take, empty if there are none.

    A UserError names the file that cannot be run.
    """
    _, facts = load_model(student)
    image = np.zeros((1, 3, facts.height, facts.width), np.uint8)
    threads, told = torch.get_num_threads(), []
    for name, begin in {"torchscript": begin_torchscript, "onnx": begin_onnx}.items():
        path = export / FORMATS[name].file
        if not path.exists():
            continue
        try:
            seconds = measure(begin(path, threads), image)
        except Exception as error:  # a damaged file can raise almost anything
            why = shorten(error, 100)
            raise UserError(f"{path}: cannot be run: {why} (dvc repro -f export_jit writes it)") from None
        told.append(f"{1000 * seconds:.2g} ms as {path.name}")
    if not told:
        return ""
    where = f"on this machine's CPU, {threads} thread{'s' * (threads > 1)}, one picture at a time"
    text = f"{', '.join(told)}: {where}"
    return f"window.latency = {json.dumps(text)};\n"


def measure(call: Callable[[np.ndarray], object], image: np.ndarray) -> float:
    """The median seconds of a call."""
    seconds = []
    for _ in range(CALLS):
        began = perf_counter()
        call(image)
        seconds.append(perf_counter() - began)
    return median(seconds)


def begin_torchscript(path: Path, threads: int) -> Callable[[np.ndarray], object]:
    """A function that classifies with a TorchScript file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # deprecated but still complete in torch 2.14
        network: Any = torch.jit.load(path, map_location="cpu")

    @torch.inference_mode()
    def call(image: np.ndarray) -> object:
        return network(torch.from_numpy(image))

    return call


def begin_onnx(path: Path, threads: int) -> Callable[[np.ndarray], object]:
    """A function that classifies with an ONNX file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda image: session.run(None, {"images": image})
