"""The network as a training finds it."""

from collections.abc import Sequence

from torch import nn

from src.mixing import sizes_at
from src.models import build_model, check_sizes
from src.pretrained import load_pretrained
from src.prior import draw_by_features, prior_bias, set_bias
from src.training import BATCH_NORM, TrainingSettings

LIBRARY = "library"


def initial_model(
    settings: TrainingSettings,
    base: str,
    classes: Sequence[str],
    size: tuple[int, int],
    multi_scale: float,
    key: str,
) -> nn.Module:
    """Images (N, 3, H, W) in [0, 1] -> logits (N, C), filled with what `settings` say.

    `base` is the loss's, softmax or bce; `size` the height and width of the pictures in pixels. The
    classifier's bias starts from the prior, unless pretrained weights bring one that fits.
    """
    model = build_model(settings.arch, len(classes), key)
    check_sizes(model, sizes_at(*size, multi_scale), len(classes), key)
    draw_by_features(model.net)
    set_bias(model.net, prior_bias(settings.prior, base, classes, key))
    if settings.bn_momentum != LIBRARY:
        for module in model.modules():
            if isinstance(module, BATCH_NORM):
                module.momentum = float(settings.bn_momentum)
    load_pretrained(model, settings.arch, settings.pretrained, settings.pretrained_sha256, size, key)
    return model
