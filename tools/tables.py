"""ablations.yaml: which rows a table has on a set of pictures, checked before the first of them runs."""

import itertools
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.exceptions import InvalidArgumentError
from dvc.utils.hydra import to_hydra_overrides
from hydra.errors import OverrideParseException
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from src.ground.errors import UserError
from src.ground.params import checked_params, find_problems, flat, nearest, with_text_keys
from tools.overrides import params

FILE = Path("ablations.yaml")
SCHEMA = Path("ablations.schema.json")
SEED = "seed"
ROOT = "data.root"
MADE = "data/demo"  # by a stage, the others are the user's


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    label: str
    baseline: str  # the label of the row that it is compared with
    own: tuple[str, ...]  # words of -S that the other rows do not have
    words: dict[str, str]  # all words of -S by their keys
    params: dict[str, Any]  # all of params.yaml after them, flat
    published: float  # a figure from elsewhere, NaN where there is none


@dataclass(frozen=True)
class Table:
    """The rows of one table on one set of pictures."""

    name: str
    data: str
    title: str
    rows: tuple[Row, ...]
    without: tuple[str, ...]  # labels of rows that change nothing on these pictures
    seeds: tuple[int, ...]
    metrics: tuple[str, ...]
    published: str  # whose the figures from elsewhere are

    def experiments(self) -> Iterator[tuple[str, Row, int]]:
        """Name, row and seed of every experiment, all rows of a seed before the next seed's."""
        for seed, row in itertools.product(self.seeds, self.rows):
            yield f"{self.name}-{self.data}-{in_name(row.label)}-{seed}", row, seed


def read_table(name: str, data: str, more: Sequence[str]) -> Table:
    """The table `name` on the pictures `data`; `more` words of -S come after the table's, before a row's.

    Raises UserError for whatever is wrong with the file or with a row's words.
    """
    file = read_file()
    table, pictures = entry(file, "tables", name), entry(file, "data", data)
    where = f"{FILE}: tables.{name}"
    labels = pictures.get("rows", {}).get(name, list(table["rows"]))
    baselines = [table["baseline"]] if isinstance(table["baseline"], str) else table["baseline"]
    published = dict(table.get("published", {"title": ""}))
    whose = published.pop("title")
    for what, named in (("baseline", baselines), ("published", published), (f"data.{data}.rows", labels)):
        for label in named:
            if label not in table["rows"]:
                raise UserError(f"{where}: {what}: no row {label!r}{nearest(label, list(table['rows']))}")
    if labels[0] not in baselines:
        raise UserError(f"{where}: the first row, {labels[0]!r}, must be a baseline ({', '.join(baselines)})")
    rows: dict[str, Row] = {}
    without, baseline = [], labels[0]
    for label in labels:
        baseline = label if label in baselines else baseline
        own = table["rows"][label]
        words = by_key([*pictures["set"], *table.get("set", []), *more, *own])
        values = params_after(words, f"{where}.rows.{label}")
        if label != baseline and values == rows[baseline].params:
            without.append(label)
        else:
            rows[label] = Row(label, baseline, (*own,), words, values, published.get(label, math.nan))
    twice = {one for one, other in itertools.permutations(rows, 2) if in_name(one) == in_name(other)}
    if twice:
        raise UserError(f"{where}.rows: {' and '.join(sorted(twice))} have one name (rename one)")
    seeds = pictures.get("seeds", table["seeds"])
    return Table(
        name=name,
        data=data,
        title=table["title"],
        rows=(*rows.values(),),
        without=(*without,),
        seeds=(*seeds,),
        metrics=(*table["metrics"],),
        published=whose,
    )


def entry(file: dict[str, Any], section: str, name: str) -> dict[str, Any]:
    """The entry `name` of a section; raises UserError that names the ones that are there."""
    known = list(file[section])
    if name not in known:
        hint = nearest(name, known) or f" ({', '.join(known)})"
        raise UserError(f"{FILE}: {section}.{name}: not there{hint}")
    return file[section][name]


def read_file() -> dict[str, Any]:
    """All of ablations.yaml, checked against its schema."""
    if not FILE.exists():
        raise UserError(f"{FILE}: not found (run from the project's root)")
    try:
        file = with_text_keys(YAML(typ="safe").load(FILE.read_text(encoding="utf-8")))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise UserError(f"{FILE}: line {mark.line + 1}, column {mark.column + 1}: {error.problem}") from None
    if problems := list(find_problems(file or {}, json.loads(SCHEMA.read_text(encoding="utf-8")))):
        raise UserError(*(f"{FILE}: {problem}" for problem in problems))
    return file


def by_key(words: Sequence[str]) -> dict[str, str]:
    """The words of -S by the keys that they set, the last one of each key, a folder of pictures in full."""
    found: dict[str, str] = {}
    for word in words:
        key, _, value = word.lstrip("+~").partition("=")
        found.pop(key, None)
        if key == ROOT and value != MADE:  # experiments run in a copy of the project
            word = f"{ROOT}={Path(value).absolute()}"
        found[key] = word
    return found


def params_after(words: dict[str, str], where: str) -> dict[str, Any]:
    """All of params.yaml, flat, after these words of -S; raises UserError that names `where` and the key."""
    known = [*keys_within(checked_params())]
    for key, word in words.items():
        if not word.startswith("+") and key not in known:
            raise UserError(f"{where}: {key}: unknown{nearest(key, known)}")
        try:
            several = to_hydra_overrides([word])[0].is_sweep_override()
        except OverrideParseException:
            raise UserError(f"{where}: {word}: not in the grammar of dvc exp run -S") from None
        if several:
            raise UserError(f"{where}: {word}: several values (a row for each)")
        if key == SEED:
            raise UserError(f"{where}: {SEED}: the table's seeds set it (take it out here)")
    try:
        with params([*words.values()]):
            values = dict(flat(checked_params()))
    except UserError as error:
        problems = [line.rpartition("params.yaml: ")[2] for line in str(error).splitlines()]
        raise UserError(*(f"{where}: {problem}" for problem in problems)) from None
    except InvalidArgumentError as error:
        raise UserError(f"{where}: {error.__cause__ or error}") from None
    root = values[ROOT]
    if root != MADE and not Path(root).is_dir():
        raise UserError(f"{where}: {ROOT}: no folder {root} (or SET={ROOT}=/path/to/pictures)")
    return values


def keys_within(mapping: dict[str, Any], before: str = "") -> Iterator[str]:
    """Every key of nested mappings, those of mappings too, words joined by dots."""
    for name, value in mapping.items():
        yield before + name
        if isinstance(value, dict):
            yield from keys_within(value, f"{before}{name}.")


def in_name(label: str) -> str:
    """A label as a part of an experiment's name."""
    spoken = {"+": "with-", "-": "without-"}
    return spoken.get(label[0], "") + re.sub(r"[^a-z0-9.]+", "-", label.lower()).strip("-.")
