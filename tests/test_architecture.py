"""Architecture rules: rooms import in one order only, and dvc.yaml lists exactly what each stage uses."""

import ast
import dataclasses
import importlib
import re
import sys
from pathlib import Path

import pytest
import yaml

from src.ground.libraries import LIBRARIES, find_installed
from tools.deps import list_libraries, list_sources
from tools.schema import format_schema
from tools.sources import OURS, ROOMS, find_closure, find_imports, list_imported_sources

ROOT = Path(__file__).parent.parent
STAGES = sorted(path.stem for path in (ROOT / "stages").glob("*.py") if path.stem != "__init__")
SOURCES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "src").rglob("*.py"))
LIGHT = {"make_demo", "check_images", "make_curriculum"}  # stages that must not pay for importing torch
HEAVY = {"torch", "torchvision", "timm", "safetensors"}


@pytest.fixture(autouse=True)
def root(monkeypatch):
    """The import graph uses paths relative to the project's root."""
    monkeypatch.chdir(ROOT)


def parse_source(path):
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def find_room(path):
    return path.split("/")[1]


def read_stages():
    """Each stage's entry in dvc.yaml by script name; for a foreach, its body."""
    graph = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return {name: entry.get("do", entry) for name, entry in graph.items()}


def find_params(stage):
    """The keys that a stage's script reads, by its calls read(kind, key) and read_top(kind)."""
    keys, homes = set(), {}
    for node in ast.walk(parse_source(f"stages/{stage}.py")):
        if isinstance(node, ast.ImportFrom):
            homes |= {alias.name: node.module for alias in node.names}
    for node in ast.walk(parse_source(f"stages/{stage}.py")):
        name = getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
        if name == "read":
            keys |= {format_key(key) for key in [node.args[1], *(word.value for word in node.keywords)]}
        if name == "read_teachers":
            keys |= {"teacher", "teacher_common"}
        if name == "read_top":
            kind = getattr(importlib.import_module(homes[node.args[0].id]), node.args[0].id)
            keys |= {field.name for field in dataclasses.fields(kind)}
    return keys


def format_key(node):
    """A key as written in dvc.yaml, with ${item} for the fields of an f-string."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    return "".join(part.value if isinstance(part, ast.Constant) else "${item}" for part in parts)


def expand_braces(path):
    """Expand `a/{b,c}.d` to both paths."""
    head, _, rest = path.replace("${", "$<").partition("{")
    if not rest:
        return [path]
    choices, _, tail = rest.partition("}")
    return [f"{head}{choice}{tail}".replace("$<", "${") for choice in choices.split(",")]


def find_paths(stage, word):
    """The paths after `reads` or `writes` in a stage's docstring, where NAME is the item of a foreach."""
    docstring = ast.get_docstring(parse_source(f"stages/{stage}.py"))
    block = re.search(rf"^{word}\s+(.*(?:\n[ ]+.*)*)", docstring, re.MULTILINE)
    lines = block.group(1).splitlines() if block else []
    paths = [line.split()[0] for line in lines]
    return {path.replace("NAME", "${item}") for line in paths for path in expand_braces(line)}


def flatten_paths(entries):
    return {path for entry in entries for path in ([entry] if isinstance(entry, str) else entry)}


def test_every_file_is_in_a_room():
    assert {find_room(path) for path in SOURCES} == set(ROOMS)


def find_forbidden_imports(path):
    """Imports of a folder of ours that are no file of a room: relative ones, src as a whole, tools, ..."""
    return [n for n in find_imports(path) if n.split(".")[0] in ("", *OURS) and not n.startswith("src.")]


