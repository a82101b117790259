"""A network cut at its last feature map: the map, and the logits that the rest makes of it.

N pictures, C classes, K channels, h height and w width of the map in cells, H and W of the input in pixels.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from src.ground.errors import UserError
from src.networks.checks import draw_images
from src.networks.network import Network

FEWEST = 4  # cells on a side: of a map of 2 x 2 or a single cell nobody sees where

Run = Callable[[Tensor], tuple[Tensor, Tensor]]  # images (N, 3, H, W) -> what is at the cut, logits (N, C)
ToMap = Callable[[Tensor], Tensor]  # from the layout of what is at the cut to (N, K, h, w)


@dataclass(frozen=True)
class LastMap:
    """The last feature map of a batch of pictures, and the logits that depend on it."""

    map: Tensor  # (N, K, h, w)
    logits: Tensor  # (N, C)
    source: Tensor  # what the network computed: the map in its own layout, perhaps with class tokens
    to_map: ToMap

    def gradient(self, classes: Tensor) -> Tensor:
        """The gradient (N, K, h, w) of the logit of each picture's class (N,) with respect to the map."""
        chosen = self.logits.gather(1, classes[:, None]).sum()
        (gradient,) = torch.autograd.grad(chosen, self.source, retain_graph=True)
        return self.to_map(gradient)


@dataclass(frozen=True)
class Cut:
    """Where a network is cut; called with images (N, 3, H, W) in [0, 1], it gives their last map."""

    network: Network
    place: str  # a layer of the network, or forward_features
    run: Run
    to_map: ToMap

    def __call__(self, images: Tensor) -> LastMap:
        with frozen(self.network):
            source, logits = self.run(images)
        return LastMap(self.to_map(source.detach()), logits, source, self.to_map)


def find_cut(network: Network, size: tuple[int, int], name: str) -> Cut:
    """Where to cut a network for pictures of H x W pixels; a UserError if the network, `name`, has no map.

    timm's networks are cut between forward_features and forward_head; before the last block if, as in a
    vision transformer that classifies by its class token, no other token matters after it. torchvision's, and
    those whose last map has fewer than FEWEST cells on a side, are cut after the last layer with a map of as
    many through which all that the picture says passes.
    """
    images = draw_images(1, size).to(next(network.parameters()).device)
    with frozen(network):
        for place, run in list_cuts(network, images):
            images.requires_grad_(True)
            source, logits = run(images)
            to_map = find_layout(network.net, source, size)
            if to_map is None or not logits.requires_grad:
                continue
            beside, through = torch.autograd.grad(logits.sum(), (images, source), allow_unused=True)
            if beside is None and through is not None and to_map(through).any():
                return Cut(network, place, run, to_map)
    raise UserError(
        f"{name}: has no last map of features with height and width of at least {FEWEST} cells at "
        f"{size[0]} x {size[1]} pixels (heat maps need one; take larger pictures or another network)"
    )


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """In evaluation mode, and no parameter asks for gradients: only what follows the cut is recorded."""
    asking = [parameter for parameter in network.parameters() if parameter.requires_grad]
    training = network.training
    for parameter in asking:
        parameter.requires_grad_(False)
    try:
        with torch.enable_grad():
            network.eval()
            yield
    finally:
        network.train(training)
        for parameter in asking:
            parameter.requires_grad_(True)


def list_cuts(network: Network, images: Tensor) -> Iterator[tuple[str, Run]]:
    """The places where a network may be cut and how, the last one first."""
    net: Any = network.net
    if hasattr(net, "forward_features") and hasattr(net, "forward_head"):
        yield "forward_features", partial(cut_at_head, network)
        blocks = getattr(net, "blocks", None)
        if isinstance(blocks, nn.Sequential | nn.ModuleList) and len(blocks):
            yield f"blocks.{len(blocks) - 1}", partial(cut_before, network, blocks[-1])
    for name in reversed(list_layers(network, images)):
        yield name, partial(cut_after, network, net.get_submodule(name))


def list_layers(network: Network, images: Tensor) -> list[str]:
    """The layers before the classifier that output four dimensions, in the order in which they end."""
    found: list[str] = []
    classified = False

    def record(name: str, output: object) -> None:
        nonlocal classified
        classified |= name in network.classifier_names
        if isinstance(output, Tensor) and output.ndim == 4 and not classified:
            found.append(name)

    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: record(name, output))
        for name, module in network.net.named_modules()
        if name
    ]
    try:
        network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return [name for number, name in enumerate(found) if name not in found[number + 1 :]]


def cut_at_head(network: Network, images: Tensor) -> tuple[Tensor, Tensor]:
    net: Any = network.net
    features = net.forward_features(network.normalize(images))
    if not isinstance(features, Tensor):
        return images, images
    source = features.detach().requires_grad_()
    return source, net.forward_head(source.clone())


def cut_before(network: Network, layer: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    found = [images]

    def replace(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        if not isinstance(inputs[0], Tensor):
            return inputs
        found.append(inputs[0].detach().requires_grad_())
        return (found[-1].clone(), *inputs[1:])

    handle = layer.register_forward_pre_hook(replace)
    try:
        logits = network(images)
    finally:
        handle.remove()
    return found[-1], logits


def cut_after(network: Network, layer: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    found: list[Tensor] = []

    def replace(_: nn.Module, __: object, output: Tensor) -> Tensor:
        found.append(output.detach().requires_grad_())
        return found[-1].clone()  # which the next layer may change in place

    handle = layer.register_forward_hook(replace)
    try:
        logits = network(images)
    finally:
        handle.remove()
    return found[-1], logits


def find_layout(net: Any, source: Tensor, size: tuple[int, int]) -> ToMap | None:
    """How to read a source as a map (N, K, h, w); None if it has not FEWEST cells in height and width.

    Height and width are the two sides that are to each other as the picture's, H and W.
    """
    if source.ndim == 4:
        if is_grid(source.shape[2:], size):
            return lambda one: one
        return (lambda one: one.permute(0, 3, 1, 2)) if is_grid(source.shape[1:3], size) else None
    if source.ndim != 3:
        return None
    for prefix in dict.fromkeys((getattr(net, "num_prefix_tokens", 0), 0)):
        cells = max(0, source.shape[1] - prefix)
        rows = round((cells * size[0] / size[1]) ** 0.5)
        if rows and cells % rows == 0 and is_grid((rows, cells // rows), size):
            return lambda one: one[:, prefix:].transpose(1, 2).unflatten(2, (rows, cells // rows))
    return None


def is_grid(sides: Sequence[int], size: tuple[int, int]) -> bool:
    """Whether rows and columns can be those of a picture's cells: enough, and square to within one cell."""
    rows, columns = sides
    height, width = size
    return min(sides) >= FEWEST and abs(rows * width / height - columns) <= 1
