"""Freezing: layers that keep their initial weights."""

from typing import Any, Final

from timm.models import group_parameters
from torch import nn

from src.ground.errors import UserError
from src.networks.network import Network

NOTHING: Final = "none"
BACKBONE: Final = "backbone"


def freeze(network: Network, what: str | int, key: str) -> list[nn.Module]:
    """Freeze layers; returns the modules without trainable parameters, to be kept in evaluation mode.

    `what` is none, backbone (all but the classifier) or a number of groups of layers, counted from the input.
    The groups are timm's, usually blocks, or 12 tensors each where timm defines none. BatchNorm and dropout
    of a frozen layer are frozen too; otherwise its features would still change. A UserError names `key`, the
    section of params.yaml.
    """
    if what == NOTHING:
        return []
    net = network.net
    frozen = name_backbone(network) if what == BACKBONE else name_first_groups(net, int(what), key)
    modules = freeze_parameters(net, frozen)
    fixed = sum(parameter.numel() for parameter in net.parameters() if not parameter.requires_grad)
    total = sum(parameter.numel() for parameter in net.parameters())
    print(f"{key}.freeze: {fixed / 1e6:.3f} of {total / 1e6:.3f} M parameters frozen")
    return modules


def freeze_parameters(net: nn.Module, frozen: set[str]) -> list[nn.Module]:
    """Freeze the parameters of these names and no others; returns the modules in which nothing is trained."""
    for name, parameter in net.named_parameters():
        parameter.requires_grad = name not in frozen
    return [module for module in net.modules() if is_frozen(module)]


def name_backbone(network: Network) -> set[str]:
    """The names of all parameters but the classifier's."""
    return {name for name, _ in network.net.named_parameters() if not network.is_in_classifier(name)}


def name_first_groups(net: Any, count: int, key: str) -> set[str]:
    """The names of the parameters in the first `count` groups of layers."""
    if hasattr(net, "group_matcher"):
        group_of = group_parameters(net, net.group_matcher(coarse=False), reverse=True)
    else:
        from timm.optim import auto_group_layers

        group_of = auto_group_layers(net)
    last = max(group_of.values())
    if count > last:
        raise UserError(
            f"params.yaml: {key}.freeze: must be in [1, {last}], got {count}: the network has {last + 1} "
            "groups of layers (the last is always trained)"
        )
    return {name for name, group in group_of.items() if group < count}


def is_frozen(module: nn.Module) -> bool:
    """Whether a module has parameters and all of them are frozen."""
    parameters = list(module.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)
