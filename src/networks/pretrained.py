"""Pretrained weights, the library's or a file's; code in a file is never executed."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import timm
import torch
import torchvision
from timm.models import load_state_dict
from torch import Tensor

from src.ground.errors import UserError, list_some, shorten
from src.ground.files import sha256
from src.ground.names import ALIASES
from src.ground.rules import ANY_FILE
from src.ground.weights import FETCHED, LIBRARY_WEIGHTS, NO_WEIGHTS, find_file, spell_missing
from src.networks.libraries import STAGES
from src.networks.network import Input, Network, Normalize

COUNTER = "num_batches_tracked"  # of BatchNorm; missing in older files, and nothing depends on it
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")  # classifiers that torchvision uses only in training
NORMALIZE, NET = "normalize.", "net."  # prefixes of the tensor names in a file that a stage wrote
INTERPOLATION = "bilinear"  # how this project resizes every picture


def load_pretrained(
    network: Network, arch: str, pretrained: str, wanted_hash: str, size: tuple[int, int], key: str
) -> None:
    """Load pretrained weights, except a classifier for another number of classes, and print what was loaded.

    `pretrained` is none, default (the library's own weights, downloaded), a name of FETCHED, or the path of a
    safetensors file or a saved state dict, in the library's layout or as a stage wrote it; the latter also
    sets mean and std. `wanted_hash` is the SHA-256 that the file, or the tensors of default, must have, or
    any; the network gets the one that was found. `size` is the height and width in pixels of the pictures
    to train on. A UserError names `key`, the section of params.yaml.
    """
    if pretrained == NO_WEIGHTS:
        return
    key, wanted_arch = f"params.yaml: {key}.pretrained", "the file's architecture"
    if pretrained == LIBRARY_WEIGHTS:
        source, state = f"the library's weights of {arch}", load_library_state(arch, key)
        network.pretrained = hash_tensors(state)
        check_hash(network.pretrained, wanted_hash, source, key)
        if wanted_hash == ANY_FILE:
            print(f"{key}_sha256: {network.pretrained} (set it to make sure of the same weights later)")
    else:
        source, path = pretrained, find_file(pretrained)
        if not path.is_file():
            raise UserError(f"{key}: {spell_missing(pretrained)}")
        network.pretrained = sha256(path)
        if pretrained in FETCHED:
            fetched = FETCHED[pretrained]
            source, wanted_arch = f"{pretrained}, {fetched.path}", fetched.arch
            if network.pretrained != fetched.sha256:
                raise UserError(
                    f"{key}: {source}: not as make weights wrote it (remove it, then make weights)"
                )
        check_hash(network.pretrained, wanted_hash, source, key)
        state = load_file_state(path, key)
    source = f"{key}: {source}"
    if any(name.startswith(NORMALIZE) for name in state):
        fill(network, select_below(NET, state), source, wanted_arch)
        set_colours(network.normalize, select_below(NORMALIZE, state), source)
    else:
        fill(network, state, source, wanted_arch)
        warn_of_other_pictures(network.expected, size, key)


def load_library_state(arch: str, key: str) -> Mapping[str, Tensor]:
    """The weights that timm or torchvision provides for the network, downloaded or from the cache."""
    name, options = ALIASES.get(arch, (arch, {}))
    if set(options) - {STAGES}:
        raise UserError(f"{key}: default, but no library has weights for {arch} (set none or a path)")
    try:
        if name.startswith("timm/"):
            return timm.create_model(name.removeprefix("timm/"), pretrained=True).state_dict()
        return torchvision.models.get_model(name, weights="DEFAULT", progress=False).state_dict()
    except (OSError, RuntimeError) as error:  # no connection, nothing on the server, a damaged download
        text = shorten(error, 200)
        raise UserError(
            f"{key}: the library's weights of {arch} could not be loaded: {text} (set none or a path)"
        ) from None


def check_hash(found: str, wanted: str, source: str, key: str) -> None:
    """Refuse weights with another SHA-256 than the one that is wanted."""
    if wanted not in (ANY_FILE, found):
        raise UserError(f"{key}_sha256: {source} has {found} (use other weights, or set any)")


def hash_tensors(state: Mapping[str, Tensor]) -> str:
    """The SHA-256 of the tensors' names, types, shapes and bytes, whatever file they are from."""
    whole = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        whole.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return whole.hexdigest()


def load_file_state(path: Path, key: str) -> Mapping[str, Tensor]:
    """The tensors of a file by name, without the wrappers that training scripts add."""
    try:
        state = load_state_dict(str(path), weights_only=True)
        tensors = bool(state) and all(isinstance(tensor, Tensor) for tensor in state.values())
        text = "it holds no named tensors"
    except Exception as error:  # a damaged file can raise almost anything
        tensors, text = False, shorten(error, 150)
    if not tensors:
        raise UserError(
            f"{key}: {path}: not plain weights, {path.stat().st_size} bytes: {text} "
            "(use a safetensors file or a saved state dict)"
        )
    return state


def select_below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names start with `prefix`, by their names without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def set_colours(normalize: Normalize, state: Mapping[str, Tensor], source: str) -> None:
    """Set mean and std; a UserError names `source` if the state is anything but these."""
    own = normalize.state_dict()
    sound = own.keys() == state.keys() and all(
        state[name].shape == tensor.shape and state[name].isfinite().all() for name, tensor in own.items()
    )
    if not sound or not (state["std"] > 0).all():
        raise UserError(
            f"{source}: its {NORMALIZE}mean and {NORMALIZE}std are not those of three colours (use a file "
            "that a stage wrote)"
        )
    normalize.load_state_dict(state)


def fill(network: Network, state: Mapping[str, Tensor], source: str, wanted_arch: str) -> None:
    """Load every tensor except those of auxiliary classifiers and of a classifier that does not fit.

    A UserError about a state that is another network's names its `source`, and `wanted_arch` as the remedy.

    The last weights (C, features) of a new classifier start from 0, as in A. Dosovitskiy et al., ViT, 2020,
    arXiv:2010.11929: random ones, which some families draw large, would first damage the pretrained features.
    """
    net, is_head = network.net, network.is_in_classifier
    own = net.state_dict()
    misfits = {name for name in own.keys() & state.keys() if own[name].shape != state[name].shape}
    left_out = {name for name in state if name in misfits and is_head(name)}
    absent = (*AUXILIARY, *getattr(net, "absent", ()))
    left_out |= {name for name in state.keys() - own.keys() if name.startswith(absent)}
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
            f"shape, first {min(wrong)} (set arch to {wanted_arch})"
        )
    infinite = [name for name, tensor in own.items() if not tensor.isfinite().all()]
    if infinite:
        raise UserError(f"{source}: {infinite[0]} holds non-finite values (use another file)")
    for head in network.classifier_names:
        matrices = [name for name, tensor in own.items() if name.startswith(f"{head}.") and tensor.ndim > 1]
        if matrices and matrices[-1] in new:
            own[matrices[-1]].zero_()
    print(
        f"{source}: {len(fitting)} tensors loaded, left out: {list_layers(left_out)}, new: {list_layers(new)}"
    )


def list_layers(names: Iterable[str]) -> str:
    """The layers that the named tensors belong to."""
    return list_some(sorted({name.rpartition(".")[0] for name in names}), most=10) or "none"


def warn_of_other_pictures(expected: Input, size: tuple[int, int], key: str) -> None:
    """Warn if the library's weights were trained on pictures of another size or interpolation."""
    height, width, interpolation = expected.height, expected.width, expected.interpolation
    if (height, width, interpolation) != (*size, INTERPOLATION):
        print(
            f"warning: {key}: these weights were trained on pictures of {height} x {width}, {interpolation}, "
            f"but get {size[0]} x {size[1]}, {INTERPOLATION} (accuracy may suffer)"
        )
