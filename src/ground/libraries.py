"""The versions of the libraries that can change a result: those installed, and those in libraries.yaml.

DVC reads the file as params: a stage lists those that it uses, so another version reruns what it can change.
"""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from src.ground.errors import UserError

FILE = Path("libraries.yaml")
LIBRARIES = {  # module -> package
    "PIL": "pillow",
    "jinja2": "jinja2",
    "kornia": "kornia",
    "markupsafe": "markupsafe",
    "matplotlib": "matplotlib",
    "nncf": "nncf",
    "numpy": "numpy",
    "onnx": "onnx",
    "openvino": "openvino",
    "safetensors": "safetensors",
    "scipy": "scipy",
    "simplejpeg": "simplejpeg",
    "sklearn": "scikit-learn",
    "timm": "timm",
    "torch": "torch",
    "torchvision": "torchvision",
    "xxhash": "xxhash",
}


def find_installed() -> dict[str, str]:
    """The installed version of each package; torch's 2.14.1+cpu is the 2.14.1 of which it is a build."""
    try:
        return {name: version(name).partition("+")[0] for name in sorted(LIBRARIES.values())}
    except PackageNotFoundError as error:
        raise UserError(f"{error.name}: this package is not installed (make install)") from None


def read_recorded() -> Mapping[str, str]:
    """The versions in libraries.yaml; none if there is no such file."""
    if not FILE.exists():
        return {}
    try:
        recorded = YAML(typ="safe").load(FILE)
    except (YAMLError, ValueError, OSError):
        recorded = None
    if not isinstance(recorded, dict):
        raise UserError(f"{FILE}: not a mapping of versions (make libraries writes it)")
    return recorded


def check_libraries() -> None:
    """Refuse to compute with other libraries than dvc.lock will say were used."""
    recorded, installed = read_recorded(), find_installed()
    others = {name: now for name, now in installed.items() if recorded and recorded.get(name) != now}
    if others:
        listed = ", ".join(f"{name} {recorded.get(name)} (installed: {now})" for name, now in others.items())
        raise UserError(
            f"{FILE}: {listed} (make libraries, then dvc repro reruns what they change; or make install)"
        )
