"""The names of all networks that can be built, known without importing torch.

torchvision's have their own name, timm's are `timm/NAME` or `timm/NAME.TAG`. Importing the two libraries
takes over 6 s of CPU; their sources name every network after a `@register_model` line, which takes 0.02 s to
read.
"""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

REGISTERED = re.compile(r"^@register_model\b.*\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)


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
