"""Typed values from params.yaml, after the whole file was checked against params.schema.json.

The file is read with ruamel.yaml, as DVC does, so that both see the same values. Every stage checks all of it
before it touches any data, and reports all problems at once. Rules for single fields are in the schema, which
`make schema` writes from the settings' dataclasses; rules across fields are in their `check`.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from src.ground.errors import UserError
from src.ground.strict_yaml import parse_yaml
from src.ground.validating import find_problems, suggest

PARAMS = Path("params.yaml")
SCHEMA = Path("params.schema.json")

T = TypeVar("T")
S = TypeVar("S", bound="Settings")


def require(holds: bool, rule: str, got: Any) -> None:
    """Refuse settings that break a rule across fields; `read` adds file and key to the message."""
    if not holds:
        raise ValueError(f"{rule}, got {got}")


@dataclasses.dataclass(frozen=True)
class Settings:
    """A section of params.yaml as a frozen dataclass, possibly combined from several by inheritance."""

    def __post_init__(self) -> None:
        for kind in type(self).__mro__:
            if "check" in vars(kind):
                vars(kind)["check"](self)

    def check(self) -> None:
        """Refuse, with `require`, what breaks a rule across fields; each class checks its own rules."""


def read(kind: type[T], key: str, over: str | None = None) -> T:
    """The value at a dotted `key` as bool, int, float, str, tuple[X, ...] or a dataclass.

    With `over`, the mapping at `key` overrides the one at `over`, key by key.
    """
    value = find_value(key)
    return convert(kind, merge(kind, find_value(over), value) if over else value, key)


def read_top(kind: type[S]) -> S:
    """A dataclass whose fields are top-level keys of the file."""
    return convert(kind, {field.name: find_value(field.name) for field in dataclasses.fields(kind)}, "")


def merge(kind: Any, below: Any, above: Any) -> Any:
    """The values of a `kind`, those of `above` before those of `below`; of a dataclass field by field.

    A mapping by class is one value: what `above` gives takes its place.
    """
    if not (dataclasses.is_dataclass(kind) and isinstance(below, dict)):
        return above
    hints = get_type_hints(kind)
    return below | {name: merge(hints[name], below.get(name), value) for name, value in above.items()}


def find_value(key: str) -> Any:
    """The value at a dotted `key`, unconverted."""
    value: Any = read_params()
    for word in key.split("."):
        if word not in value:
            raise UserError(f"{PARAMS}: {key}: missing{suggest(word, list(value))}")
        value = value[word]
    return value


def flatten(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of nested mappings with its dotted key."""
    if not isinstance(value, dict):
        yield key, value
        return
    for name, inner in value.items():
        yield from flatten(inner, f"{key}.{name}" if key else name)


def convert(kind: Any, value: Any, key: str) -> Any:
    """`value`, whose type the schema has checked, as `kind`; a dataclass takes exactly its fields."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        assert set(hints) == set(value), f"{key}: schema and {kind} differ: {set(hints) ^ set(value)}"
        try:
            prefix = f"{key}." if key else ""
            values = {name: convert(hint, value[name], prefix + name) for name, hint in hints.items()}
            return kind(**values)
        except ValueError as error:
            raise UserError(f"{PARAMS}: {key}{': ' if key else ''}{error}") from None
    if get_origin(kind) is tuple:
        return tuple(convert(get_args(kind)[0], item, key) for item in value)
    if get_origin(kind) is dict:
        return {name: convert(get_args(kind)[1], item, f"{key}.{name}") for name, item in value.items()}
    if not isinstance(kind, type):
        return value  # of a union: the schema has checked its type
    return kind(value)  # epochs: 3.0 becomes 3, lr: 1 becomes 1.0


def index_by_class(values: Mapping[str, T], classes: Sequence[str], key: str) -> dict[int, T]:
    """The values by class index instead of class name; a UserError for an unknown class."""
    for name in values:
        if name not in classes:
            known = (
                f" ({len(classes)} classes: {', '.join(classes[:10])}{', ...' if len(classes) > 10 else ''})"
            )
            raise UserError(f"{PARAMS}: {key}.{name}: no such class{suggest(name, classes) or known}")
    return {classes.index(name): value for name, value in values.items()}


def read_params() -> dict[str, Any]:
    """All of params.yaml; a UserError lists all problems, one per line."""
    if not PARAMS.exists():
        raise UserError(f"{PARAMS}: not found (run from the project's root)")
    return parse(PARAMS.read_bytes(), SCHEMA.read_text(encoding="utf-8"))


@cache
def parse(content: bytes, schema: str) -> dict[str, Any]:
    """The mapping in the file's bytes, checked against `schema`; parsed once, however many keys are read."""
    params = parse_yaml(content, str(PARAMS))
    problems = list(find_problems(params, json.loads(schema)))
    if problems:
        raise UserError(*(f"{PARAMS}: {problem}" for problem in problems))
    return params
