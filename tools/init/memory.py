"""What make init remembers between two calls, in .scratch/init.json: costs, and the file that it wrote.

Nobody needs it: what is damaged is as if it were not there, and is measured again.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from src.ground.errors import spell_cause
from src.ground.files import write_json

FILE = Path(".scratch/init.json")
LONGEST = 1e6  # seconds: more is no cost of anything that is timed


def read_all() -> dict[str, Any]:
    """Everything; nothing if the file is missing or damaged."""
    try:
        found = json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}
        json.dumps(found, ensure_ascii=False).encode()  # what is no Unicode could not be written again
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def recall(about: str) -> dict[str, Any]:
    """What is remembered about something; empty if nothing is."""
    found = read_all().get(about)
    return dict(found) if isinstance(found, dict) else {}


def recall_seconds(about: str) -> dict[str, float]:
    """The costs among what is remembered about something; what can be none is left out, NaN too."""
    values = recall(about)
    return {name: one for name, one in values.items() if isinstance(one, float) and 0 < one < LONGEST}


def remember(about: str, values: dict[str, Any]) -> None:
    """Replace what is remembered about something, or warn that it cannot be."""
    try:
        write_json(FILE, {**read_all(), about: values})
    except OSError as error:
        warn(f"warning: {FILE}: not written, so the next make init times anew: {spell_cause(error)}")


@cache
def warn(text: str) -> None:
    """Print a warning, once."""
    print(text)
