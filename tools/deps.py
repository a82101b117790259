"""Write into dvc.yaml the sources that each stage depends on: its script and all that it reaches by imports.

An edit of a source then reruns the stages whose result it can change, and no other. The rooms' `__init__.py`
hold a docstring alone and are left out, and so is what INERT lists.

reads   stages/*.py, src/
writes  dvc.yaml
run     python -m tools.deps
"""

from pathlib import Path

from dvc.utils.serialize import modify_yaml

from src.ground.errors import run
from tools.sources import find_closure

GRAPH = Path("dvc.yaml")
SCRIPTS = ("stages/", "src/")
A_STATE = "a run that is never interrupted reads no state, and a restored one has the bits that were saved"
INERT = {  # sources that cannot change a result, and why; tests/test_inert.py does without them
    "src/training/display.py": "shows epochs and hands on the batches that it gets",
    "src/training/fingerprint.py": A_STATE,
    "src/training/resume.py": A_STATE,
    "src/training/snapshot.py": A_STATE,
    "src/training/state.py": A_STATE,
    "src/training/stopping.py": "ends a run between two steps, or does nothing",
}


def main() -> None:
    with modify_yaml(GRAPH) as graph:
        for name, entry in graph["stages"].items():
            body = entry.get("do", entry)
            others = [path for path in body["deps"] if not path.startswith(SCRIPTS)]
            body["deps"] = [*list_sources(name), *others]
    print(f"{GRAPH}: the sources of {len(graph['stages'])} stages")


def list_sources(stage: str) -> list[str]:
    """A stage's script, then the sources that can change its result, sorted."""
    script = f"stages/{stage}.py"
    return [script, *sorted(find_closure(script) - {script} - INERT.keys())]


if __name__ == "__main__":
    run(main)
