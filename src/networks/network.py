"""A library's network with a normalisation layer, its expected input and the names of its classifiers.

N pictures, C classes, H height, W width in pixels, F features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from src.ground.weights import NO_WEIGHTS

BATCH_NORM = nn.modules.batchnorm._BatchNorm


@dataclass(frozen=True)
class Input:
    """The pictures that the library's weights of a network were trained on, after preprocessing."""

    mean: tuple[float, ...]  # per channel, of values in [0, 1]
    std: tuple[float, ...]
    height: int  # pixels
    width: int  # pixels
    interpolation: str  # method by which they were resized


class Normalize(nn.Module):
    """Images (N, 3, H, W) in [0, 1] minus the mean, divided by the standard deviation, per channel."""

    mean: Tensor  # (3, 1, 1)
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """In one pass over rows of pixels: broadcasting three values per pixel took four times as long."""
        width = images.shape[3]
        scale, shift = (1 / self.std).flatten(), (-self.mean / self.std).flatten()
        rows = images.permute(0, 2, 3, 1).flatten(2)  # (N, H, W x 3), no copy in the channels-last layout
        rows = torch.addcmul(shift.repeat(width), rows, scale.repeat(width))
        return rows.unflatten(2, (-1, 3)).permute(0, 3, 1, 2)


class Network(nn.Module):
    """Images (N, 3, H, W) in [0, 1] -> logits (N, C): a normalisation layer, then the library's network."""

    def __init__(self, net: nn.Module, expected: Input, classifier_names: Sequence[str]):
        super().__init__()
        self.normalize = Normalize(expected.mean, expected.std)
        self.net = net
        self.expected = expected
        self.classifier_names = tuple(classifier_names)  # of the layers in `net` that output the logits
        self.pretrained = NO_WEIGHTS  # or the SHA-256 of the weights that were loaded

    def forward(self, images: Tensor) -> Tensor:
        return self.net(self.normalize(images))

    def classifiers(self) -> list[nn.Module]:
        """The layers that turn features into logits; most networks have one."""
        return [self.net.get_submodule(name) for name in self.classifier_names]

    def is_in_classifier(self, name: str) -> bool:
        """Whether a parameter or buffer of `net` belongs to a classifier."""
        return name.startswith(tuple(f"{layer}." for layer in self.classifier_names))

    @torch.no_grad()
    def feature_map_name(self) -> str | None:
        """The layer of `net` that outputs its last feature map, None for a network that ends in tokens.

        It is found by a forward pass at the size that the library's weights expect: the last output before a
        classifier's with more than one position, if it has height and width.
        """
        found: list[tuple[str, int]] = []  # name, dimensions
        classified = False

        def record(name: str, output: object) -> None:
            nonlocal classified
            classified |= name in self.classifier_names
            if isinstance(output, Tensor) and output.ndim > 2 and not classified:
                if output.ndim == 3 or output.shape[-1] * output.shape[-2] > 1:
                    found.append((name, output.ndim))

        hooks = [
            module.register_forward_hook(lambda _, __, output, name=name: record(name, output))
            for name, module in self.net.named_modules()
            if name
        ]
        training, some = self.training, next(self.parameters())
        try:
            self.eval()(torch.zeros(1, 3, self.expected.height, self.expected.width, device=some.device))
        finally:
            self.train(training)
            for hook in hooks:
                hook.remove()
        return found[-1][0] if found and found[-1][1] == 4 else None
