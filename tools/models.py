"""Count the costs of the networks in models.archs: parameters, multiply-adds, activations, file size.

Networks run on the meta device, without values, so the table is the same on every machine. Multiply-adds are
given for the size in params.yaml and for the size that the library's weights of the network expect.

params  models
writes  metrics/models.csv
run     python -m tools.models
"""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from src.ground.errors import UserError, run, shorten
from src.ground.files import open_atomically
from src.ground.kinds import Architecture, Count, Rule, within
from src.ground.params import Settings, read
from src.networks.libraries import build_model
from src.networks.network import Network

TABLE = Path("metrics/models.csv")
MILLION = 1e6


ARCHS = Rule(minItems=1, uniqueItems=True, rule="must be a list of networks, each once")


@dataclass(frozen=True)
class ModelsSettings(Settings):
    """The table of networks."""

    classes: Annotated[int, within("[2, inf)")]  # that each network distinguishes
    height: Count  # pixels
    width: Count  # pixels
    archs: Annotated[tuple[Architecture, ...], ARCHS]  # the rows


def main() -> None:
    settings = read(ModelsSettings, "models")
    rows = []
    for arch in settings.archs:
        costs = count_costs(arch, settings.classes, settings.height, settings.width)
        expected = build_without_values(arch, settings.classes).expected
        height, width = expected.height, expected.width
        own = {
            "own_size": f"{height}x{width}",
            "own_rule_macs_m": count_costs(arch, settings.classes, height, width)["rule_macs_m"],
        }
        rows.append({"model": arch} | costs | own)
    table = pd.DataFrame(rows)
    with open_atomically(TABLE) as file:
        table.to_csv(file, index=False, float_format="%.4f", lineterminator="\n")
    print(table.to_string(index=False, float_format="%.2f"))
    print(f"{TABLE}: {settings.classes} classes, {settings.height} x {settings.width} pixels, one picture")


def count_costs(
    arch: str, classes: int, height: int, width: int, key: str = "params.yaml: models.archs"
) -> dict[str, float]:
    """The costs of a network in millions, and its file size in MB of 1e6 bytes.

    `rule_macs_m` are the multiply-adds of `count_by_rule`; `macs_m` those of convolutions and matrix products
    only, attention's included; `activations_m` the outputs of Conv2d and Linear (I. Radosavovic et al.,
    Designing Network Design Spaces, 2020, arXiv:2003.13678); `file_mb` the weights as safetensors. Raises
    UserError that names `key` if the network cannot take the size.
    """
    net = build_without_values(arch, classes).net
    rule = activations = 0

    def count_module(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal rule, activations
        rule += count_by_rule(module, inputs, output)
        activations += output.numel() if isinstance(module, nn.Conv2d | nn.Linear) else 0

    for module in net.modules():
        module.register_forward_hook(count_module)
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        try:
            net.eval()(torch.zeros(1, 3, height, width, device="meta"))
        except (AssertionError, RuntimeError, ValueError) as error:
            text = shorten(error, 100)
            raise UserError(
                f"{key}: {arch} cannot take pictures of {height} x {width}: {text} (another size, or network)"
            ) from None
    state = {name: torch.empty(t.shape, dtype=t.dtype) for name, t in net.state_dict().items()}
    return {
        "params_m": sum(parameter.numel() for parameter in net.parameters()) / MILLION,
        "rule_macs_m": rule / MILLION,
        "macs_m": flops.get_total_flops() / 2 / MILLION,
        "activations_m": activations / MILLION,
        "file_mb": len(save(state)) / MILLION,
    }


def build_without_values(arch: str, classes: int) -> Network:
    """The network without values, on the meta device: even the largest one takes no memory."""
    try:
        with torch.device("meta"):
            return build_model(arch, classes, "models")
    except UserError:  # RegNet reads values of tensors while it is built
        return build_model(arch, classes, "models").to("meta")


def count_by_rule(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> int:
    """The multiply-adds of one module by the rule of older tables.

    Conv2d counts the weights of one filter, plus 1 for a bias, per output; Linear its weights and biases;
    BatchNorm2d and ReLU their inputs; MaxPool2d and AvgPool2d the kernel's area per output. Other
    activations, adaptive pooling and products outside of modules count as 0.
    """
    if isinstance(module, nn.Conv2d):
        return output.numel() * (module.weight[0].numel() + (module.bias is not None))
    if isinstance(module, nn.Linear):
        return sum(parameter.numel() for parameter in module.parameters())
    if isinstance(module, nn.BatchNorm2d | nn.ReLU):
        return inputs[0].numel()
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        size = module.kernel_size
        return output.numel() * (prod(size) if isinstance(size, tuple) else size**2)
    return 0


if __name__ == "__main__":
    run(main)
