"""The manual: its tables are up to date with make docs, and everything it names exists."""

import re
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from PIL import Image
from ruamel.yaml import YAML

from src.ground.errors import UserError
from tools.docs import demo, networks
from tools.docs.__main__ import fill_blocks, find_blocks, list_pages, main

MANUAL = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [*MANUAL, ROOT / "CONTRIBUTING.md"]
BLOCK = re.compile(r"^<!-- (?!end )(\S+): .*?^<!-- end \1 -->$", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"^```.*?^```|^    [^\n]*|`[^`]+`|^<!-- [^\n]* -->$", re.DOTALL | re.MULTILINE)
OVERRIDE = re.compile(r"-S '?([+~]{0,2})([\w.]+)=")
SOURCE = re.compile(r"(?:src|stages|tools|tests|benchmarks|demos|docs|data/external)/[\w/.-]*")
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@cache
def read_page(page):
    return page.read_text(encoding="utf-8")


def find_code(page):
    """Code blocks and spans, which name commands, keys and paths, and the comments of markers."""
    return CODE.findall(read_page(page))


@cache
def read_params():
    return YAML(typ="safe").load((ROOT / "params.yaml").read_text())


def get_value(key):
    """The value of a dotted key of params.yaml; raises KeyError if it does not exist."""
    section = read_params()
    for word in key.split("."):
        if not isinstance(section, dict) or word not in section:
            raise KeyError(key)
        section = section[word]
    return section


def is_key(key):
    try:
        get_value(key)
    except KeyError:
        return False
    return True


def may_be_added(key):
    """Whether `+key` is allowed: under a mapping that ships empty, or in a teacher's entry."""
    words = key.split(".")
    if is_key(key):
        return False  # an existing key needs no plus
    if words[0] == "teacher":
        return is_key(".".join(words[:2])) and is_key(".".join(["teacher_common", *words[2:]]))
    parents = [".".join(words[:length]) for length in range(1, len(words))]
    return get_value([parent for parent in parents if is_key(parent)][-1]) == {}


