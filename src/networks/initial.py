"""The network at the start of training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from src.ground.kinds import Architecture, Count, Rule, within
from src.ground.params import Settings
from src.losses.bases import Base
from src.networks.checks import check_round_trip, check_sizes, check_step
from src.networks.libraries import build_model
from src.networks.network import BATCH_NORM, Network
from src.networks.pretrained import load_pretrained
from src.networks.prior import compute_prior_bias, redraw_large_classifiers, set_bias

WEIGHTS = Rule(
    minLength=1,
    rule="must be none, default, a name of make weights, or the path of a safetensors file or a state dict",
)
HASH = Rule(pattern="^(any|[0-9a-f]{64})$(?!\\n)", rule="must be any or 64 lowercase hexadecimal digits")
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
    pretrained: Annotated[str, WEIGHTS]  # none, default (the library's), lite0 to lite2 or the path of a file
    pretrained_sha256: Annotated[str, HASH]  # any, or the SHA-256 that the file or default must have
    freeze: Annotated[Freeze, FREEZE]  # none, backbone (all but the classifier), or a number of layer groups
    probe_first: bool  # train the classifier alone, then everything from there; needs pretrained weights
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
    check_step(check_round_trip(network, settings.arch, size, len(classes), key), size, len(classes), key)
    redraw_large_classifiers(network)
    set_bias(network, compute_prior_bias(settings.prior, base, classes, key))
    if settings.bn_momentum != "library":
        for module in network.modules():
            if isinstance(module, BATCH_NORM):
                module.momentum = float(settings.bn_momentum)
    load_pretrained(network, settings.arch, settings.pretrained, settings.pretrained_sha256, size, key)
    return network
