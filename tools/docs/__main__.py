"""Write the tables and pictures of README and docs/ from committed files only.

Statistics of the ablation tables are computed anew from the values per seed in their CSV.

A table is enclosed by `<!-- NAME: ... -->` and `<!-- end NAME -->`; manual edits between them are lost.

reads   metrics/models.csv, benchmarks/models_latency.csv, benchmarks/zoo.csv
        metrics/ablation/*.csv
        plots/student.csv, plots/teacher/*.csv, plots/test/confusion.csv, metrics/
writes  README.md, docs/*.md, docs/demo.png, plots/models.png
        metrics/ablation/*.csv, metrics/ablation/*.md, plots/ablation/*.png
run     python -m tools.docs
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from src.ground.errors import UserError, run
from src.ground.files import open_atomically
from tools.ablation.report import FOLDER, format_table, read_lines, rewrite_reports
from tools.docs import demo, networks


def main() -> None:
    rewrite_reports()
    pages = {page: page.read_text(encoding="utf-8") for page in list_pages()}
    filled = {page: fill_blocks(page, text, find_blocks(text)) for page, text in pages.items()}
    networks.draw()
    demo.draw()
    for page, text in filled.items():
        with open_atomically(page) as file:
            file.write(text)
        if blocks := ", ".join(find_blocks(text)):
            print(f"{page}: {blocks}{'' if text == pages[page] else ', changed'}")
    print(f"{networks.PICTURE}, {demo.PICTURE}")


def list_pages() -> list[Path]:
    """README, followed by the pages of docs/, sorted."""
    return [Path("README.md"), *sorted(Path("docs").glob("*.md"))]


def find_blocks(text: str) -> dict[str, Callable[[], str]]:
    """The function that formats each block whose end marker is in the text."""
    names = re.findall(r"<!-- end (.+?) -->", text)
    others = {"models": networks.format_networks, "zoo": networks.format_zoo}
    return {name: others.get(name) or partial(format_ablation, name) for name in names}


def fill_blocks(page: Path, text: str, blocks: Mapping[str, Callable[[], str]]) -> str:
    """The text of a page with the content between each block's markers replaced."""
    for name, format_block in blocks.items():
        parts = re.split(rf"(<!-- {name}: .*? -->\n)(?:.*?)(<!-- end {name} -->)", text, flags=re.DOTALL)
        if len(parts) != 4:
            markers = f"<!-- {name}: ... --> and <!-- end {name} -->"
            raise UserError(f"{page}: the pair of markers {markers} must occur exactly once")
        before, begin, end, after = parts
        text = f"{before}{begin}{format_block()}{end}{after}"
    return text


def format_ablation(name: str) -> str:
    """The ablation table `name` with its first metric only, as markdown."""
    lines = read_lines(FOLDER / f"{name}.csv")
    return format_table(lines[lines["metric"] == lines["metric"].iloc[0]])


if __name__ == "__main__":
    run(main)