@cache
def list_targets():
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def list_anchors(page):
    """The link anchors of a page, made from its headings as GitHub does."""
    headings = re.findall(r"^#+ (.+)$", read_page(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_all_pages_are_listed(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert [ROOT / page for page in list_pages()] == MANUAL


@pytest.mark.parametrize("page", MANUAL, ids=lambda page: page.name)
def test_pages_are_up_to_date_with_make_docs(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert fill_blocks(page, read_page(page), find_blocks(read_page(page))) == read_page(page)


def test_every_committed_table_is_shown():
    """Each CSV of make ablation has its block among the tables, and its plot is shown."""
    shown = set(find_blocks(read_page(ROOT / "docs/tables.md")))
    committed = {path.stem for path in (ROOT / "metrics/ablation").glob("*.csv")}
    assert shown == committed and "models" in find_blocks(read_page(ROOT / "docs/networks.md"))
    pictures = re.findall(r"\(\.\./plots/ablation/(.+?)\.png\)", read_page(ROOT / "docs/tables.md"))
    assert set(pictures) == committed


def test_blocks_are_filled_between_their_markers():
    text, page = "a\n<!-- x: how -->\nold\n<!-- end x -->\nb", Path("docs/p.md")
    filled = fill_blocks(page, text, {"x": lambda: "new\n"})
    assert filled == "a\n<!-- x: how -->\nnew\n<!-- end x -->\nb"
    with pytest.raises(UserError, match=re.escape("docs/p.md: the pair of markers <!-- y: ... -->")):
        fill_blocks(page, text, {"y": str})
    with pytest.raises(UserError, match=re.escape("<!-- end x --> must occur exactly once")):
        fill_blocks(page, text + text, {"x": str})


@pytest.fixture
def manual(tmp_path, monkeypatch):
    """A copy of all files that make docs reads and writes, as the working folder."""
    for folder in ("docs", "metrics", "plots"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    (tmp_path / "benchmarks").mkdir()
    for name in ("README.md", "benchmarks/models_latency.csv", "benchmarks/zoo.csv"):
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_make_docs_restores_tables_and_draws_the_same_plots(manual, capsys):
    page = manual / "docs/tables.md"
    whole = page.read_text()
    page.write_text(
        BLOCK.sub(lambda block: block[0].splitlines()[0] + "\n" + block[0].splitlines()[-1], whole)
    )
    assert page.read_text() != whole
    main()
    pictures = [manual / networks.PICTURE, manual / demo.PICTURE]
    first = [picture.read_bytes() for picture in pictures]
    assert page.read_text() == whole and "curriculum-demo" in capsys.readouterr().out
    main()
    assert [picture.read_bytes() for picture in pictures] == first and first[1].startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_committed_pictures_are_those_of_the_committed_figures(manual):
    """Text may be drawn a shade differently elsewhere: fewer than one pixel in a thousand differs clearly."""
    main()
    for path in (networks.PICTURE, demo.PICTURE):
        drawn, committed = (
            np.asarray(Image.open(root / path).convert("L"), dtype=int) for root in (manual, ROOT)
        )
        assert drawn.shape == committed.shape, f"{path} (make docs)"
        assert (np.abs(drawn - committed) > 64).mean() < 0.001, f"{path} (make docs)"


def test_networks_are_grouped_by_their_smallest_size_or_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(networks, "ZOO", tmp_path / "zoo.csv")
    rows = ["a,timm/x,5,32,step", "b,timm/y,5,64,step", "d,timm/x,5,64,step", "c,timm/y,5,0,no logits"]
    header = "network,family,parameters,side,outcome"
    networks.ZOO.write_text("\n".join([header, *rows, "e,timm/y,40000000,0,too large to try"]))
    assert networks.format_zoo().splitlines()[2:] == [
        "| 32 x 32 | 1 | the others |",
        "| 64 x 64 | 2 | `timm/x`, `timm/y` |",
        "| refused: no logits | 1 | `c` |",
        "",
        "1 networks of 30 M parameters or more were not tried.",
    ]


def test_counts_by_hand():
    """Four pictures, one of class 1 mistaken for 10; a class that is only predicted has a row of zeros."""
    pairs = pd.DataFrame({"label": ["0", "1", "1", "0"], "prediction": ["0", "1", "10", "0"]})
    matrix = demo.count_pairs(pairs)
    assert list(matrix) == list(matrix.index) == ["0", "1", "10"]
    assert np.array_equal(matrix, [[2, 0, 0], [0, 1, 1], [0, 0, 0]])


def test_the_title_states_accuracies_and_intervals():
    own = {"accuracy": 0.96408, "accuracy_low": 0.95196, "accuracy_high": 0.97322}
    assert demo.format_title({"student": own}).endswith(": student 0.964 (0.952 to 0.973)")


@each_page
def test_relative_links_resolve(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", read_page(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in list_anchors(target), link


@each_page
def test_every_make_target_exists(page):
    named = {name for code in find_code(page) for name in re.findall(r"\bmake ([a-z][a-z-]*)", code)}
    assert named <= list_targets()


@each_page
def test_every_override_names_a_key(page):
    """`-S KEY=...` names a key of params.yaml; `+KEY` a new one where that is allowed."""
    code = "\n".join(find_code(page))
    code = re.sub(r'SET="(.*?)"', lambda words: " ".join(f"-S {word}" for word in words[1].split()), code)
    wrong = [
        sign + key
        for sign, key in sorted(set(OVERRIDE.findall(code)))
        if not (may_be_added(key) if sign == "+" else is_key(key))
    ]
    assert wrong == []


@each_page
def test_every_key_in_the_text_exists(page):
    """`section.key`, with or without a value, where `section` is one of params.yaml."""
    spans = re.findall(r"`([a-z_]+(?:\.[a-z_0-9]+)+)(?:[:=][^`]*)?`", read_page(page))
    assert [key for key in spans if key.split(".")[0] in read_params() and not is_key(key)] == []


@each_page
def test_every_source_and_module_exists(page):
    code = "\n".join(find_code(page))
    paths = {path for path in SOURCE.findall(code) if not re.search("NAME|distill_", path)}
    assert [path for path in paths if not (ROOT / path).exists()] == []
    modules = re.findall(r"python -m ((?:stages|tools|benchmarks)\.[a-z_]+)", code)
    assert [name for name in modules if not (ROOT / f"{name.replace('.', '/')}.py").exists()] == []


@each_page
def test_lines_are_short_outside_of_tables(page):
    lines = BLOCK.sub("", read_page(page)).splitlines()
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []


def test_readme_stays_short():
    assert len(read_page(ROOT / "README.md").splitlines()) <= 150


def test_readme_names_every_room():
    rooms = {path.parent.name for path in (ROOT / "src").glob("*/__init__.py")}
    for page in (ROOT / "README.md", ROOT / "docs/architecture.md"):
        assert rooms <= set(re.findall(r"^(?:    src/|\| `)([a-z]+)[/`]", read_page(page), re.MULTILINE))
