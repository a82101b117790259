"""What make init remembers between two calls, in .scratch/init.json: costs, and the file that it wrote."""

import json
from pathlib import Path
from typing import Any

from src.ground.files import write_json

FILE = Path(".scratch/init.json")
WRITTEN = "written"


def read_all() -> dict[str, Any]:
    """Everything; nothing if the file is missing or damaged."""
    try:
        found = json.loads(FILE.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def recall(about: str) -> dict[str, Any]:
    """What is remembered about something; empty if nothing is."""
    found = read_all().get(about)
    return dict(found) if isinstance(found, dict) else {}


def remember(about: str, values: dict[str, Any]) -> None:
    """Replace what is remembered about something."""
    write_json(FILE, {**read_all(), about: values})
