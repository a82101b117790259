"""Write params.schema.json from the settings' dataclasses, whose comments become its descriptions.

A field's annotation gives its type and range (`src/ground/kinds.py`), the comment after it its meaning. Every
stage validates params.yaml against the schema, and editors use it for completion.

reads   the sources of the settings
writes  params.schema.json
run     python -m tools.schema
"""

import ast
import inspect
import io
import json
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from src.export.settings import ExportSettings
from src.ground.errors import run
from src.ground.files import open_atomically
from src.ground.kinds import EntryName, Workers
from src.losses.loss import DistillSettings
from src.machine.executor import Executor
from src.machine.launching import DistributedSettings
from src.machine.runtime import MachineSettings
from src.pictures.demo import DemoSettings
from src.pictures.settings import DataSettings, ImageSettings
from src.report.settings import ReportSettings
from src.results.measuring import EvaluateSettings
from src.teaching.curriculum import CurriculumSettings
from src.teaching.teachers import KnowledgeSettings
from src.training.settings import StrategySettings, StudentSettings, TeacherSettings
from tools.models import ModelsSettings

SCHEMA = Path("params.schema.json")
TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
OWN = (  # keys that each entry of teacher must have; the others are in teacher_common, but may be overridden
    "arch",
    "pretrained",
    "loss",
    "seed",
    "epochs",
    "warmup",
    "batch_size",
    "optimizer",
    "lr",
    "weight_decay",
    "augment.policy",
    "augment.flip",
)


@dataclass(frozen=True, kw_only=True)
class Params(MachineSettings, StrategySettings):
    """All of params.yaml except the teachers."""

    distributed: DistributedSettings
    workers: Workers  # background processes that augment pictures; results do not change
    executor: Executor  # who checks, packs and dumps: this machine or a Dask cluster; results do not change
    demo: DemoSettings
    data: DataSettings
    images: ImageSettings
    knowledge: KnowledgeSettings
    curriculum: CurriculumSettings
    distill: DistillSettings
    student: StudentSettings
    evaluate: EvaluateSettings
    export: ExportSettings
    report: ReportSettings
    models: ModelsSettings


def main() -> None:
    text = format_schema()
    with open_atomically(SCHEMA) as file:
        file.write(text)
    print(f"{SCHEMA}: {len(text.splitlines())} lines")


def format_schema() -> str:
    """The text of params.schema.json."""
    whole, teacher = describe(Params), describe(TeacherSettings)
    entry, pattern = require_keys(loosen(teacher), OWN), describe(EntryName)["pattern"]
    whole["properties"] |= {
        "teacher_common": drop_keys(teacher, OWN) | {"description": "settings shared by all teachers"},
        "teacher": {
            "type": "object",
            "description": "one entry per teacher, overrides teacher_common; knowledge.teachers are trained",
            "additionalProperties": False,
            "patternProperties": {pattern: entry | {"description": "a teacher's training"}},
        },
    }
    whole["required"] += ["teacher_common", "teacher"]
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "params.yaml of Dojo"}
    return json.dumps(head | whole, indent=2) + "\n"


def describe(kind: Any) -> dict[str, Any]:
    """The schema of a type: a dataclass, number, string, choice, tuple or mapping."""
    if get_origin(kind) is Annotated:
        base, *rules = get_args(kind)
        found = describe(base)
        for rule in rules:
            found |= rule.keywords
        if "enum" in found:
            del found["type"]  # otherwise a wrong value would be reported twice
        return found
    if is_dataclass(kind):
        return describe_settings(kind)
    if get_origin(kind) is Literal:
        return {"enum": list(get_args(kind))}
    if get_origin(kind) in (Union, UnionType):
        return {"anyOf": [describe(one) for one in get_args(kind)]}
    if get_origin(kind) is tuple:
        return {"type": "array", "items": describe(get_args(kind)[0])}
    if get_origin(kind) is dict:
        return {"type": "object", "additionalProperties": describe(get_args(kind)[1])}
    return {"type": TYPES[kind]}


def describe_settings(kind: Any) -> dict[str, Any]:
    """The schema of a dataclass: all fields are required, others are not allowed."""
    hints, remarks = get_type_hints(kind, include_extras=True), read_comments(kind)
    properties = {}
    for field in fields(kind):
        remark = {"description": remarks[field.name]} if field.name in remarks else {}
        properties[field.name] = describe(hints[field.name]) | remark
    return {
        "type": "object",
        "description": (kind.__doc__ or "").partition("\n")[0],
        "required": list(properties),
        "additionalProperties": False,
        "properties": properties,
    }


def read_comments(kind: type) -> dict[str, str]:
    """The comment after each field of a dataclass, inherited fields included."""
    found: dict[str, str] = {}
    for part in reversed([one for one in kind.__mro__ if is_dataclass(one)]):
        source = inspect.getsource(part)
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        comments = {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}
        body = ast.parse(source).body[0]
        assert isinstance(body, ast.ClassDef)
        for node in body.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                if comment := comments.get(node.end_lineno or 0):
                    found[node.target.id] = comment.removeprefix("#").strip()
    return found


def loosen(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of the same mapping with no key required, at any depth."""
    inner = {name: loosen(value) for name, value in schema.get("properties", {}).items()}
    rest = {name: value for name, value in schema.items() if name != "required"}
    return rest | ({"properties": inner} if inner else {})


def require_keys(schema: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """The schema with these keys required; `a.b` is key b of mapping a, which is then required too."""
    inner = dict(schema["properties"])
    below = group_keys(keys)
    for name, rest in below.items():
        if rest:
            inner[name] = require_keys(inner[name], rest)
    return {**schema, "required": list(below), "properties": inner}


def drop_keys(schema: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """The schema of the same mapping without these keys."""
    below = group_keys(keys)
    inner = {
        name: drop_keys(value, below[name]) if below.get(name) else value
        for name, value in schema["properties"].items()
        if name not in below or below[name]
    }
    return {**schema, "required": list(inner), "properties": inner}


def group_keys(keys: Sequence[str]) -> dict[str, list[str]]:
    """Group dotted keys by their first part: each first part with the remainders of its keys."""
    below: dict[str, list[str]] = {}
    for key in keys:
        first, _, rest = key.partition(".")
        below.setdefault(first, []).extend([rest] if rest else [])
    return below


if __name__ == "__main__":
    run(main)
