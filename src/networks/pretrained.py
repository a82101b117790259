"""Weights to start from: the library's own, or a file's, of which nothing is ever run."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import timm
import torchvision
from timm.models import load_state_dict
from torch import Tensor

from src.ground.errors import UserError
from src.ground.files import sha256
from src.ground.names import ALIASES
from src.networks.network import Input, Network

NO_WEIGHTS, LIBRARY_WEIGHTS = "none", "default"
ANY_FILE = "any"
COUNTER = "num_batches_tracked"  # of BatchNorm; older files lack it, and nothing depends on it
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")  # classifiers in torchvision's weights that only train
NORMALIZE, NET = "normalize.", "net."  # before the names of tensors in a file that a stage wrote
INTERPOLATION = "bilinear"  # of every picture here


def load_pretrained(
    network: Network, arch: str, pretrained: str, wanted_hash: str, size: tuple[int, int], key: str
) -> None:
    """Fill the network, but for a classifier of another number of classes, and say in one line with what.

    `pretrained` is none, default (the library's own weights, downloaded) or the path of a safetensors file or
    a saved state dict, in the library's layout or as a stage wrote it; the latter brings its mean and std.
    `wanted_hash` is the SHA-256 that the file must have, or any; `size` the height and width in pixels of the
    pictures to come. A UserError names `key`, the section of params.yaml.
    """
    if pretrained == NO_WEIGHTS:
        return
    key = f"params.yaml: {key}.pretrained"
    if pretrained == LIBRARY_WEIGHTS:
        source, state = f"the library's weights of {arch}", load_library_state(arch, key)
    else:
        source, state = pretrained, load_file_state(Path(pretrained), wanted_hash, key)
    source = f"{key}: {source}"
    if any(name.startswith(NORMALIZE) for name in state):
        fill(network, select_below(NET, state), source)
        network.normalize.load_state_dict(select_below(NORMALIZE, state))
    else:
        fill(network, state, source)
        warn_of_other_pictures(network.expected, size, key)


def load_library_state(arch: str, key: str) -> Mapping[str, Tensor]:
    """What timm or torchvision has for the network, downloaded or out of its cache."""
    name, options = ALIASES.get(arch, (arch, {}))
    if options:
        raise UserError(f"{key}: default, but no library has weights of {arch} (set none or a path)")
    try:
        if name.startswith("timm/"):
            return timm.create_model(name.removeprefix("timm/"), pretrained=True).state_dict()
        return torchvision.models.get_model(name, weights="DEFAULT", progress=False).state_dict()
    except (OSError, RuntimeError) as error:  # no network, no such file there, or a damaged download
        text = " ".join(str(error).split())[:200]
        raise UserError(
            f"{key}: the library's weights of {arch} could not be loaded: {text} (set none or a path)"
        ) from None


def load_file_state(path: Path, wanted_hash: str, key: str) -> Mapping[str, Tensor]:
    """The tensors of a file by name, unwrapped from what training scripts put around them."""
    if not path.is_file():
        raise UserError(f"{key}: {path}: no such file (set none, default or a path)")
    if wanted_hash not in (ANY_FILE, found := sha256(path)):
        raise UserError(f"{key}_sha256: {path} has {found} (another file, or any)")
    try:
        state = load_state_dict(str(path), weights_only=True)
        tensors = bool(state) and all(isinstance(tensor, Tensor) for tensor in state.values())
        text = "it holds no tensors by name"
    except Exception as error:  # readers of damaged files raise of everything
        tensors, text = False, " ".join(str(error).split())[:150]
    if not tensors:
        raise UserError(
            f"{key}: {path}: no plain weights, {path.stat().st_size} bytes: {text} "
            "(a safetensors file or a saved state dict is wanted)"
        )
    return state


def select_below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names start with `prefix`, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def fill(network: Network, state: Mapping[str, Tensor], source: str) -> None:
    """Load every tensor but those of auxiliary classifiers and of a classifier that does not fit.

    The last weights (C, features) of a new classifier start from 0, as in A. Dosovitskiy et al., ViT, 2020,
    arXiv:2010.11929: random ones, which some families draw large, first spoil what they are put upon.
    """
    net, is_head = network.net, network.is_in_classifier
    own = net.state_dict()
    misfits = {name for name in own.keys() & state.keys() if own[name].shape != state[name].shape}
    left_out = {name for name in state if name in misfits and is_head(name)}
    left_out |= {name for name in state.keys() - own.keys() if name.startswith(AUXILIARY)}
    wrong = misfits - left_out
    if wrong:
        others = (own.keys() ^ state.keys()) - left_out
        wrong |= {name for name in others if not name.endswith(COUNTER) and not is_head(name)}
    else:
        fitting = {name: tensor for name, tensor in state.items() if name not in left_out}
        missing, unknown = net.load_state_dict(fitting, strict=False)
        new = {name for name in missing if not name.endswith(COUNTER)}
        wrong = {name for name in new if not is_head(name)} | set(unknown)
    if wrong:
        raise UserError(
            f"{source} does not fit the network: {len(wrong)} tensors are missing, unknown or of another "
            f"shape, first {min(wrong)} (name the file's own architecture)"
        )
    infinite = [name for name, tensor in own.items() if not tensor.isfinite().all()]
    if infinite:
        raise UserError(f"{source}: {infinite[0]} holds non-finite values (another file)")
    for head in network.classifier_names:
        matrices = [name for name, tensor in own.items() if name.startswith(f"{head}.") and tensor.ndim > 1]
        if matrices and matrices[-1] in new:
            own[matrices[-1]].zero_()
    print(
        f"{source}: {len(fitting)} tensors loaded, left out: {list_layers(left_out)}, new: {list_layers(new)}"
    )


def list_layers(names: Iterable[str]) -> str:
    """The layers that the named tensors belong to."""
    return ", ".join(sorted({name.rpartition(".")[0] for name in names})) or "none"


def warn_of_other_pictures(expected: Input, size: tuple[int, int], key: str) -> None:
    """Say where the library's weights know pictures of another size, or resized in another way."""
    height, width, interpolation = expected.height, expected.width, expected.interpolation
    if (height, width, interpolation) != (*size, INTERPOLATION):
        print(
            f"warning: {key}: these weights were trained on pictures of {height} x {width}, {interpolation}, "
            f"and get {size[0]} x {size[1]}, {INTERPOLATION} (accuracy may suffer)"
        )
