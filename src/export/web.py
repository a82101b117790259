"""The student as a page of one file that classifies pictures in a browser, opened from disk, without network.

It is run by ONNX Runtime Web (runtime.js, by tools/web_runtime.py). `demos/classifier.py` finds the network
and the facts in the page by the `id` of their elements.
"""

import base64
import gzip
from pathlib import Path
from string import Template

from src.export.deployed import Product
from src.export.with_onnx import build_onnx
from src.ground.files import open_atomically

FOLDER = Path(__file__).parent


def write_web(path: Path, product: Product) -> None:
    """Write the page with the student's ONNX file inside, compressed."""
    page = fill_page(build_onnx(product), product.about)
    with open_atomically(path) as file:
        file.write(page)


def fill_page(network: bytes, about: str) -> str:
    """The page's HTML. No class can end the element that holds the facts: in JSON any < can be \\u003c."""
    packed = base64.b64encode(gzip.compress(network, 9, mtime=0)).decode()
    return Template(read_part("page.html")).substitute(
        style=read_part("page.css"),
        facts=about.replace("<", "\\u003c"),
        network=packed,
        runtime=read_part("runtime.js"),
        script=read_part("fitting.js") + read_part("page.js"),
    )


def read_part(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")
