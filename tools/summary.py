"""Print the layers of a network: shapes, parameters and multiply-adds for one picture.

run     python -m tools.summary [ARCH] [SIZE] [--classes N] [--depth D]
"""

import re

from torchinfo import summary

from src.ground.errors import Parser, UserError, run
from src.ground.names import is_known, list_architectures
from src.ground.params import read
from src.ground.validating import suggest
from src.networks.libraries import build_model
from tools.models import count_costs

COLUMNS = ("input_size", "output_size", "num_params", "mult_adds")


def main() -> None:
    parser = Parser(prog="python -m tools.summary")
    parser.add_argument("arch", nargs="?", help="a network, by default student.arch")
    parser.add_argument("size", nargs="?", help="pixels, 224 or 224x320 (height first), by default as images")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--depth", type=int, default=3, help="levels of nested layers to show")
    arguments = parser.parse_args()
    arch = arguments.arch or read(str, "student.arch")
    if not is_known(arch):
        raise UserError(f"ARCH: unknown network {arch!r}{suggest(arch, list_architectures())}")
    height, width = parse_size(arguments.size)
    costs = count_costs(arch, arguments.classes, height, width, "ARCH, SIZE")
    network = build_model(arch, arguments.classes, "ARCH")
    print(
        summary(
            network,
            input_size=(1, 3, height, width),
            col_names=COLUMNS,
            depth=arguments.depth,
            row_settings=("var_names",),
            verbose=0,
        )
    )
    print(
        f"{arch}, {arguments.classes} classes, {height} x {width}: {costs['params_m']:.2f} M parameters, "
        f"{costs['macs_m']:.2f} M multiply-adds of convolutions and matrix products, "
        f"{costs['activations_m']:.2f} M activations, {costs['file_mb']:.2f} MB; classifier "
        f"{', '.join(network.classifier_names)}, last feature map {network.feature_map_name() or 'none'}"
    )


def parse_size(text: str | None) -> tuple[int, int]:
    """Parse 224 or 224x320 into height and width in pixels."""
    if not text:
        return read(int, "images.height"), read(int, "images.width")
    found = re.fullmatch(r"([1-9]\d*)(?:x([1-9]\d*))?", text)
    if not found:
        raise UserError(f"SIZE: must be pixels like 224 or 224x320, height first, got {text!r}")
    return int(found[1]), int(found[2] or found[1])


if __name__ == "__main__":
    run(main)
