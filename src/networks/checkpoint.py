"""Weights as safetensors with their facts in the header; no pickle is ever loaded.

The facts are one JSON text under one key: several keys would be written in random order, changing the bytes.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from src.ground.errors import UserError, list_some, shorten
from src.ground.files import open_atomically
from src.ground.names import is_known
from src.losses.bases import BASES
from src.networks.libraries import build_model
from src.networks.network import Network
from src.pictures.fitting import FITS, LETTERBOX

FACTS = "dojo"
REMEDY = "give the path of a file that a stage of this version wrote, or run dvc repro"


@dataclass(frozen=True)
class Facts:
    """What is needed to use the weights, and what they were trained from."""

    arch: str  # as in params.yaml
    base: str  # softmax or bce: how logits become probabilities
    classes: tuple[str, ...]  # in the order of the logits
    height: int  # pixels of the input
    width: int  # pixels
    mean: tuple[float, ...]  # of the normalisation layer, per channel
    std: tuple[float, ...]
    pretrained: str  # none, or the SHA-256 of the file or the library's tensors that training started from
    data: str  # SHA-256 of the manifests of the training and validation pictures
    params: str  # SHA-256 of the settings
    device: str  # cpu or the name of the GPU, whatever params.yaml's auto took
    fit: str = LETTERBOX  # how pictures filled the input; in the file only if it is another than this


def save_weights(path: Path, model: nn.Module, facts: Facts) -> None:
    """Write the weights and facts atomically."""
    with open_atomically(path, "wb") as file:
        file.write(encode(model, {FACTS: json.dumps(list_facts(facts), sort_keys=True)}))


def list_facts(facts: Facts) -> dict[str, Any]:
    """The facts that a file needs to hold."""
    return {name: value for name, value in asdict(facts).items() if (name, value) != ("fit", LETTERBOX)}


def encode(model: nn.Module, header: dict[str, str]) -> bytes:
    """The bytes of a weights file; tensors that share memory, as of a layer used twice, are stored apart."""
    state: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in model.state_dict().items():
        whole = tensor.contiguous().cpu()
        memory = whole.untyped_storage().data_ptr()
        state[name] = whole.clone() if memory in seen else whole
        seen.add(memory)
    return save(state, header)


def load_model(path: Path) -> tuple[Network, Facts]:
    """The network stored in a weights file, in evaluation mode, and the file's facts.

    A UserError names the file if `save_weights` did not write it, or if it lacks what its facts say.
    """
    if not path.is_file():
        what = "a folder, not a file" if path.is_dir() else "no such file"
        raise UserError(f"{path}: {what} (give the path of a .safetensors file that a stage wrote)")
    try:
        with safe_open(path, "pt") as file:
            header = (file.metadata() or {}).get(FACTS)
            state = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise UserError(f"{path}: not a safetensors file, {path.stat().st_size} bytes ({error})") from None
    if header is None:
        raise UserError(
            f"{path}: weights without Dojo's facts in the header (give the path of a file that a stage wrote)"
        )
    facts = parse_facts(header, path)
    return rebuild(facts.arch, len(facts.classes), state, str(path)), facts


def check_facts(path: Path, facts: Facts, classes: Sequence[str], size: tuple[int, int], fit: str) -> None:
    """Refuse weights of other classes than the data's (C,), another height and width, or another fit."""
    if facts.classes != tuple(classes):
        difference = spell_difference(facts.classes, classes)
        raise UserError(f"{path}: trained on {difference} (use the data of its training)")
    if (facts.height, facts.width) != size:
        own, packed = f"{facts.height} x {facts.width}", f"{size[0]} x {size[1]}"
        raise UserError(
            f"{path}: trained at {own} pixels, the pictures are packed at {packed} (set images to {own})"
        )
    if facts.fit != fit:
        raise UserError(
            f"{path}: trained on pictures fitted by {facts.fit}, these are by {fit} (set images.fit to "
            f"{facts.fit})"
        )


def spell_difference(own: Sequence[str], packed: Sequence[str]) -> str:
    """In what a network's classes differ from those of the data, in few words however many there are."""
    lacking, unknown = sorted({*own} - {*packed}), sorted({*packed} - {*own})
    if not lacking and not unknown:
        return f"the same {len(own)} classes in another order than the data's"
    parts = {"it lacks": lacking, "only it has": unknown}
    differences = ", ".join(f"{what} {list_some(names)}" for what, names in parts.items() if names)
    return f"{len(own)} classes, the data has {len(packed)}: {differences}"


def parse_facts(header: str, path: Path) -> Facts:
    """The facts in a file's header; a UserError names `path` if they are not what `Facts` describes."""
    try:
        values: dict[str, Any] = json.loads(header)
        problem = find_problem(values)
    except (ValueError, RecursionError):
        problem = "are not JSON"
    if problem:
        raise UserError(f"{path}: the facts in the header {problem} ({REMEDY})")
    return Facts(**{name: as_tuple(value) for name, value in values.items()})


def as_tuple(value: Any) -> Any:
    """A list as a tuple, as Facts needs it; any other value unchanged."""
    return tuple(value) if isinstance(value, list) else value


def find_problem(values: Any) -> str | None:
    """What is wrong with facts as a JSON value, None if nothing is."""
    names = {field.name for field in fields(Facts)}
    if not isinstance(values, dict):
        return "are not a mapping"
    if missing := names - values.keys() - {"fit"}:
        return f"lack {min(missing)}"
    if values.keys() - names:
        return f"have an unknown {shorten(min(values.keys() - names), 50)!r}"
    classes, mean, std = values["classes"], values["mean"], values["std"]
    sound = {
        "arch": isinstance(values["arch"], str) and is_known(values["arch"]),
        "base": isinstance(values["base"], str) and values["base"] in BASES,
        "classes": isinstance(classes, list)
        and all(isinstance(name, str) for name in classes)
        and 0 < len(set(classes)) == len(classes),
        **{key: type(values[key]) is int and values[key] > 0 for key in ("height", "width")},
        "mean": is_colour(mean),
        "std": is_colour(std) and min(std) > 0,
        **{key: isinstance(values[key], str) for key in ("pretrained", "data", "params", "device")},
        "fit": values.get("fit", LETTERBOX) in [*FITS],
    }
    wrong = next((name for name, holds in sound.items() if not holds), None)
    return wrong and f"have a wrong {wrong}: {shorten(values[wrong], 50)}"


def is_colour(value: Any) -> bool:
    """Whether a JSON value is three finite numbers."""
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(type(number) in (int, float) and math.isfinite(number) for number in value)
    )


def rebuild(arch: str, num_classes: int, state: Mapping[str, Tensor], source: str) -> Network:
    """The network with these tensors, in evaluation mode; a UserError names `source`, where they are from."""
    try:
        model = build_model(arch, num_classes, "")
    except UserError as error:
        raise UserError(f"{source}: {error} ({REMEDY})") from None
    own = model.state_dict()
    both = own.keys() & state.keys()
    wrong = (own.keys() ^ state.keys()) | {name for name in both if own[name].shape != state[name].shape}
    if wrong:
        raise UserError(
            f"{source}: does not fit {arch} with {num_classes} classes: {len(wrong)} tensors are missing, "
            f"unknown or of another shape, first {shorten(min(wrong), 80)} ({REMEDY})"
        )
    infinite = next((name for name in sorted(own) if not state[name].isfinite().all()), None)
    if infinite:
        raise UserError(f"{source}: {infinite} holds non-finite values ({REMEDY})")
    model.load_state_dict(state)
    return model.eval()
