"""Networks by name, from torchvision (`resnet18`) and timm (`timm/resnet10t`), the first layer normalising.

N pictures, C classes, H height, W width in pixels.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

import timm
import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

from src.errors import UserError
from src.params import by_class

NO_WEIGHTS, LIBRARY_WEIGHTS = "none", "default"
ONE_OUTPUT = {
    "googlenet": {"aux_logits": False},
    "inception_v3": {"aux_logits": False},
}  # no auxiliary classifiers


COUNTER = "num_batches_tracked"  # of BatchNorm; older files lack it, and nothing depends on it


class Normalize(nn.Module):
    """Images (N, 3, H, W) in [0, 1] minus the mean, over the standard deviation, both a value per channel."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """In one pass over rows of pixels: three values a pixel at a time took four times as long."""
        width = images.shape[3]
        scale, shift = (1 / self.std).flatten(), (-self.mean / self.std).flatten()
        rows = images.permute(0, 2, 3, 1).flatten(2)  # (N, H, W x 3), no copy where channels lie last
        rows = torch.addcmul(shift.repeat(width), rows, scale.repeat(width))
        return rows.unflatten(2, (-1, 3)).permute(0, 3, 1, 2)


def build_model(
    arch: str, num_classes: int, pretrained: str, key: str, bias: Tensor | None = None
) -> nn.Sequential:
    """Images (N, 3, H, W) in [0, 1] -> logits (N, C): a normalising layer and the network.

    `bias` (C,) is what the classifier starts from, unless a file brings one that fits.

    `pretrained` is none, default (the library's own weights, downloaded) or the path of a safetensors file in
    the library's layout; mean and std are those of the weights. A UserError names `key`, the section of
    params.yaml.
    """
    net = build_net(arch, num_classes, pretrained == LIBRARY_WEIGHTS, key)
    if bias is not None:
        set_bias(net, bias)
    if pretrained not in (NO_WEIGHTS, LIBRARY_WEIGHTS):
        load_pretrained(net, Path(pretrained), key)
    model = nn.Sequential(OrderedDict(normalize=Normalize(*mean_and_std(net)), net=net))
    return model.to(memory_format=torch.channels_last)


def build_net(arch: str, num_classes: int, download: bool, key: str) -> nn.Module:
    """The network alone, with random weights or the library's."""
    try:
        if arch.startswith("timm/"):
            return timm.create_model(arch.removeprefix("timm/"), pretrained=download, num_classes=num_classes)
        options = ONE_OUTPUT.get(arch, {}) | ({"init_weights": True} if arch in ONE_OUTPUT else {})
        net = torchvision.models.get_model(arch, weights=None, num_classes=num_classes, **options)
        if download:
            weights = torchvision.models.get_model_weights(arch).DEFAULT
            load_state(net, weights.get_state_dict(progress=False), str(weights), key)
        if arch.startswith("squeezenet"):
            net.classifier[2] = nn.Identity()  # a ReLU after the classifier: no logit could be below 0
        net.pretrained_cfg = {"classifier": classifier_names(net)[-1]}  # what timm's layer groups go by
        return net
    except (OSError, RuntimeError) as error:
        text = " ".join(str(error).split())[:200]
        if not download:
            raise UserError(f"params.yaml: {key}.arch: {arch} cannot be built: {text}") from None
        raise UserError(
            f"params.yaml: {key}.pretrained: the weights of {arch} cannot be had: {text} (set none or a path)"
        ) from None


def load_pretrained(net: nn.Module, path: Path, key: str) -> None:
    """Fill the network from a safetensors file."""
    if not path.is_file():
        raise UserError(f"params.yaml: {key}.pretrained: {path}: no such file (set none, default or a path)")
    try:
        load_state(net, load_file(path), str(path), key)
    except SafetensorError as error:
        raise UserError(f"params.yaml: {key}.pretrained: {path}: not a safetensors file ({error})") from None


def load_state(net: nn.Module, state: dict[str, Tensor], source: str, key: str) -> None:
    """Fill every weight of the network but those of a classifier for another number of classes; say which."""
    own = {name: tensor for name, tensor in net.state_dict().items() if not name.endswith(COUNTER)}
    state = {name: tensor for name, tensor in state.items() if not name.endswith(COUNTER)}
    head = tuple(f"{name}." for name in classifier_names(net))
    fitting = {
        name: tensor for name, tensor in state.items() if name in own and own[name].shape == tensor.shape
    }
    wrong = sorted(
        name for name in own.keys() | state.keys() if name not in fitting and not name.startswith(head)
    )
    if wrong:
        raise UserError(
            f"params.yaml: {key}.pretrained: {source} does not fit the network: {len(wrong)} tensors are "
            f"missing, unknown or of another shape, first {wrong[0]} (name the file's own architecture)"
        )
    net.load_state_dict(fitting, strict=False)
    new = sorted(own.keys() - fitting.keys())
    print(f"{source}: {len(fitting)} tensors loaded, new: {', '.join(new) or 'none'}")


@torch.no_grad()
def check_sizes(model: nn.Module, sizes: Sequence[tuple[int, int]], key: str) -> None:
    """Refuse a network that cannot take pictures of one of the `sizes`, height and width in pixels."""
    for height, width in sizes:
        try:
            model.eval()(torch.zeros(1, 3, height, width))
        except (AssertionError, RuntimeError, ValueError) as error:
            text = " ".join(str(error).split())[:100]
            raise UserError(
                f"params.yaml: {key}.arch: the network cannot take pictures of {height} x {width}: {text} "
                "(another network, other images.height and images.width, or multi_scale 0)"
            ) from None


def classifier_names(net: nn.Module) -> list[str]:
    """The names of the layers that turn features into logits."""
    if isinstance(names := getattr(net, "default_cfg", {}).get("classifier"), str | tuple | list):
        return [names] if isinstance(names, str) else list(names)
    return [name for name, module in net.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1:]


def prior_bias(
    prior: str | Mapping[str, float], base: str, classes: Sequence[str], key: str
) -> Tensor | None:
    """The bias b (C,) with which an untrained classifier gives each class its probability p of `prior`.

    For bce b = -log((1 - p) / p), for softmax b = log p. uniform gives 1 / C to all: softmax does so anyway
    (None), but bce starts at 1/2, and then learns for a while to say no to everything. Classes that a mapping
    does not name get 1 / C for bce, for softmax alike what is left. none leaves the network's own bias
    (None). J. Chen et al., Is Sampling Heuristics Necessary in Training Deep Object Detectors?, 2019,
    arXiv:1909.04868.
    """
    if prior == "none" or (prior == "uniform" and base == "softmax"):
        return None
    given = by_class({} if prior == "uniform" else prior, classes, f"{key}.prior")
    rest, left = len(classes) - len(given), 1 - sum(given.values())
    if base == "softmax" and (left <= 0 if rest else abs(left) > 1e-6):
        rule = "leave some of 1 for the other classes" if rest else "sum to 1"
        raise UserError(f"params.yaml: {key}.prior: the probabilities must {rule}, got {1 - left:g}")
    other = left / max(rest, 1) if base == "softmax" else 1 / max(len(classes), 2)
    probs = torch.tensor([given.get(c, other) for c in range(len(classes))], dtype=torch.float64)
    return probs.log() if base == "softmax" else probs.logit()


def set_bias(net: nn.Module, bias: Tensor) -> None:
    """Start every classifier of the network, most have one, from `bias` (C,)."""
    for name in classifier_names(net):
        own = getattr(net.get_submodule(name), "bias", None)
        if own is not None:
            own.data.copy_(bias)


def mean_and_std(net: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """What the network's weights were trained with; ImageNet's where the library does not say."""
    config = getattr(net, "pretrained_cfg", {})
    return tuple(config.get("mean", IMAGENET_DEFAULT_MEAN)), tuple(config.get("std", IMAGENET_DEFAULT_STD))
