"""How long the exported student takes for a picture on this machine, in words, beside the page."""

import json
import warnings
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch

from src.ground.files import open_atomically
from src.results.export import FORMATS

CALLS = 30


def write_latency(script: Path, export: Path) -> None:
    """Measure the exported TorchScript and write a script that tells the page."""
    extra = {"facts.json": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # deprecated but still complete in torch 2.14
        path = export / FORMATS["torchscript"].file
        network: Any = torch.jit.load(path, map_location="cpu", _extra_files=extra)
    facts = json.loads(extra["facts.json"])
    image = torch.zeros(1, 3, facts["height"], facts["width"], dtype=torch.uint8)
    threads, seconds = torch.get_num_threads(), []
    with torch.inference_mode():
        for _ in range(CALLS):
            began = perf_counter()
            network(image)
            seconds.append(perf_counter() - began)
    ms = f"{1000 * median(seconds):.2g} ms"
    text = f"{ms} on this machine's CPU, {threads} thread{'s' * (threads > 1)}, one picture at a time"
    with open_atomically(script) as file:
        file.write(f"window.latency = {json.dumps(text)};\n")
