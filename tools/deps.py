"""Write into dvc.yaml what each stage depends on: its script, the sources and libraries that it imports.

Indirect imports count too. Editing a source then reruns exactly the stages whose result it can change. The
rooms' `__init__.py`, which hold only a docstring, and the files in INERT with what only they import are left
out.

reads   stages/*.py, src/
writes  dvc.yaml
run     python -m tools.deps
"""

from pathlib import Path

from dvc.utils.serialize import modify_yaml

from src.ground.errors import run
from src.ground.libraries import FILE, LIBRARIES
from tools.sources import find_closure, find_imports

GRAPH = Path("dvc.yaml")
SCRIPTS = ("stages/", "src/")
PARTS = (".css", ".html", ".js", ".yaml")
A_STATE = "an uninterrupted run reads no state, and a resumed one restores exactly the bits that were saved"
INERT = {  # sources that cannot change a result, and why; tests/test_inert.py trains without them
    "src/training/display.py": "shows epochs and passes batches on unchanged",
    "src/training/fingerprint.py": A_STATE,
    "src/training/rehearsal.py": "builds trainings and throws them away, without drawing a random number",
    "src/training/resume.py": A_STATE,
    "src/training/snapshot.py": A_STATE,
    "src/training/state.py": A_STATE,
    "src/training/stopping.py": "stops a run between two steps, or does nothing",
}


def main() -> None:
    with modify_yaml(GRAPH) as graph:
        for name, entry in graph["stages"].items():
            body = entry.get("do", entry)
            others = [path for path in body["deps"] if not path.startswith(SCRIPTS)]
            body["deps"] = [*list_sources(name), *others]
            params = [entry for entry in body["params"] if isinstance(entry, str)]
            body["params"] = [*params, {str(FILE): list_libraries(name)}]
    print(f"{GRAPH}: the sources and libraries of {len(graph['stages'])} stages")


def list_libraries(stage: str) -> list[str]:
    """The packages that a stage's sources import and that can change its result, sorted."""
    modules = {
        name.partition(".")[0]
        for path in list_sources(stage)
        if path.endswith(".py")
        for name in find_imports(path)
    }
    return sorted(LIBRARIES[module] for module in modules & LIBRARIES.keys())


def list_sources(stage: str) -> list[str]:
    """A stage's script, followed by the sources that can change its result, sorted.

    The files of a room that are no Python, as the parts of a page, belong to whoever imports the room.
    """
    script = f"stages/{stage}.py"
    found = find_closure(script, without=INERT)
    rooms = {Path(path).parent for path in found if path.startswith("src/")}
    parts = {str(path) for room in rooms for path in room.iterdir() if path.suffix in PARTS}
    return [script, *sorted((found | parts) - {script})]


if __name__ == "__main__":
    run(main)
