"""Typed values from params.yaml, after the whole file was checked against params.schema.json.

The file is read with ruamel.yaml, as DVC does, so that both see the same values. Every stage checks all of it
before it touches any data, and reports all problems at once. Rules for single fields are in the schema, which
`make schema` writes from the settings' dataclasses; rules across fields are in `rules`.
"""

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from src.ground.errors import MOST, UserError, shorten
from src.ground.rules import (
    find_class_conflicts,
    find_conflicts,
    find_missing_weights,
    find_step_conflicts,
    list_learners,
    merge,
    spell_unknown_class,
)
from src.ground.strict_yaml import parse_yaml
from src.ground.validating import find_problems, suggest

PARAMS = Path("params.yaml")
SCHEMA = Path("params.schema.json")

T = TypeVar("T")
S = TypeVar("S", bound="Settings")


@dataclasses.dataclass(frozen=True)
class Settings:
    """A section of params.yaml as a frozen dataclass, possibly combined from several by inheritance."""


def read(kind: type[T], key: str, over: str | None = None) -> T:
    """The value at a dotted `key` as bool, int, float, str, tuple[X, ...] or a dataclass.

    With `over`, the mapping at `key` overrides the one at `over`, key by key.
    """
    value = find_value(key)
    return convert(kind, merge(find_value(over), value) if over else value, key)


def read_top(kind: type[S]) -> S:
    """A dataclass whose fields are top-level keys of the file."""
    return convert(kind, {field.name: find_value(field.name) for field in dataclasses.fields(kind)}, "")


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
        prefix = f"{key}." if key else ""
        return kind(**{name: convert(hint, value[name], prefix + name) for name, hint in hints.items()})
    if get_origin(kind) is tuple:
        return tuple(convert(get_args(kind)[0], item, key) for item in value)
    if get_origin(kind) is dict:
        return {name: convert(get_args(kind)[1], item, f"{key}.{name}") for name, item in value.items()}
    if not isinstance(kind, type):
        return value  # of a union: the schema has checked its type
    return kind(value)  # epochs: 3.0 becomes 3, lr: 1 becomes 1.0


def index_by_class(values: Mapping[str, T], classes: Sequence[str], key: str) -> dict[int, T]:
    """The values by class index instead of class name; a UserError for an unknown class."""
    index = {name: number for number, name in enumerate(classes)}
    for name in values:
        if name not in index:
            raise UserError(f"{PARAMS}: {spell_unknown_class(name, classes, key)}")
    return {index[name]: value for name, value in values.items()}


def check_pictures(
    counts: Mapping[str, int], trains: bool, only: str = "", params: Mapping[str, Any] | None = None
) -> None:
    """Refuse, all at once, settings that contradict the training pictures, whose number by class is `counts`.

    Their numbers, and files of pretrained weights, matter only to what `trains`. `only` is the section of the
    one training to look at; `params` are the file's if not given. It changes no result, so a stage that calls
    it need not list what it looks at.
    """
    learners = [one for one in list_learners(params or read_params()) if only in ("", one.key)]
    found = find_class_conflicts(learners, counts)
    if trains:
        found = chain(find_step_conflicts(learners, counts), find_missing_weights(learners), found)
    problems = list(islice(found, MOST))  # a suggestion among 10,000 classes takes time
    if problems:
        raise UserError(*(f"{PARAMS}: {problem}" for problem in problems))


def read_params() -> dict[str, Any]:
    """All of params.yaml; a UserError lists all problems, one per line."""
    if not PARAMS.exists():
        raise UserError(f"{PARAMS}: not found (run from the project's root)")
    try:
        content, schema = PARAMS.read_bytes(), SCHEMA.read_bytes()
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror} (git checkout restores it)") from None
    return parse(content, schema)


@cache
def parse(content: bytes, schema: bytes) -> dict[str, Any]:
    """The mapping in the file's bytes, checked against `schema`; parsed once, however many keys are read."""
    params = parse_yaml(content, str(PARAMS))
    try:
        rules = json.loads(schema)
    except ValueError as error:
        raise UserError(f"{SCHEMA}: not JSON: {shorten(error, 100)} (make schema writes it)") from None
    if not isinstance(rules, dict) or "properties" not in rules:
        raise UserError(f"{SCHEMA}: not a schema (make schema writes it)")
    problems = list(find_problems(params, rules))
    if isinstance(params, dict):
        broken = {re.split("[.:]", problem)[0] for problem in problems}
        problems += find_conflicts(params, broken)
    if problems:
        raise UserError(*(f"{PARAMS}: {problem}" for problem in problems))
    return params
