"""The page from the values of its sections. Any text of the user's is escaped by the template."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

FOLDER = Path(__file__).parent


def render(values: Mapping[str, Any]) -> str:
    """The HTML of the page, complete in itself."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    style, script = ((FOLDER / f"page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    return environment.get_template("page.html").render(**values, style=Markup(style), script=Markup(script))
