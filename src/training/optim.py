"""Optimizers by name, and parameter groups, each with its learning rate and weight decay."""

from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Annotated, Any

import torch
from torch import nn

from src.ground.kinds import OptimizerName, within
from src.ground.names import OPTIMIZERS
from src.ground.params import Settings
from src.networks.network import Network

TORCH = "torch."  # prefix of a class of torch.optim
EMBEDDINGS = ("*class_token", "*pos_embedding", "*relative_position_bias_table")  # in torchvision


@dataclass(frozen=True, kw_only=True)
class OptimSettings(Settings):
    """The optimizer, its learning rates and its weight decay."""

    optimizer: OptimizerName  # of torch.optim or timm.optim, or ranger, ralamb, rangerlars
    lr: Annotated[float, within("(0, 100]")]  # peak learning rate, multiplied by the schedule's factors
    layer_decay: Annotated[float, within("(0, 1]")]  # factor of lr from one layer to the one below; 1 = off
    head_lr_mult: Annotated[float, within("(0, inf)")]  # factor of lr for the classifier
    weight_decay: Annotated[float, within("[0, 10]")]  # not applied to biases, norms, embeddings


def build_optimizer(network: Network, settings: OptimSettings) -> torch.optim.Optimizer:
    """The optimizer of all trainable parameters.

    Biases, the weights of norms and the embeddings of positions and class tokens are not decayed.
    With a `layer_decay` below 1 the learning rate of a group of layers (timm's) is lr * layer_decay^(groups
    above it), meant for networks that start from pretrained weights: H. Bao, L. Dong, F. Wei, BEiT, 2021,
    arXiv:2106.08254. The classifier's is `head_lr_mult` times that.
    """
    groups = group_parameters(network, settings)
    if settings.head_lr_mult != 1:
        groups = scale_head_rate(groups, network, settings)
    builder, options = OPTIMIZERS.get(settings.optimizer, (settings.optimizer, {}))
    if builder.startswith(TORCH):
        return getattr(torch.optim, builder.removeprefix(TORCH))(groups, lr=settings.lr, **options)
    from timm.optim import create_optimizer_v2  # takes half a second: it loads torch's compiler

    return create_optimizer_v2(groups, opt=builder, lr=settings.lr, weight_decay=0.0, **options)


def group_parameters(network: Network, settings: OptimSettings) -> list[dict[str, Any]]:
    """timm's parameter groups, each with its own weight decay and learning rate."""
    net, decay, exempt = network.net, settings.weight_decay, list_embeddings(network.net)
    if settings.layer_decay == 1:
        return split_decay(net, decay, exempt)
    from timm.optim import param_groups_layer_decay

    groups = param_groups_layer_decay(net, decay, exempt, layer_decay=settings.layer_decay)
    return [
        {
            "params": group["params"],
            "weight_decay": group["weight_decay"],
            "lr": settings.lr * group["lr_scale"],
        }
        for group in groups
    ]


def split_decay(net: nn.Module, decay: float, exempt: Collection[str]) -> list[dict[str, Any]]:
    """What timm's param_groups_weight_decay gives, without the time that timm.optim takes to import.

    Biases, the weights of norms and the names that match one of the patterns `exempt` are not decayed.
    """
    spared: list[nn.Parameter] = []
    decayed: list[nn.Parameter] = []
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            flat = parameter.ndim <= 1 or name.endswith(".bias")
            spares = not decay or flat or any(fnmatch(name, pattern) for pattern in exempt)
            (spared if spares else decayed).append(parameter)
    groups = [{"params": spared, "weight_decay": 0.0}, {"params": decayed, "weight_decay": decay}]
    return [group for group in groups if group["params"]]


def list_embeddings(net: nn.Module) -> Collection[str]:
    """Patterns of the names that weight decay spares beyond biases and norms.

    timm's networks name them; for torchvision's they are those of its references (set_weight_decay).
    """
    return getattr(net, "no_weight_decay", lambda: EMBEDDINGS)()


def scale_head_rate(
    groups: list[dict[str, Any]], network: Network, settings: OptimSettings
) -> list[dict[str, Any]]:
    """Each group split in two, the classifier's part at `head_lr_mult` times the group's learning rate."""
    head = {id(parameter) for layer in network.classifiers() for parameter in layer.parameters()}
    parts = []
    for group in groups:
        for in_head, factor in ((False, 1.0), (True, settings.head_lr_mult)):
            parameters = [p for p in group["params"] if (id(p) in head) == in_head]
            if parameters:
                rate = group.get("lr", settings.lr) * factor
                parts.append({**group, "params": parameters, "lr": rate})
    return parts
