"""Layers that keep the weights they start from."""

from typing import Any

from timm.models import group_parameters
from timm.optim import auto_group_layers
from torch import nn

from src.ground.errors import UserError
from src.networks.network import Network

NOTHING, BACKBONE = "none", "backbone"


def freeze(network: Network, what: str | int, key: str) -> list[nn.Module]:
    """Stop layers from learning; returns the modules in which nothing learns, to be kept in evaluation mode.

    `what` is none, backbone (all but the classifier) or how many of the network's groups of layers, from the
    pictures on: timm's, blocks as a rule, or 12 tensors where timm knows none. BatchNorm and dropout of a
    frozen layer are frozen with it: else its features would still change. A UserError names `key`, the
    section of params.yaml.
    """
    if what == NOTHING:
        return []
    net = network.net
    frozen = name_backbone(network) if what == BACKBONE else name_first_groups(net, int(what), key)
    for name, parameter in net.named_parameters():
        parameter.requires_grad = name not in frozen
    sizes = [(parameter.numel() / 1e6, parameter.requires_grad) for parameter in net.parameters()]
    still, whole = sum(size for size, learns in sizes if not learns), sum(size for size, _ in sizes)
    print(f"{key}.freeze: {still:.3f} of {whole:.3f} M parameters frozen")
    return [module for module in net.modules() if is_frozen(module)]


def name_backbone(network: Network) -> set[str]:
    """The names of all parameters but the classifier's."""
    return {name for name, _ in network.net.named_parameters() if not network.is_in_classifier(name)}


def name_first_groups(net: Any, count: int, key: str) -> set[str]:
    """The names of the parameters in the first `count` groups of layers."""
    if hasattr(net, "group_matcher"):
        group_of = group_parameters(net, net.group_matcher(coarse=False), reverse=True)
    else:
        group_of = auto_group_layers(net)
    last = max(group_of.values())
    if count > last:
        raise UserError(
            f"params.yaml: {key}.freeze: must be in [1, {last}], got {count}: the network has {last + 1} "
            "groups of layers, and the last one learns"
        )
    return {name for name, group in group_of.items() if group < count}


def is_frozen(module: nn.Module) -> bool:
    """Whether a module has weights and learns none of them."""
    parameters = list(module.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)
