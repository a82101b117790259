"""The number format of a training's forward pass, on a GPU or on a CPU that computes with it."""

import torch
from torch import nn

from src.machine.runtime import has_bfloat16


def choose_precision(wanted: str, network: nn.Module, device: torch.device, key: str) -> torch.dtype:
    """The format that `wanted` names, or float32, with a warning, where a CPU would not gain by it.

    The same params.yaml with `device: auto` may belong to a machine with a GPU and to one without.
    """
    if device.type != "cpu" or wanted == "float32":
        return getattr(torch, wanted)
    if reason := explain_float32(wanted, network):
        print(f"warning: params.yaml: {key}.precision: {wanted}, but float32 is used: {reason}")
        return torch.float32
    return torch.bfloat16


def explain_float32(wanted: str, network: nn.Module) -> str:
    """Why a CPU trains this network in float32 though `wanted` is another format; empty if it need not."""
    if wanted != "bfloat16":
        return "it is for GPUs only (set bfloat16 or float32 here)"
    if not has_bfloat16():
        return "bfloat16 takes a CPU with AVX512-BF16 or AMX, and cpu_isa: auto"
    if any(is_depthwise(module) for module in network.modules()):
        return "the network has depthwise convolutions, which are slower in bfloat16 on a CPU"
    return ""


def is_depthwise(module: nn.Module) -> bool:
    """Whether a convolution has a filter per channel."""
    return isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1
