"""Heat maps: the parts of a picture that speak for a class, by the network's last feature map.

N pictures, K channels, h and w the map's height and width in cells. A map is relative: it says where, not how
much, so each is drawn from 0 to its own maximum.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from src.ground.errors import UserError
from src.networks.last_map import Cut, LastMap
from src.networks.network import Network

TOLERANCE = 1e-3  # of the logits' largest absolute value: float32 sums in another order


def find_cam(cut: Cut, seen: LastMap, classes: Tensor) -> Tensor:
    """The class activation map (N, h, w): the map's channels, weighed by the classifier's row of the class.

    B. Zhou et al., Learning Deep Features for Discriminative Localization, 2016, arXiv:1512.04150. It is
    defined for networks whose logits are one linear layer of the map's mean; a UserError for all others.
    """
    weight = find_classifier_weight(cut.network, seen)
    if weight is None:
        raise UserError(
            "cam: needs a network whose last map is averaged and enters one linear layer (take grad-cam)"
        )
    return torch.einsum("nk,nkhw->nhw", weight[classes], seen.map)


def find_classifier_weight(network: Network, seen: LastMap) -> Tensor | None:
    """The weights (C, K) of the classifier, if it makes the logits of the map's mean; None if it does not."""
    layers = network.classifiers()
    if len(layers) != 1 or not isinstance(layers[0], nn.Linear | nn.Conv2d):
        return None
    weight, bias = layers[0].weight.flatten(1), layers[0].bias
    if weight.shape[1] != seen.map.shape[1]:
        return None
    logits = seen.map.mean(dim=(2, 3)) @ weight.T + (0 if bias is None else bias)
    limit = TOLERANCE * seen.logits.abs().max()
    same = logits.shape == seen.logits.shape and (logits - seen.logits).abs().max() <= limit
    return weight if same else None


def find_grad_cam(cut: Cut, seen: LastMap, classes: Tensor) -> Tensor:
    """Grad-CAM (N, h, w): channels weighed by the mean gradient of the class's logit, and a ReLU.

    R. Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization,
    2017, arXiv:1610.02391. For a network that `find_cam` takes it is the ReLU of that map, divided by the
    number of cells.
    """
    weights = seen.gradient(classes).mean(dim=(2, 3))
    return torch.einsum("nk,nkhw->nhw", weights, seen.map).relu()


def find_grad_cam_plus_plus(cut: Cut, seen: LastMap, classes: Tensor) -> Tensor:
    """Grad-CAM++ (N, h, w): the gradients of the class's logit, weighed cell by cell, weigh the channels.

    A. Chattopadhyay et al., Grad-CAM++: Improved Visual Explanations for Deep Convolutional Networks, 2018,
    arXiv:1710.11063, for the score exp(logit). With g, the gradient at a cell, and S, the sum of the map over
    all cells: alpha = g^2 / (2 g^2 + S g^3) = 1 / (2 + S g), and 0 where g is 0. The factor exp(logit), which
    a picture's whole map has in common, is left out.
    """
    gradient = seen.gradient(classes)
    bottom = 2 + seen.map.sum(dim=(2, 3), keepdim=True) * gradient
    alpha = torch.where((gradient != 0) & (bottom != 0), 1 / bottom, 0)
    weights = (alpha * gradient.relu()).sum(dim=(2, 3))
    return torch.einsum("nk,nkhw->nhw", weights, seen.map).relu()


METHODS: dict[str, Callable[[Cut, LastMap, Tensor], Tensor]] = {
    "cam": find_cam,
    "grad-cam": find_grad_cam,
    "grad-cam++": find_grad_cam_plus_plus,
}
