"""The names of all networks and optimizers that can be built, known without importing torch.

Networks of torchvision have their own name, timm's are `timm/NAME` or `timm/NAME.TAG`. Importing the two
libraries takes over 6 s of CPU; reading the names in their sources takes 0.02 s.
"""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

REGISTERED = re.compile(r"^@register_model\b.*\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)

OPTIMIZER = re.compile(r"OptimInfo\(\s*name='(\w+)'")
ELSEWHERE = re.compile(r"bnb|fused|kron|adahessian")  # need other packages, or a second derivative
MAPPED = {  # names of other libraries -> timm's
    "ranger": "lookahead_radam",
    "ralamb": "lamb",  # its rectified start is what the warm-up does
    "rangerlars": "lookahead_lamb",
}
TORCH_ONLY = ("asgd",)


@cache
def known_architectures() -> tuple[str, ...]:
    """Every name that `build_model` takes, but for timm's tags of pretrained weights."""
    return tuple(registered("torchvision")) + tuple(f"timm/{name}" for name in registered("timm"))


def registered(library: str) -> list[str]:
    """The classification networks that a library registers in the files of its `models` folder."""
    folder = Path(find_spec(library).origin).parent / "models"
    sources = (path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py")))
    return [name for source in sources for name in REGISTERED.findall(source)]


def is_known(arch: str) -> bool:
    """Whether the network can be built; a timm name may end with `.TAG`, the weights' own name."""
    name = arch.partition(".")[0] if arch.startswith("timm/") else arch
    return name in known_architectures()


@cache
def known_optimizers() -> tuple[str, ...]:
    """timm's names, which include torch's, a few others, and `lookahead_` before any of timm's."""
    factory = Path(find_spec("timm").origin).parent / "optim" / "_optim_factory.py"
    names = [n for n in OPTIMIZER.findall(factory.read_text(encoding="utf-8")) if not ELSEWHERE.match(n)]
    return (*MAPPED, *TORCH_ONLY, *names, *(f"lookahead_{name}" for name in names))
