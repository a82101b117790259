"""params.yaml with some values changed, in the form that `dvc exp run -S` leaves it: shown, then written."""

import hashlib
import subprocess
from collections.abc import Mapping
from difflib import unified_diff
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dvc.utils.serialize import modify_yaml

from src.ground.errors import UserError
from src.ground.files import open_atomically
from src.ground.params import PARAMS, SCHEMA, check_pictures, flatten, parse
from tools.init.memory import recall, remember

UNDO = f"git checkout {PARAMS} undoes it"
WRITTEN = "params.yaml as make init wrote it"


def read_committed() -> str:
    """The text of params.yaml to start from, that of the last commit.

    A UserError if the file has changes that make init did not write: they would be lost. Lines may end as on
    Windows; what is not UTF-8 is refused when the settings are read.
    """
    if PARAMS.is_symlink():
        place = PARAMS.resolve()
        raise UserError(f"{PARAMS}: a link, whose target git does not keep (replace it by a copy of {place})")
    if not PARAMS.is_file():
        raise UserError(f"{PARAMS}: no such file (git checkout {PARAMS} restores it)")
    command = ["git", "show", f"HEAD:./{PARAMS}"]
    shown = subprocess.run(command, capture_output=True, check=False, encoding="utf-8", errors="replace")
    if shown.returncode:
        raise UserError(f"{PARAMS}: not in the last commit (git add {PARAMS} && git commit)")
    committed, now = shown.stdout, PARAMS.read_text(encoding="utf-8", errors="replace")
    if now != committed and digest(now) != recall(WRITTEN).get("sha256"):
        raise UserError(f"{PARAMS}: changed since the last commit (commit the change, or {UNDO})")
    return committed


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def change(text: str, settings: Mapping[str, Any]) -> str:
    """The text of params.yaml with the values of `settings` by dotted key, which must all be there.

    Comments and the order stay.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / PARAMS.name
        path.write_text(text, encoding="utf-8")
        with modify_yaml(path) as params:
            for key, value in settings.items():
                set_value(params, key, value)
        return path.read_text(encoding="utf-8")


def check_settings(text: str, settings: Mapping[str, Any], counts: Mapping[str, int]) -> None:
    """Refuse what make repro would: by the schema, the rules, and the training pictures by class, `counts`.

    So that it is known before it is written. A UserError lists all problems.
    """
    try:
        params = parse(text.encode(), SCHEMA.read_bytes())
        check_pictures(counts, trains=True, params=params)
    except UserError as error:
        start = f"{PARAMS}, as make init would write it"
        raise UserError(*(line.replace(f"{PARAMS}", start, 1) for line in str(error).splitlines())) from None
    found = dict(flatten(params))
    lost = [key for key, value in settings.items() if found[key] != value]
    if lost:
        raise UserError(f"{PARAMS}: {lost[0]}: cannot hold {ascii(settings[lost[0]])} (rename the folder)")


def set_value(params: Any, key: str, value: Any) -> None:
    """Set the value at a dotted key; a list's own items are replaced, so that its comments stay."""
    *parents, last = key.split(".")
    section = params
    for word in parents:
        section = section.get(word) if isinstance(section, dict) else None
    if not isinstance(section, dict) or last not in section:
        raise UserError(
            f"{PARAMS}: {key}: missing, but make init sets it (git log {PARAMS} shows where it was)"
        )
    old = section[last]
    if isinstance(old, list) and isinstance(value, list):
        if list(old) != value:
            old[:] = value
    elif old != value or isinstance(old, bool) != isinstance(value, bool):
        section[last] = value


def spell_difference(before: str, after: str) -> str:
    """The unified diff, empty if there is none."""
    names = f"a/{PARAMS}", f"b/{PARAMS}"
    return "".join(unified_diff(before.splitlines(True), after.splitlines(True), *names))


def write(text: str) -> None:
    """Replace params.yaml, and remember that make init did."""
    with open_atomically(PARAMS) as file:
        file.write(text)
    remember(WRITTEN, {"sha256": digest(text)})
