"""YAML as DVC reads it (ruamel.yaml, YAML 1.2), minus what may be read as something else than was meant.

Keys are text or plain whole numbers, since a class may be named 3, but 1.10, true or 007 would name another
class or none. What `dvc exp run -S` cannot edit without side effects is refused too: an alias, all of whose
places it changes together.
"""

import re
from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from src.ground.errors import UserError, cut

QUOTED = "a name with signs such as : * { belongs in quotes"
DEEPEST = 20  # levels; settings have 5, and the parser crashes at some 10,000
LONGEST = 320  # characters of a number; the largest float has 309 digits
UNPRINTABLE = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)  # YAML 1.2, 5.1
WHOLE = re.compile(r"0|-?[1-9][0-9]*")  # written as Python writes it: 3, but neither 007 nor 1_000
CORE = "tag:yaml.org,2002:"
MEANINGS = {
    "int": "a number",
    "float": "a number",
    "bool": "a truth value",
    "null": "nothing",
    "timestamp": "a date",
    "merge": "a merge",
    "value": "a default",
}


def parse_yaml(content: bytes, name: str, keep_keys: bool = False) -> Any:
    """The value in a YAML file, None if it is empty; all keys of mappings are text.

    With `keep_keys` a key such as 1.10 is the text as written: for a file that DVC does not read. A UserError
    lists all problems, one per line, with the file's `name` and the line.
    """
    text = decode_text(content, name)
    yaml = YAML(typ="safe")
    try:
        problems = list(find_traps(text))
        root = None if problems else yaml.compose(text)
        problems += find_misread(root, keep_keys) if root else []
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        tab = "\t" in "".join(text.splitlines()[mark.line : mark.line + 1])
        remedy = (
            "indent with spaces, not with tabs" if tab else f"{QUOTED}; git diff {name} shows what changed"
        )
        place, what = f"line {mark.line + 1}, column {mark.column + 1}", error.problem or "not YAML"
        raise UserError(f"{name}: {place}: {what.removeprefix('but ')} ({remedy})") from None
    if problems:
        raise UserError(*(f"{name}: {problem}" for problem in problems))
    return stringify_keys(yaml.constructor.construct_document(root)) if root else None


def decode_text(content: bytes, name: str) -> str:
    """The text in UTF-8 bytes; a UserError names the line of what is not text."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{name}: line 1: UTF-16, not UTF-8 (save the file as UTF-8)")
    try:
        text = content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = number_line(content[: error.start].decode("utf-8"))
        byte = f"byte {content[error.start]:#04x}"
        raise UserError(f"{name}: line {line}: {byte} is not UTF-8 (save the file as UTF-8)") from None
    if found := UNPRINTABLE.search(text):
        line = number_line(text[: found.start()])
        raise UserError(f"{name}: line {line}: control character U+{ord(found[0]):04X} (remove it)")
    return text


def number_line(before: str) -> int:
    """The number of the line, from 1, that follows the text `before`."""
    return 1 + len(re.findall("\r\n|\r|\n", before))


def find_traps(text: str) -> Iterator[str]:
    """Aliases, tags and deep nesting, found before anything is built from them."""
    depth = 0
    for event in YAML(typ="safe").parse(text):
        line = f"line {event.start_mark.line + 1}"
        if isinstance(event, AliasEvent):
            remedy = "write its value out, or a name in quotes (-S changes all its places)"
            yield f"{line}: alias *{cut(event.anchor)}: {remedy}"
        elif isinstance(event, ScalarEvent | CollectionStartEvent) and event.tag is not None:
            yield f"{line}: tag {cut(event.tag)} (remove it, or write a name in quotes)"
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > DEEPEST:
            yield f"{line}: nested more than {DEEPEST} levels deep (git diff shows what changed)"
            return


def find_misread(node: Node, keep_keys: bool) -> Iterator[str]:
    """Keys that are not text or occur twice, values that no setting has; `keep_keys` makes all keys text."""
    if isinstance(node, MappingNode):
        lines: dict[str, int] = {}  # of each key
        for key, value in node.value:
            if keep_keys and isinstance(key, ScalarNode):
                key.tag = f"{CORE}str"
            yield from find_misread_key(key, lines)
            yield from find_misread(value, keep_keys)
    elif isinstance(node, SequenceNode):
        for item in node.value:
            yield from find_misread(item, keep_keys)
    elif isinstance(node, ScalarNode):
        line, kind = node.start_mark.line + 1, find_kind(node)
        if kind == "timestamp":
            yield f"line {line}: {cut(node.value)} is read as a date, not as text (write it in quotes)"
        elif kind in ("int", "float") and len(node.value) > LONGEST:
            yield f"line {line}: a number of {len(node.value)} digits (at most {LONGEST})"
        elif "\0" in node.value:
            yield f'line {line}: "\\0" is in no name (remove it)'


def find_misread_key(key: Node, lines: dict[str, int]) -> Iterator[str]:
    """What is wrong with a key; `lines` holds those of the keys before it, and then its own."""
    line, kind = key.start_mark.line + 1, find_kind(key)
    if not isinstance(key, ScalarNode):
        yield f"line {line}: a list or mapping as key (write its text in quotes)"
        return
    word = cut(key.value) or "(empty)"
    if kind != "str" and not (kind == "int" and WHOLE.fullmatch(key.value)):
        yield (
            f"line {line}: key {word} is read as {MEANINGS[kind]}, not as text (write it in quotes, in the "
            "file itself: -S drops them)"
        )
    elif key.value in lines:
        yield f"line {line}: key {word} occurs twice, first in line {lines[key.value]} (remove one)"
    elif "\0" in key.value:
        yield f'line {line}: "\\0" is in no name (remove it)'
    lines.setdefault(key.value, line)


def find_kind(node: Node) -> str:
    """What YAML reads a node as: str, int, float, bool, null, timestamp, map, seq, ..."""
    return (node.tag or "").removeprefix(CORE)


def stringify_keys(value: Any) -> Any:
    """The same value with all keys of mappings as text."""
    if isinstance(value, dict):
        return {str(name): stringify_keys(item) for name, item in value.items()}
    if isinstance(value, list):
        return [stringify_keys(item) for item in value]
    return value
