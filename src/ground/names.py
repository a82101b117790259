"""The names of all networks and optimizers that can be built, found without importing torch.

Networks of torchvision keep their names, those of timm are `timm/NAME` or `timm/NAME.TAG`, and a few of
either have an alias. Importing the two libraries takes over 6 s of CPU time; reading the names from their
sources takes 0.02 s.
"""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

RESNEST_FAST = ((1, 1, 64), (2, 1, 64), (4, 1, 64), (1, 2, 40), (2, 2, 40))  # radix, cardinality, width
# alias -> our name, arguments of its builder or, as `stages`, how many of its stages are built
ALIASES: dict[str, tuple[str, dict[str, Any]]] = {
    "lite0_short": ("timm/tf_efficientnet_lite0", {"stages": 5}),  # of 7: a fifth of its parameters
    "mobilenetv3_small": ("mobilenet_v3_small", {}),
    "mobilenetv3_large": ("mobilenet_v3_large", {}),
    "efficientnet_b8": ("timm/tf_efficientnet_b8", {}),
    "resnest50": ("timm/resnest50d", {}),
    "resnest101": ("timm/resnest101e", {}),
    "resnest200": ("timm/resnest200e", {}),
    "resnest269": ("timm/resnest269e", {}),
    "resnest50_fast_4s2x40d": ("timm/resnest50d_4s2x40d", {}),
    "resnest50_fast_1s4x24d": ("timm/resnest50d_1s4x24d", {}),
    **{
        f"resnest50_fast_{radix}s{cardinality}x{width}d": (
            "timm/resnest50d",
            {
                "base_width": width,
                "cardinality": cardinality,
                "block_args": {"radix": radix, "avd": True, "avd_first": True},
            },
        )
        for radix, cardinality, width in RESNEST_FAST
    },
}
REGISTERED = re.compile(r"^@register_model\b.*\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)

OPTIMIZER = re.compile(r"OptimInfo\(\s*name='(\w+)'")
ELSEWHERE = re.compile(r"bnb|fused|kron|adahessian")  # need other packages or second derivatives
OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {  # not built as timm's of the same name
    "adam": ("torch.Adam", {"fused": True}),  # the fused version takes a third of the time
    "adamw": ("torch.AdamW", {"fused": True}),
    "sgd": ("torch.SGD", {"momentum": 0.9, "fused": True}),
    "asgd": ("torch.ASGD", {}),
    "ranger": ("lookahead_radam", {}),
    "ralamb": ("lamb", {}),  # the warm-up does what RAdam's rectification does
    "rangerlars": ("lookahead_lamb", {}),
}


@cache
def list_architectures() -> tuple[str, ...]:
    """Every name that `build_model` accepts, without timm's tags for pretrained weights."""
    return (*find_registered("torchvision"), *ALIASES, *(f"timm/{name}" for name in find_registered("timm")))


def find_library(name: str) -> Path:
    """The folder of a library's sources, found without importing it."""
    spec = find_spec(name)
    assert spec and spec.origin
    return Path(spec.origin).parent


def find_registered(library: str) -> list[str]:
    """The classification networks that are registered in the files of a library's `models` folder."""
    folder = find_library(library) / "models"
    sources = (path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py")))
    return [name for source in sources for name in REGISTERED.findall(source)]


def is_known(arch: str) -> bool:
    """Whether the network can be built; a timm name may end with `.TAG`, the name of its weights."""
    name = arch.partition(".")[0] if arch.startswith("timm/") else arch
    return name in list_architectures()


@cache
def list_optimizers() -> tuple[str, ...]:
    """timm's names, which include torch's, a few aliases, and any of timm's with the prefix `lookahead_`."""
    factory = find_library("timm") / "optim" / "_optim_factory.py"
    names = [n for n in OPTIMIZER.findall(factory.read_text(encoding="utf-8")) if not ELSEWHERE.match(n)]
    return (*dict.fromkeys([*OPTIMIZERS, *names, *(f"lookahead_{name}" for name in names)]),)
