"""The network at the start of training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch

from src.ground.errors import UserError, shorten
from src.ground.kinds import Architecture, Count, Rule, within
from src.ground.params import Settings
from src.losses.bases import Base
from src.networks.libraries import build_model
from src.networks.network import BATCH_NORM, Network
from src.networks.pretrained import load_pretrained
from src.networks.prior import compute_prior_bias, redraw_large_classifiers, set_bias


@torch.no_grad()
def check_sizes(network: Network, sizes: Sequence[tuple[int, int]], num_classes: int, key: str) -> None:
    """Refuse a network that fails at one of `sizes` (height, width), or has no classifier."""
    for height, width in sizes:
        try:
            logits = network.eval()(torch.zeros(1, 3, height, width))
        except (AssertionError, RuntimeError, ValueError) as error:
            text = shorten(error, 100)
            raise UserError(
                f"params.yaml: {key}.arch: the network cannot take pictures of {height} x {width}: {text} "
                "(use another network, change images.height and images.width, or set multi_scale to 0)"
            ) from None
        shape = tuple(getattr(logits, "shape", ()))
        if shape != (1, num_classes):
            raise UserError(
                f"params.yaml: {key}.arch: the network's output has shape {shape}, not (1, {num_classes}) "
                "(use a network with a classifier)"
            )


WEIGHTS = Rule(
    minLength=1,
    rule="must be none, default or the path of a safetensors file or a saved state dict",
)
HASH = Rule(pattern="^(any|[0-9a-f]{64})$", rule="must be any or 64 lowercase hexadecimal digits")
FREEZE = Rule(rule="must be none, backbone or a number of groups of layers")
MOMENTUM = Rule(rule="must be library or a number in (0, 1]")
PRIOR = Rule(rule="must be none, uniform, or a probability in (0, 1) by class")
Freeze = Literal["none", "backbone"] | Count
Momentum = Literal["library"] | Annotated[float, within("(0, 1]")]
Prior = Literal["none", "uniform"] | dict[str, Annotated[float, within("(0, 1)")]]


@dataclass(frozen=True, kw_only=True)
class NetworkSettings(Settings):
    """The network, its initial weights, and which layers are frozen."""

    arch: Architecture  # a torchvision name, timm/NAME, or an alias
    pretrained: Annotated[str, WEIGHTS]  # none, default (the library's weights) or the path of a file
    pretrained_sha256: Annotated[str, HASH]  # any, or the SHA-256 that the file must have
    freeze: Annotated[Freeze, FREEZE]  # none, backbone (all but the classifier), or a number of layer groups
    bn_momentum: Annotated[Momentum, MOMENTUM]  # weight of a batch in BatchNorm's running averages
    prior: Annotated[Prior, PRIOR]  # class probabilities that the untrained network predicts


def build_initial(
    settings: NetworkSettings,
    base: Base,
    classes: Sequence[str],
    size: tuple[int, int],
    sizes: Sequence[tuple[int, int]],
    key: str,
) -> Network:
    """The network, images (N, 3, H, W) in [0, 1] -> logits (N, C), initialised as `settings` say.

    `base` is the loss's base, `size` the height and width of the pictures in pixels, `sizes` are all that a
    batch may have. The classifier's bias is set from the prior, unless the pretrained weights contain one
    that fits.
    """
    network = build_model(settings.arch, len(classes), key)
    check_sizes(network, sizes, len(classes), key)
    redraw_large_classifiers(network)
    set_bias(network, compute_prior_bias(settings.prior, base, classes, key))
    if settings.bn_momentum != "library":
        for module in network.modules():
            if isinstance(module, BATCH_NORM):
                module.momentum = float(settings.bn_momentum)
    load_pretrained(network, settings.arch, settings.pretrained, settings.pretrained_sha256, size, key)
    return network
