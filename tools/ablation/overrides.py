"""Overrides of params.yaml in the grammar of `dvc exp run -S`: KEY=VALUE, +KEY=VALUE for a new key, ~KEY."""

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from dvc.exceptions import InvalidArgumentError
from dvc.utils.hydra import apply_overrides, to_hydra_overrides
from hydra.errors import OverrideParseException
from omegaconf.errors import OmegaConfBaseException

import src.ground.params
from src.ground.errors import UserError, shorten
from src.ground.files import sha256
from src.ground.params import flatten, read_params
from src.ground.rules import ANY_FILE, WEIGHTS
from src.ground.validating import suggest
from src.ground.weights import FETCHED

SEED = "seed"
ROOT = "data.root"
MADE = "data/demo"  # written by a stage; all other datasets are the user's
PRETRAINED, HASH = ".pretrained", ".pretrained_sha256"  # params of the student and of each teacher
SHARED = "teacher_common"  # the section that holds what an entry of teacher lacks


@contextlib.contextmanager
def override_params(overrides: Sequence[str]) -> Iterator[None]:
    """Within this context, every reader of params.yaml sees these overrides applied."""
    shipped = src.ground.params.PARAMS
    with tempfile.TemporaryDirectory() as folder:
        changed = Path(folder) / "params.yaml"
        shutil.copy(shipped, changed)
        apply_overrides(changed, list(overrides))
        src.ground.params.PARAMS = changed
        try:
            yield
        finally:
            src.ground.params.PARAMS = shipped


def map_by_key(overrides: Sequence[str]) -> dict[str, str]:
    """The overrides by key; the last one of a key wins, and a dataset's path is made absolute."""
    by_key: dict[str, str] = {}
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        by_key.pop(key, None)
        if key == ROOT and (root := read_text(override)) not in ("", MADE):
            override = set_text(ROOT, Path(root).absolute())  # experiments run in a clone: not relative
        by_key[key] = override
    return by_key


def read_text(override: str) -> str:
    """The value of an override as text, without quotes; empty if it is several values."""
    written = override.partition("=")[2]
    try:
        parsed = to_hydra_overrides([override])[0]
    except OverrideParseException:  # the shell took the quotes that other letters than ASCII need
        return written
    value = "" if parsed.is_sweep_override() else parsed.value()
    return value if isinstance(value, str) else written  # 007 is a name


def set_text(key: str, value: object) -> str:
    """An override that sets a text of any characters: quoted, and backslashes before a quote doubled."""
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + found[2].replace("'", r"\'"), str(value))
    return f"{key}='{escaped}'"


def apply_to_params(overrides: dict[str, str], place: str) -> dict[str, Any]:
    """All of params.yaml, flat, with these overrides by key; UserErrors name `place` and the key."""
    known = [*list_keys(read_params())]
    for key, override in overrides.items():
        if not override.startswith("+") and key not in known:
            raise UserError(f"{place}: {key}: unknown{suggest(key, known)}")
        try:
            is_sweep = to_hydra_overrides([override])[0].is_sweep_override()
        except OverrideParseException:
            remedy = "write KEY=VALUE, a value of more than ASCII letters and digits in quotes"
            raise UserError(f"{place}: {override}: not in the grammar of dvc exp run -S ({remedy})") from None
        if is_sweep:
            raise UserError(f"{place}: {override}: several values (use one row per value)")
        if key == SEED:
            raise UserError(f"{place}: {SEED}: set by the table's seeds (remove it here)")
    try:
        with override_params([*overrides.values()]):
            params = dict(flatten(read_params()))
    except UserError as error:
        problems = [line.rpartition("params.yaml: ")[2] for line in str(error).splitlines()]
        raise UserError(*(f"{place}: {problem}" for problem in problems)) from None
    except (InvalidArgumentError, OmegaConfBaseException) as error:
        raise UserError(f"{place}: {shorten(error.__cause__ or error, 200)}") from None
    root = params[ROOT]
    if root != MADE and not Path(root).is_dir():
        raise UserError(f"{place}: {ROOT}: no folder {root} (set it by SET={ROOT}=/path/to/pictures)")
    return params


def pin_pretrained(params: dict[str, Any]) -> list[str]:
    """Overrides that name every pretrained file by an absolute path and by its hash as it is now.

    So an experiment is one with these very weights: DVC does not look at the file, but it does at the params.
    A name such as lite0 stands for one hash already. Weights that a stage writes stay as they are: each
    experiment has its own.
    """
    pins = []
    for key, value in params.items():
        if not key.endswith(PRETRAINED) or value in FETCHED:
            continue
        if not Path(value).is_file() or WEIGHTS in Path(value).parents:
            continue
        wanted = key.removesuffix(PRETRAINED) + HASH
        sign = "" if wanted in params else "+"  # of a new key
        if params.get(wanted, params[SHARED + HASH]) == ANY_FILE:
            pins.append(f"{sign}{wanted}={hash_file(Path(value).absolute())}")
        if not Path(value).is_absolute():  # experiments run in a clone, where relative paths differ
            pins.append(set_text(key, Path(value).absolute()))
    return pins


@cache
def hash_file(path: Path) -> str:
    """The SHA-256 of a file, computed once for all rows."""
    return sha256(path)


def list_keys(mapping: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Every key of nested mappings, joined by dots; keys of inner mappings are included."""
    for name, value in mapping.items():
        yield prefix + name
        if isinstance(value, dict):
            yield from list_keys(value, f"{prefix}{name}.")
