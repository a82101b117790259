"""Two laws: files import only inwards, and dvc.yaml lists exactly what each stage uses."""

import ast
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
RINGS = [
    ["errors", "files", "memory", "names", "params"],
    [
        "distributed",
        "manifest",
        "knowledge",
        "curriculum",
        "predictions",
        "decode",
        "letterbox",
        "batch",
        "losses",
        "labels",
        "averaging",
        "snapshot",
        "custom",
    ],
    [
        "models",
        "optim",
        "freezing",
        "prior",
        "pretrained",
        "mixing",
        "metrics",
        "demo",
        "folders",
        "curves",
        "runtime",
        "stopping",
        "resume",
    ],
    ["pictures", "targets", "augment", "checkpoint", "checking", "drawing", "predict"],
    ["data", "export", "training", "initial", "settings"],
]
STAGES = sorted(path.stem for path in (ROOT / "stages").glob("*.py") if path.stem != "__init__")
LIGHT = {"make_demo", "check_images", "make_curriculum"}  # stages that must not pay for importing torch
HEAVY = {"torch", "torchvision", "timm", "safetensors"}


def tree(path):
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def imported(path):
    """The full names of all modules that a file imports."""
    names = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module)
    return names


def closure(path):
    """The file itself and every source file that it reaches by imports."""
    reached, waiting = set(), [path]
    while waiting:
        current = waiting.pop()
        if current in reached:
            continue
        reached.add(current)
        for name in imported(current):
            assert name != "src", f"{current}: import the file, not the package"
            if name.startswith("src."):
                waiting.append(name.replace(".", "/") + ".py")
    return reached


def stages():
    """Each stage's entry in dvc.yaml under its script's name; a foreach's body without its item."""
    graph = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
    return {name: entry.get("do", entry) for name, entry in graph.items()}


def declared_params(stage):
    """The keys that a stage's script reads: the second argument of every read(kind, key)."""
    keys = set()
    for node in ast.walk(tree(f"stages/{stage}.py")):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "read":
            key = node.args[1]
            parts = key.values if isinstance(key, ast.JoinedStr) else [key]
            keys.add("".join(part.value if isinstance(part, ast.Constant) else "${item}" for part in parts))
    return keys


def braces(path):
    """`a/{b,c}.d` as both paths."""
    head, _, rest = path.replace("${", "$<").partition("{")
    if not rest:
        return [path]
    choices, _, tail = rest.partition("}")
    return [f"{head}{choice}{tail}".replace("$<", "${") for choice in choices.split(",")]


def contract(stage, word):
    """The paths after `reads` or `writes` in a stage's docstring, NAME standing for the item of a foreach."""
    docstring = ast.get_docstring(tree(f"stages/{stage}.py"))
    block = re.search(rf"^{word}\s+(.*(?:\n[ ]+.*)*)", docstring, re.MULTILINE)
    lines = block.group(1).splitlines() if block else []
    paths = [line.split()[0] for line in lines]
    return {path.replace("NAME", "${item}") for line in paths for path in braces(line)}


def paths_of(entries):
    return {path for entry in entries for path in ([entry] if isinstance(entry, str) else entry)}


def test_every_source_file_has_a_ring():
    assert sorted(sum(RINGS, [])) == sorted(
        p.stem for p in (ROOT / "src").glob("*.py") if p.stem != "__init__"
    )


def test_files_import_only_inwards():
    order = [name for ring in RINGS for name in ring]
    ring_of = {name: number for number, ring in enumerate(RINGS) for name in ring}
    outwards = []
    for name in order:
        for module in imported(f"src/{name}.py"):
            if module.startswith(("src.", "stages", "tests", "demos")):
                other = module.removeprefix("src.")
                if other not in order or ring_of[other] > ring_of[name] or closes_circle(name, other):
                    outwards.append(f"src/{name}.py imports {module}")
    assert not outwards


def closes_circle(name, other):
    return f"src/{name}.py" in closure(f"src/{other}.py")


@pytest.mark.parametrize("stage", STAGES)
def test_stage_imports_only_from_src_and_libraries(stage):
    assert not [
        name for name in imported(f"stages/{stage}.py") if name.startswith(("stages", "tests", "demos"))
    ]


def test_dvc_yaml_has_every_stage():
    assert sorted(stages()) == STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_yaml_lists_exactly_the_sources(stage):
    listed = {
        path for path in stages()[stage]["deps"] if path.endswith(".py") and not path.startswith("demos/")
    }
    assert listed == closure(f"stages/{stage}.py")


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_yaml_lists_exactly_the_params(stage):
    assert set(stages()[stage].get("params", [])) == declared_params(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_docstring_names_the_params(stage):
    docstring = ast.get_docstring(tree(f"stages/{stage}.py"))
    words = re.search(r"^params\s+(.*(?:\n[ ]+.*)*)", docstring, re.MULTILINE).group(1)
    assert {key.replace("NAME", "${item}") for key in re.split(r",\s+", words)} == declared_params(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_docstring_names_what_is_read_and_written(stage):
    entry = stages()[stage]
    reads = {path for path in entry["deps"] if not path.startswith(("src/", "stages/"))}
    writes = paths_of(entry.get("outs", []) + entry.get("metrics", []) + entry.get("plots", []))
    assert reads == contract(stage, "reads")
    assert writes == contract(stage, "writes")


@pytest.mark.parametrize("stage", sorted(LIGHT))
def test_light_stages_do_not_import_torch(stage):
    libraries = {name.partition(".")[0] for path in closure(f"stages/{stage}.py") for name in imported(path)}
    assert not libraries & HEAVY


def test_no_unsafe_load():
    """No file of the project unpickles anything."""
    unsafe = re.compile(r"pickle\.load|yaml\.load\(|weights_only=False|torch\.load\((?!.*weights_only=True)")
    sources = [path for folder in ("src", "stages", "demos") for path in (ROOT / folder).glob("*.py")]
    assert sources and not [path for path in sources if unsafe.search(path.read_text())]
