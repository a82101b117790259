"""A network as two parts: the layers that compute features, and the classifier that turns them into logits.

N pictures, C classes, H height, W width in pixels, F features.
"""

from typing import Any

import torch
from torch import Tensor, nn

from src.networks.checks import draw_images
from src.networks.freezing import freeze_parameters, name_backbone
from src.networks.network import Network


class Features(nn.Module):
    """Images (N, 3, H, W) in [0, 1] -> the features (N, F) that enter the layer `entry` of a network."""

    def __init__(self, network: Network, entry: nn.Module):
        super().__init__()
        self.network, self.entry = network, entry

    def forward(self, images: Tensor) -> Tensor:
        found: list[Tensor] = []
        handle = self.entry.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
        try:
            self.network(images)
        finally:
            handle.remove()
        return found[0]


class Call:
    """What a layer got and gave, each time the network called it."""

    def __init__(self, layer: nn.Module):
        self.layer = layer
        self.inputs: list[Tensor] = []
        self.copies: list[Tensor] = []  # of the inputs, which a layer may change in place
        self.outputs: list[Any] = []
        self.handles = (
            layer.register_forward_pre_hook(self.record_input),
            layer.register_forward_hook(lambda _, __, output: self.outputs.append(output)),
        )

    def record_input(self, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.inputs.append(inputs[0])
        self.copies.append(inputs[0].clone())

    def close(self) -> None:
        for handle in self.handles:
            handle.remove()


@torch.no_grad()
def split_off_head(network: Network, size: tuple[int, int]) -> tuple[Features, nn.Module] | None:
    """The two parts of a network whose backbone is frozen; the head shares its parameters with the network.

    The head is the classifier, with the dropout before it if there is one. None if there is no such split:
    several classifiers, one that takes a feature map or is not the last layer, or features that change while
    the backbone is frozen, as by a dropout between two other layers. A forward pass of two random pictures of
    H x W pixels, `size`, tells; it freezes the backbone.
    """
    layers = network.classifiers()
    if len(layers) != 1:
        return None
    classifier = layers[0]
    frozen = freeze_parameters(network.net, name_backbone(network))
    dropouts = [module for module in network.net.modules() if isinstance(module, nn.Dropout)]
    some = next(network.parameters())
    images = draw_images(2, size).to(some.device)
    network.train()
    for module in frozen:
        module.eval()
    calls = [Call(layer) for layer in (classifier, *dropouts)]
    try:
        with torch.random.fork_rng(devices=[some.device] if some.is_cuda else []):
            logits = network(images)
    finally:
        for call in calls:
            call.close()
    own = calls[0]
    if len(own.inputs) != 1 or own.inputs[0].ndim != 2 or own.outputs[0] is not logits:
        return None
    entries = [call for call in calls[1:] if any(output is own.inputs[0] for output in call.outputs)]
    entry = entries[0] if entries else own
    features = Features(network, entry.layer)
    if len(entry.inputs) != 1 or not torch.equal(entry.copies[0], features.eval()(images)):
        return None
    return features, nn.Sequential(*(call.layer for call in (*entries, own)))
