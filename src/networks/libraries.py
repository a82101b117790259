"""Networks by name, from torchvision (`resnet18`) and timm (`timm/resnet10t`)."""

from collections.abc import Sequence
from functools import partial
from types import MethodType
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn

from src.ground.errors import UserError, shorten
from src.ground.names import ALIASES
from src.networks.network import Input, Network

FEW = 16  # channels; with so many of them oneDNN's gradient is right (8 with AVX2, 16 with AVX512)
STAGES = "stages"  # of an alias: how many of the network are built, not an argument of its builder
NOT_PADDED = ((0, 0), "valid")
ONE_OUTPUT = ("googlenet", "inception_v3")  # built without their auxiliary classifiers


def build_model(arch: str, num_classes: int, key: str) -> Network:
    """The network with random weights; its mean and std are those of the library's pretrained weights.

    A UserError names `key`, the section of params.yaml.
    """
    name, options = ALIASES.get(arch, (arch, {}))
    net: Any  # no declared type has the attributes used below
    try:
        if name.startswith("timm/"):
            own = {key: value for key, value in options.items() if key != STAGES}
            net = timm.create_model(name.removeprefix("timm/"), num_classes=num_classes, **own)
            if STAGES in options:
                shorten_network(net, options[STAGES])
            network = Network(net, read_timm_input(net), find_timm_classifiers(net))
        else:
            if name in ONE_OUTPUT:
                options = {"aux_logits": False, "init_weights": True}
            net = torchvision.models.get_model(name, weights=None, num_classes=num_classes, **options)
            network = Network(net, read_torchvision_input(name), find_last_layer(net))
            net.pretrained_cfg = {"classifier": network.classifier_names[-1]}  # timm needs it to group layers
    except (RuntimeError, ValueError) as error:
        text = shorten(error, 200)
        raise UserError(f"params.yaml: {key}.arch: {arch} cannot be built: {text}") from None
    if name.startswith("squeezenet"):
        net.classifier[2] = nn.Identity()  # was a ReLU after the classifier: no logit could be negative
    if name.startswith("mnasnet"):  # its own method needs a version number, which plain tensors lack
        net._load_from_state_dict = MethodType(nn.Module._load_from_state_dict, net)
    for module in network.modules():
        module._apply(to_channels_last, recurse=False)
        if isinstance(module, nn.Conv2d) and module.in_channels < FEW:
            if module.kernel_size == (1, 1) and module.padding in NOT_PADDED and module.stride != (1, 1):
                skip_pixels_first(module)
    return network


def shorten_network(net: Any, stages: int) -> None:
    """Keep the first stages of one of timm's EfficientNets, directly followed by pooling and a classifier.

    The last stages of a small network hold most of its parameters; what the first have learnt is of use
    without them: J. Yosinski et al., How transferable are features in deep neural networks?, 2014,
    arXiv:1411.1792.
    """
    width = find_width(net.blocks[stages - 1])
    net.absent = tuple(f"blocks.{number}." for number in range(stages, len(net.blocks)))
    net.absent += ("conv_head.", "bn2.")
    net.blocks, net.conv_head, net.bn2 = net.blocks[:stages], nn.Identity(), nn.Identity()
    net.num_features = net.head_hidden_size = width
    net.classifier = nn.Linear(width, net.num_classes)


def find_width(stage: nn.Module) -> int:
    """The channels that a stage outputs."""
    return [module for module in stage.modules() if isinstance(module, nn.Conv2d)][-1].out_channels


def skip_pixels_first(convolution: nn.Conv2d) -> None:
    """Make a 1 x 1 convolution skip the pixels of its stride before it multiplies: the same output.

    Otherwise its gradient writes beyond its memory, for few channels in the channels-last layout on a CPU:
    mobileone, repvgg and fastvit end in a crash (oneDNN#6035). Convolutions with padding, groups or a larger
    kernel are right.
    """
    convolution.register_forward_pre_hook(partial(skip_pixels, convolution.stride))
    convolution.stride = (1, 1)


def skip_pixels(stride: Sequence[int], _: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    return (inputs[0][..., :: stride[0], :: stride[1]],)


def to_channels_last(tensor: Tensor) -> Tensor:
    """The weights of a convolution of pictures in the layout in which it is fastest; others unchanged."""
    return tensor.to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def read_timm_input(net: Any) -> Input:
    """The input that timm's weights of a network expect, according to its config."""
    config = net.pretrained_cfg
    _, height, width = config["input_size"]
    return Input(config["mean"], config["std"], height, width, config["interpolation"])


def read_torchvision_input(name: str) -> Input:
    """The input that torchvision's default weights of a network expect."""
    preset = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    mean, std = tuple(preset.mean), tuple(preset.std)
    if name in ONE_OUTPUT:
        mean = std = (0.5, 0.5, 0.5)  # torchvision's `transform_input` converts ImageNet's values to these
    height, width = (*preset.crop_size * 2,)[:2]
    return Input(mean, std, height, width, preset.interpolation.value)


def find_timm_classifiers(net: Any) -> Sequence[str]:
    """The classifiers' names in timm's config, or the last layer's if it has none."""
    names = net.pretrained_cfg.get("classifier")
    if isinstance(names, str):
        return [names]
    return list(names) if isinstance(names, tuple | list) else find_last_layer(net)


def find_last_layer(net: nn.Module) -> list[str]:
    """The name of the last linear layer or convolution; empty if there is none."""
    return [name for name, module in net.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1:]
