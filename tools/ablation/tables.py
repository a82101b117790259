"""ablations.yaml: the rows of a table on a dataset, all validated before the first one runs."""

import itertools
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.ground.errors import UserError
from src.ground.strict_yaml import parse_yaml
from src.ground.validating import find_problems, suggest
from tools.ablation.overrides import SEED, apply_to_params, map_by_key, pin_pretrained

FILE = Path("ablations.yaml")
SCHEMA = Path("ablations.schema.json")
MOST_SEED = 2**32 - 1  # in params.yaml
FIXED, FOLLOW = "fixed", "follow"  # the same teachers for all seeds, or teachers of its own for each


@dataclass(frozen=True)
class Row:
    """One setting of a table."""

    label: str
    baseline: str  # the label of the row that it is compared with
    own: tuple[str, ...]  # the overrides of this row only
    overrides: dict[str, str]  # all overrides by key
    params: dict[str, Any]  # all of params.yaml with the overrides applied, flat
    published: float  # a published value, NaN if there is none


@dataclass(frozen=True)
class Table:
    """The rows of one table on one dataset."""

    name: str
    data: str
    title: str
    rows: tuple[Row, ...]
    left_out: tuple[str, ...]  # labels of rows that change nothing on this dataset
    seeds: tuple[int, ...]
    metrics: tuple[str, ...]
    published_title: str  # the source of the published values, "" if there are none
    teacher_seeds: str  # FIXED or FOLLOW

    @property
    def file_name(self) -> str:
        """The name of the table's files, without a suffix."""
        return f"{self.name}-{self.data}"

    def list_experiments(self) -> Iterator[tuple[str, Row, int]]:
        """Name, row and seed of every experiment; all rows of one seed come before the next seed."""
        for seed, row in itertools.product(self.seeds, self.rows):
            yield f"{self.file_name}-{slugify(row.label)}-{seed}", row, seed

    def list_seeds(self, row: Row, seed: int) -> dict[str, int]:
        """The params that a seed sets in this row; with FOLLOW those of its teachers, 1000 apart, too.

        So no two seeds share a network, even of teachers whose own seeds are neighbours: one of the seed 2
        has 1002 beside the student's seed 1, and 2002 beside 2.
        """
        names = row.params["knowledge.teachers"] if self.teacher_seeds == FOLLOW else []
        keys = [f"teacher.{name}.{SEED}" for name in names]
        return {SEED: seed} | {key: row.params[key] + 1000 * seed for key in keys}


def read_table(name: str, data: str, more: Sequence[str]) -> Table:
    """The table `name` on the dataset `data`; overrides `more` apply after the table's and before a row's.

    Raises UserError if the file or a row's overrides are invalid.
    """
    file = read_file()
    table, dataset = find_entry(file, "tables", name), find_entry(file, "data", data)
    place = f"{FILE}: tables.{name}"
    labels = dataset.get("rows", {}).get(name, list(table["rows"]))
    baselines = [table["baseline"]] if isinstance(table["baseline"], str) else table["baseline"]
    published = dict(table.get("published", {"title": ""}))
    published_title = published.pop("title")
    for key, named in (("baseline", baselines), ("published", published), (f"data.{data}.rows", labels)):
        for label in named:
            if label not in table["rows"]:
                raise UserError(f"{place}: {key}: no row {label!r}{suggest(label, list(table['rows']))}")
    if labels[0] not in baselines:
        raise UserError(f"{place}: the first row, {labels[0]!r}, must be a baseline ({', '.join(baselines)})")
    rows: dict[str, Row] = {}
    left_out, baseline = [], labels[0]
    for label in labels:
        baseline = label if label in baselines else baseline
        own = table["rows"][label]
        overrides = map_by_key([*dataset["set"], *table.get("set", []), *more, *own])
        params = apply_to_params(overrides, f"{place}.rows.{label}")
        if pins := pin_pretrained(params):
            overrides |= map_by_key(pins)
            params = apply_to_params(overrides, f"{place}.rows.{label}")
        if label != baseline and params == rows[baseline].params:
            left_out.append(label)
        else:
            rows[label] = Row(label, baseline, (*own,), overrides, params, published.get(label, math.nan))
    clashing = {one for one, other in itertools.permutations(rows, 2) if slugify(one) == slugify(other)}
    if clashing:
        names = " and ".join(sorted(clashing))
        raise UserError(f"{place}.rows: {names} give experiments the same name (rename one)")
    found = Table(
        name=name,
        data=data,
        title=table["title"],
        rows=(*rows.values(),),
        left_out=(*left_out,),
        seeds=(*dataset.get("seeds", table["seeds"]),),
        metrics=(*table["metrics"],),
        published_title=published_title,
        teacher_seeds=table.get("teacher_seeds", FIXED),
    )
    for row in found.rows:
        for key, seed in found.list_seeds(row, max(found.seeds)).items():
            if seed > MOST_SEED:
                raise UserError(
                    f"{place}: {key} of the row {row.label!r} would be {seed}, at most {MOST_SEED} is "
                    "allowed (use smaller seeds)"
                )
    return found


def read_file() -> dict[str, Any]:
    """All of ablations.yaml, validated against its schema."""
    if not FILE.exists():
        raise UserError(f"{FILE}: not found (run from the project's root)")
    file = parse_yaml(FILE.read_bytes(), str(FILE), keep_keys=True)
    if problems := list(find_problems(file or {}, json.loads(SCHEMA.read_text(encoding="utf-8")))):
        raise UserError(*(f"{FILE}: {problem}" for problem in problems))
    return file


def find_entry(file: dict[str, Any], section: str, name: str) -> dict[str, Any]:
    """The entry `name` of a section; raises UserError that lists the existing ones."""
    known = list(file[section])
    if name not in known:
        hint = suggest(name, known) or f" ({', '.join(known)})"
        raise UserError(f"{FILE}: {section}.{name}: not found{hint}")
    return file[section][name]


def slugify(label: str) -> str:
    """A label as part of an experiment's name: `+mixup` becomes with-mixup, `Share 0.3` share-0.3.

    Letters of all scripts stay, and what git takes for more than a name does not.
    """
    signs = {"+": "with-", "-": "without-"}
    words = re.sub(r"(?:[^\w.]|_)+", "-", label.lower())
    return signs.get(label[0], "") + re.sub(r"\.{2,}", ".", words).strip("-.")
