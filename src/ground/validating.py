"""Check a settings file against its JSON schema, with readable messages.

Besides JSON Schema's own keywords, a schema may have `rule`, what a value must be in words, and `keysOf`, the
section whose keys the items of a list must be. Formats are names of networks and optimizers.
"""

import difflib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jsonschema

from src.ground.errors import cut
from src.ground.names import is_known, list_architectures, list_optimizers

KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "object": "a mapping",
    "array": "a list",
}
NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?")
BARE = {"integer": NUMBER, "number": NUMBER, "boolean": re.compile("true|false")}  # as text in quotes
FORMATS: dict[str, tuple[str, Callable[[str], bool], Callable[[], Sequence[str]]]] = {
    "architecture": ("network", is_known, list_architectures),
    "optimizer": ("optimizer", lambda name: name in list_optimizers(), list_optimizers),
}


def find_problems(params: Any, schema: dict[str, Any]) -> Iterator[str]:
    """Every violation of the schema in file order, as `key: rule, got value`."""
    if not isinstance(params, dict):
        yield "empty or not a mapping of keys (git checkout params.yaml restores it)"
        return
    base = jsonschema.Draft202012Validator
    finite = base.TYPE_CHECKER.redefine(
        "number",
        lambda _, value: (
            isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        ),
    )
    formats = jsonschema.FormatChecker(formats=())
    for name, (_, is_sound, _) in FORMATS.items():
        formats.checks(name)(lambda value, is_sound=is_sound: not isinstance(value, str) or is_sound(value))

    def keys_of(_, section, names, __) -> Iterator[jsonschema.ValidationError]:
        """Our keyword `keysOf`: every item of the list is a key of `section`."""
        known = list(params[section]) if isinstance(params.get(section), dict) else []
        for name in names if isinstance(names, list) else []:
            if name not in known:
                word = cut(str(name))
                yield jsonschema.ValidationError(f"no entry {section}.{word}{suggest(word, known)}")

    kind = jsonschema.validators.extend(base, {"keysOf": keys_of}, type_checker=finite)
    validator = kind(schema, format_checker=formats)
    for error in validator.iter_errors(params):
        yield from describe(error)


def describe(error: jsonschema.ValidationError) -> Iterator[str]:
    """One violation in words; one message per key if several keys of a mapping are missing or unknown."""
    rule: Any = error.schema
    given: Any = error.validator_value
    value: Any = error.instance
    key = ".".join(cut(str(word)) for word in error.absolute_path)
    prefix = f"{key}." if key else ""
    if error.validator == "additionalProperties":
        known = list(rule.get("properties", {}))
        pattern = "|".join(rule.get("patternProperties", {"$.": {}}))
        for name in value:
            if name not in known and not re.search(pattern, str(name)):
                yield f"{prefix}{cut(str(name))}: unknown{suggest(str(name), known)}"
    elif error.validator == "required":
        for name in given:
            if name not in value and f"'{name}'" in error.message:
                known = rule["properties"][name]
                meaning = known.get("description") or known.get("rule") or "git diff shows what was removed"
                yield f"{prefix}{name}: missing ({meaning})"
    elif error.validator == "enum":
        choices = [str(one).lower() if isinstance(one, bool) else one for one in given]
        yield f"{key}: must be {join_choices(choices)}, got {quote(value)}{suggest(str(value), choices)}"
    elif error.validator == "keysOf":
        yield f"{key}: {error.message}"
    elif error.validator == "format":
        what, _, known_names = FORMATS[given]
        yield f"{key}: unknown {what} {quote(value)}{suggest(str(value), known_names())}"
    else:
        yield f"{key}: {spell_rule(rule)}, got {quote(value)}{spell_quotes(value, rule.get('type'))}"


def spell_quotes(value: Any, kind: Any) -> str:
    """What to do if quotes are why a value is not of this kind."""
    if kind == "string" and isinstance(value, (int, float)):
        return " (write it in quotes)"
    bare = BARE.get(kind) if isinstance(kind, str) else None
    return " (write it without quotes)" if bare and isinstance(value, str) and bare.fullmatch(value) else ""


def quote(value: Any) -> str:
    """A value as Python writes it, cut if it is long."""
    return cut(repr(value))


def spell_rule(rule: dict[str, Any]) -> str:
    """What a value must be: the schema's `rule` if it has one, else type and range."""
    if "rule" in rule:
        return rule["rule"]
    what = KINDS[rule["type"]]
    low = rule.get("minimum", rule.get("exclusiveMinimum"))
    high = rule.get("maximum", rule.get("exclusiveMaximum"))
    if low is None and high is None:
        return f"must be {what}"
    left = "[" if "minimum" in rule else "("
    right = "]" if "maximum" in rule else ")"
    return (
        f"must be {what} in {left}{'-inf' if low is None else low}, {'inf' if high is None else high}{right}"
    )


def join_choices(choices: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(map(str, choices[:-1])), str(choices[-1])]))


def suggest(word: str, known: Sequence[str]) -> str:
    """A question that offers the known words closest to `word`, or an empty text."""
    names = difflib.get_close_matches(word, list(map(str, known)), n=3, cutoff=0.6)
    return f", did you mean {join_choices(names)}?" if names else ""
