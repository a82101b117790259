"""Weights as safetensors with their facts in the header; no pickle is ever loaded.

The facts are one JSON text under one key: several keys would be written in random order, changing the bytes.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from src.ground.errors import UserError
from src.ground.files import open_atomically
from src.networks.libraries import build_model
from src.networks.network import Network

FACTS = "dojo"


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
    pretrained: str  # none, default or the SHA-256 of the file that training started from
    data: str  # SHA-256 of the manifests of the training and validation pictures
    params: str  # SHA-256 of the settings


def save_weights(path: Path, model: nn.Module, facts: Facts) -> None:
    """Write the weights and facts atomically."""
    state = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
    with open_atomically(path, "wb") as file:
        file.write(save(state, {FACTS: json.dumps(asdict(facts), sort_keys=True)}))


def load_model(path: Path) -> tuple[Network, Facts]:
    """The network stored in a weights file, in evaluation mode, and the file's facts."""
    if not path.is_file():
        raise UserError(f"{path}: no such file (give the path of a .safetensors file that a stage wrote)")
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
    facts = Facts(**{name: as_tuple(value) for name, value in json.loads(header).items()})
    model = build_model(facts.arch, len(facts.classes), "")
    model.load_state_dict(state)
    return model.eval(), facts


def as_tuple(value: Any) -> Any:
    """A list as a tuple, as Facts needs it; any other value unchanged."""
    return tuple(value) if isinstance(value, list) else value
