"""Write the versions of the installed libraries into libraries.yaml, where DVC sees them as params.

writes  libraries.yaml
run     python -m tools.libraries
"""

from src.ground.errors import UserError, run
from src.ground.files import open_atomically
from src.ground.libraries import FILE, find_installed, read_recorded

HEADER = "# written by make libraries: the versions that can change a result; dvc.yaml lists who uses which\n"


def main() -> None:
    installed = find_installed()
    try:
        recorded = read_recorded()
    except UserError:
        recorded = {}
    if recorded == installed:
        return
    with open_atomically(FILE) as file:
        file.write(HEADER)
        file.writelines(f'{name}: "{version}"\n' for name, version in installed.items())
    for name, version in installed.items():
        if recorded and recorded.get(name) != version:
            print(f"{FILE}: {name} {recorded.get(name)}, now {version}: dvc repro reruns what uses it")


if __name__ == "__main__":
    run(main)
