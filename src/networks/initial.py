"""The network as a training finds it."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from src.ground.params import require
from src.networks.models import BATCH_NORM, build_model, check_sizes
from src.networks.pretrained import ANY_FILE, LIBRARY_WEIGHTS, NO_WEIGHTS, load_pretrained
from src.networks.prior import draw_by_features, prior_bias, set_bias

LIBRARY = "library"


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """Which network, and what it starts from."""

    arch: str  # torchvision's name, or timm/NAME
    pretrained: str  # none, default (the library's weights) or the path of a file
    pretrained_sha256: str  # any, or what the file must have
    bn_momentum: str | float  # of a batch in BatchNorm's running averages, or library: the network's own
    prior: str | dict[str, float]  # of an untrained network: none, uniform, or class -> probability

    def __post_init__(self) -> None:
        require(
            self.pretrained_sha256 == ANY_FILE or self.pretrained not in (NO_WEIGHTS, LIBRARY_WEIGHTS),
            "pretrained_sha256 must be any where pretrained is no file",
            f"pretrained {self.pretrained}",
        )


def initial_model(
    settings: NetworkSettings,
    base: str,
    classes: Sequence[str],
    size: tuple[int, int],
    sizes: Sequence[tuple[int, int]],
    key: str,
) -> nn.Module:
    """Images (N, 3, H, W) in [0, 1] -> logits (N, C), filled with what `settings` say.

    `base` is the loss's, softmax or bce; `size` the height and width of the pictures in pixels, `sizes` all
    that a batch may come in. The classifier's bias starts from the prior, unless pretrained weights bring one
    that fits.
    """
    model = build_model(settings.arch, len(classes), key)
    check_sizes(model, sizes, len(classes), key)
    draw_by_features(model.net)
    set_bias(model.net, prior_bias(settings.prior, base, classes, key))
    if settings.bn_momentum != LIBRARY:
        for module in model.modules():
            if isinstance(module, BATCH_NORM):
                module.momentum = float(settings.bn_momentum)
    load_pretrained(model, settings.arch, settings.pretrained, settings.pretrained_sha256, size, key)
    return model
