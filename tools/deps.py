"""Write into dvc.yaml the sources that each stage depends on: its script and all that it reaches by imports.

An edit of a source then reruns the stages whose result it can change, and no other. The rooms' `__init__.py`
hold a docstring alone and are left out.

reads   stages/*.py, src/
writes  dvc.yaml
run     python -m tools.deps
"""

from pathlib import Path

from dvc.utils.serialize import modify_yaml

from src.ground.errors import run
from tools.sources import closure

GRAPH = Path("dvc.yaml")
SCRIPTS = ("stages/", "src/")


def main() -> None:
    with modify_yaml(GRAPH) as graph:
        for name, entry in graph["stages"].items():
            body = entry.get("do", entry)
            others = [path for path in body["deps"] if not path.startswith(SCRIPTS)]
            body["deps"] = [*sources_of(name), *others]
    print(f"{GRAPH}: the sources of {len(graph['stages'])} stages")


def sources_of(stage: str) -> list[str]:
    """A stage's script, then its sources sorted."""
    script = f"stages/{stage}.py"
    return [script, *sorted(closure(script) - {script})]


if __name__ == "__main__":
    run(main)
