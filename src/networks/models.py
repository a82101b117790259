"""Networks by name, from torchvision (`resnet18`) and timm (`timm/resnet10t`), the first layer normalising.

N pictures, C classes, H height, W width in pixels.
"""

from collections import OrderedDict
from collections.abc import Sequence
from types import MethodType
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn

from src.ground.errors import UserError
from src.ground.names import ALIASES

BATCH_NORM = nn.modules.batchnorm._BatchNorm
ONE_OUTPUT = ("googlenet", "inception_v3")  # here without their auxiliary classifiers


class Normalize(nn.Module):
    """Images (N, 3, H, W) in [0, 1] minus the mean, over the standard deviation, both a value per channel."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
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


def build_model(arch: str, num_classes: int, key: str) -> nn.Sequential:
    """Images (N, 3, H, W) in [0, 1] -> logits (N, C): a normalising layer and the network, random weights.

    Mean and std are those of the weights that the library has for the network. A UserError names `key`, the
    section of params.yaml.
    """
    net = build_net(arch, num_classes, key)
    normalize = Normalize(net.pretrained_cfg["mean"], net.pretrained_cfg["std"])
    model = nn.Sequential(OrderedDict(normalize=normalize, net=net))
    return model.to(memory_format=torch.channels_last)


def build_net(arch: str, num_classes: int, key: str) -> nn.Module:
    """The network alone; its `pretrained_cfg` says, as timm's do, how the library's weights see pictures."""
    name, options = ALIASES.get(arch, (arch, {}))
    try:
        if name.startswith("timm/"):
            return timm.create_model(name.removeprefix("timm/"), num_classes=num_classes, **options)
        if name in ONE_OUTPUT:
            options = {"aux_logits": False, "init_weights": True}
        net = torchvision.models.get_model(name, weights=None, num_classes=num_classes, **options)
    except RuntimeError as error:
        text = " ".join(str(error).split())[:200]
        raise UserError(f"params.yaml: {key}.arch: {arch} cannot be built: {text}") from None
    if name.startswith("squeezenet"):
        net.classifier[2] = nn.Identity()  # a ReLU after the classifier: no logit could be below 0
    if name.startswith("mnasnet"):  # its own asks for the version of a layout, which plain tensors lack
        net._load_from_state_dict = MethodType(nn.Module._load_from_state_dict, net)
    net.pretrained_cfg = torchvision_config(name) | {"classifier": classifier_names(net)[-1]}
    return net


def torchvision_config(name: str) -> dict[str, Any]:
    """What timm's `pretrained_cfg` says, of torchvision's default weights."""
    pictures = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    mean, std = pictures.mean, pictures.std
    if name in ONE_OUTPUT:
        mean = std = (0.5, 0.5, 0.5)  # to which torchvision's `transform_input` turns ImageNet's
    size = (3, *pictures.crop_size * 2)
    return {"mean": mean, "std": std, "input_size": size, "interpolation": pictures.interpolation.value}


def classifier_names(net: nn.Module) -> list[str]:
    """The names of the layers that turn features into logits."""
    if isinstance(names := getattr(net, "pretrained_cfg", {}).get("classifier"), str | tuple | list):
        return [names] if isinstance(names, str) else list(names)
    return [name for name, module in net.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1:]


@torch.no_grad()
def check_sizes(model: nn.Module, sizes: Sequence[tuple[int, int]], num_classes: int, key: str) -> None:
    """Refuse a network that cannot take pictures of one of `sizes` (height, width), or has no classifier."""
    for height, width in sizes:
        try:
            logits = model.eval()(torch.zeros(1, 3, height, width))
        except (AssertionError, RuntimeError, ValueError) as error:
            text = " ".join(str(error).split())[:100]
            raise UserError(
                f"params.yaml: {key}.arch: the network cannot take pictures of {height} x {width}: {text} "
                "(another network, other images.height and images.width, or multi_scale 0)"
            ) from None
        shape = tuple(getattr(logits, "shape", ()))
        if shape != (1, num_classes):
            raise UserError(
                f"params.yaml: {key}.arch: the network gives {shape}, not a number for each of {num_classes} "
                "classes (a network that has a classifier)"
            )