def test_imports_are_found_wherever_they_are(tmp_path, monkeypatch):
    """Indirect ones and those inside functions; a stage imports its package too."""
    monkeypatch.chdir(tmp_path)
    texts = {
        "stages/one.py": "from src.a.first import x",
        "stages/__init__.py": "import src.a.third",
        "src/a/first.py": "def f():\n    from src.a.second import y",
        "src/a/second.py": "from . import first\nfrom src import a\nimport tools.deps, torch",
        "src/a/third.py": "",
        "src/a/fourth.py": "",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert find_closure("stages/one.py") == {*texts} - {"src/a/fourth.py"}
    assert sorted(find_forbidden_imports("src/a/second.py")) == [".", "src", "tools.deps"]
    find_imports.cache_clear()  # the paths are those of the project too


@pytest.mark.parametrize("path", SOURCES)
def test_a_file_imports_only_its_own_or_earlier_rooms_without_cycles(path):
    above = ROOMS[: ROOMS.index(find_room(path)) + 1]
    others = list_imported_sources(path)
    assert [other for other in others if find_room(other) not in above or path in find_closure(other)] == []
    assert find_forbidden_imports(path) == []


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_documents_what_enters_what_leaves_and_what_to_touch(name):
    body = parse_source(f"src/{name}/__init__.py").body
    assert len(body) == 1, "must hold only a docstring: no stage depends on it"
    docstring = " ".join(body[0].value.value.split())
    assert all(word in docstring for word in ("Enters:", "Leaves:", "To touch:"))


@pytest.mark.parametrize("stage", STAGES)
def test_stage_imports_only_from_src_and_libraries(stage):
    assert find_forbidden_imports(f"stages/{stage}.py") == []


def test_dvc_yaml_has_every_stage():
    assert sorted(read_stages()) == STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_yaml_lists_exactly_the_sources(stage):
    """All that the script imports, directly or indirectly, except INERT; written by make deps."""
    listed = [path for path in read_stages()[stage]["deps"] if path.startswith(("src/", "stages/"))]
    assert listed == list_sources(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_yaml_lists_exactly_the_params(stage):
    assert {key for key in read_stages()[stage]["params"] if isinstance(key, str)} == find_params(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_yaml_lists_exactly_the_libraries(stage):
    """Those that the listed sources import and that can change a result, with the versions installed here."""
    (listed,) = [entry for entry in read_stages()[stage]["params"] if not isinstance(entry, str)]
    assert listed == {"libraries.yaml": list_libraries(stage)}
    versions = yaml.safe_load((ROOT / "libraries.yaml").read_text(encoding="utf-8"))
    assert versions == find_installed() and set(versions) >= set(list_libraries(stage))


def test_libraries_are_listed_where_they_are_used():
    """A new version of matplotlib measures again, and trains nothing."""
    users = {stage for stage in STAGES if "matplotlib" in list_libraries(stage)}
    assert users == {"evaluate"}
    assert {"simplejpeg", "xxhash", "pillow"} <= set(list_libraries("check_images"))
    assert {"torch", "timm", "torchvision", "safetensors", "kornia"} <= set(list_libraries("train_student"))
    imported = {name.partition(".")[0] for path in SOURCES for name in find_imports(path)}
    inert = {
        "src",
        "cloudpickle",
        "distributed",
        "jsonschema",
        "onnxruntime",
        "psutil",
        "ruamel",
        "tqdm",
        "yaml",
    }  # settings, display, ...
    assert imported - set(sys.stdlib_module_names) - set(LIBRARIES) == inert


@pytest.mark.parametrize("stage", STAGES)
def test_docstring_names_the_params(stage):
    docstring = ast.get_docstring(parse_source(f"stages/{stage}.py"))
    words = re.search(r"^params\s+(.*(?:\n[ ]+.*)*)", docstring, re.MULTILINE).group(1)
    assert {key.replace("NAME", "${item}") for key in re.split(r",\s+", words)} == find_params(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_docstring_names_what_is_read_and_written(stage):
    entry = read_stages()[stage]
    reads = {path for path in entry["deps"] if not path.startswith(("src/", "stages/"))}
    writes = flatten_paths(entry.get("outs", []) + entry.get("metrics", []) + entry.get("plots", []))
    assert reads == find_paths(stage, "reads")
    assert writes == find_paths(stage, "writes")


@pytest.mark.parametrize("stage", sorted(LIGHT))
def test_light_stages_do_not_import_torch(stage):
    libraries = {
        name.partition(".")[0] for path in find_closure(f"stages/{stage}.py") for name in find_imports(path)
    }
    assert not libraries & HEAVY


def test_no_unsafe_load():
    """No source unpickles anything."""
    unsafe = re.compile(r"pickle\.load|yaml\.load\(|weights_only=False|torch\.load\((?!.*weights_only=True)")
    sources = [path for folder in ("src", "stages", "demos") for path in (ROOT / folder).rglob("*.py")]
    assert sources and not [path for path in sources if unsafe.search(path.read_text())]


def test_the_schema_matches_the_dataclasses():
    """Written by make schema."""
    assert (ROOT / "params.schema.json").read_text(encoding="utf-8") == format_schema()
