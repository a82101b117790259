"""Networks by name, from torchvision (`resnet18`) and timm (`timm/resnet10t`), the first layer normalising.

N pictures, C classes, H height, W width in pixels.
"""

import math
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
        return (images - self.mean) / self.std


def build_model(arch: str, num_classes: int, pretrained: str, key: str) -> nn.Sequential:
    """Images (N, 3, H, W) in [0, 1] -> logits (N, C): a normalising layer and the network.

    `pretrained` is none, default (the library's own weights, downloaded) or the path of a safetensors file in
    the library's layout; mean and std are those of the weights. A UserError names `key`, the section of
    params.yaml.
    """
    net = build_net(arch, num_classes, pretrained == LIBRARY_WEIGHTS, key)
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
        net.pretrained_cfg = {"classifier": classifier_names(net)[-1]}  # what timm's layer groups go by
        return net
    except (OSError, RuntimeError) as error:
        if not download:
            raise
        text = " ".join(str(error).split())[:200]
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


def classifier_names(net: nn.Module) -> list[str]:
    """The names of the layers that turn features into logits."""
    if isinstance(names := getattr(net, "default_cfg", {}).get("classifier"), str | tuple | list):
        return [names] if isinstance(names, str) else list(names)
    return [name for name, module in net.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1:]


def set_prior(
    model: nn.Sequential, prior: str | Mapping[str, float], base: str, classes: Sequence[str], key: str
) -> None:
    """Start the classifier's bias b so that an untrained network gives a class its probability p of `prior`.

    For bce b = -log((1 - p) / p), the other classes keep theirs; for softmax b = log p, and the other classes
    share what is left alike. uniform gives 1 / C to all: softmax does so anyway, but bce starts at 1/2, and
    then learns for a while to say no to everything. none leaves the bias as it is. J. Chen et al., Is
    Sampling Heuristics Necessary in Training Deep Object Detectors?, 2019, arXiv:1909.04868.
    """
    if prior == "none" or (prior == "uniform" and base == "softmax"):
        return
    uniform = dict.fromkeys(classes, 1 / max(len(classes), 2))
    probs = by_class(uniform if prior == "uniform" else prior, classes, f"{key}.prior")
    rest = len(classes) - len(probs)
    left = 1 - sum(probs.values())
    if base == "softmax" and (left <= 0 if rest else abs(left) > 1e-6):
        rule = "leave some of 1 for the other classes" if rest else "sum to 1"
        raise UserError(f"params.yaml: {key}.prior: the probabilities must {rule}, got {1 - left:g}")
    bias = getattr(model.net.get_submodule(classifier_names(model.net)[-1]), "bias", None)
    if bias is None:
        raise UserError(f"params.yaml: {key}.prior: the network's classifier has no bias (set none)")
    with torch.no_grad():
        if base == "softmax" and rest:
            bias.fill_(math.log(left / rest))
        for number, p in probs.items():
            bias[number] = math.log(p) if base == "softmax" else -math.log((1 - p) / p)


def mean_and_std(net: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """What the network's weights were trained with; ImageNet's where the library does not say."""
    config = getattr(net, "pretrained_cfg", {})
    return tuple(config.get("mean", IMAGENET_DEFAULT_MEAN)), tuple(config.get("std", IMAGENET_DEFAULT_STD))
