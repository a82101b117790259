"""torch's compiler, loaded when something is compiled, not as soon as a network or an optimizer is there.

torchvision, and timm with it, imports one function of torch._dynamo that only its detectors call, and torch's
optimizers and timm call two of its functions that do nothing outside of compiled code. The package takes as
long to load as torch itself.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial, wraps
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import FunctionType, ModuleType
from typing import Any

COMPILER = "torch._dynamo"
UTILS = f"{COMPILER}.utils"


def defer_compiler() -> None:
    """Let torch._dynamo be loaded at its first use that is more than one of those above."""
    if COMPILER not in sys.modules:
        sys.modules[COMPILER], sys.modules[UTILS] = Compiler(COMPILER), Utils(UTILS)
        sys.meta_path.insert(0, Parts())


def load_compiler() -> None:
    """Put the real package in the place of the stand-ins."""
    names = [name for name in (COMPILER, UTILS) if isinstance(sys.modules.get(name), StandIn)]
    left = [sys.modules.pop(name) for name in names]
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, Parts)]
    import_module(COMPILER)
    for stand_in in left:
        stand_in.leave()


class StandIn(ModuleType):
    """A module in place of one that is not loaded yet; a name that it lacks loads that one, and is its name.

    But for names like __file__, which Python asks every module for.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        load_compiler()
        return getattr(sys.modules[self.__name__], name)

    def leave(self) -> None:
        """Called when the real module has taken its place."""


class Compiler(StandIn):
    """torch._dynamo while nothing is compiled."""

    def __init__(self, name: str):
        super().__init__(name)
        self.__path__: list[str] = []  # it is a package: `Parts` finds what is in it
        self.waiting: list[Callable[[], None]] = []

    def disable(self, function: Any = None, recursive: bool = True, **options: Any) -> Any:
        """The function as it is; kept out of what is compiled, as in torch, from when something is."""
        if function is None:
            return partial(self.disable, recursive=recursive, **options)
        if not isinstance(function, FunctionType):
            load_compiler()
            return sys.modules[COMPILER].disable(function, recursive, **options)
        called: Callable[..., Any] = function

        @wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            return called(*arguments, **named)

        def become_real() -> None:
            nonlocal called
            called = sys.modules[COMPILER].disable(function, recursive, **options)

        self.waiting.append(become_real)
        return call

    def graph_break(self, msg: str = "") -> None:
        """Nothing, as in torch: compiled code would be interrupted here."""

    def leave(self) -> None:
        for become_real in self.waiting:
            become_real()


class Utils(StandIn):
    """torch._dynamo.utils while nothing is compiled."""

    def is_compile_supported(self, device_type: Any) -> Any:
        """As in torch; torchvision imports it by name."""
        load_compiler()
        return sys.modules[UTILS].is_compile_supported(device_type)


class Parts(MetaPathFinder):
    """Loads the real package as soon as another of its modules is imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(f"{COMPILER}."):
            return None
        load_compiler()
        loaded = sys.modules.pop(fullname, None)  # if it stayed there, it would be loaded once more
        return find_spec(fullname) if loaded is None else ModuleSpec(fullname, Loaded(loaded))


class Loaded(Loader):
    """Gives a module that is loaded already."""

    def __init__(self, module: ModuleType):
        self.module = module

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = self.module
