"""Make a root of links in which a share of train keeps its labels, and others lie in `unlabelled`.

Of each class this share of its pictures, drawn by a hash of their paths; val and test as they are.

reads   SOURCE, a folder of train, val and test
writes  TARGET/{train,val,test}/CLASS, TARGET/unlabelled
run     python -m benchmarks.tenth SOURCE TARGET [--share 0.1]
"""

from pathlib import Path

from src.ground.errors import Parser, UserError, run
from src.ground.files import sha256_of
from src.pictures.folders import list_folders
from src.pictures.manifest import SPLITS

LEAST = 2  # pictures of a class that keep their labels


def main() -> None:
    parser = Parser(prog="python -m benchmarks.tenth")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path, help="a folder that is not there yet")
    parser.add_argument("--share", type=float, default=0.1)
    given = parser.parse_args()
    if given.target.exists():
        raise UserError(f"{given.target}: is there already (remove it, or name another)")
    labelled = unlabelled = 0
    for split in SPLITS:
        for name in list_folders(given.source / split):
            paths = sorted((given.source / split / name).iterdir(), key=lambda path: sha256_of(path.name))
            keep = max(LEAST, round(given.share * len(paths))) if split == "train" else len(paths)
            link(paths[:keep], given.target / split / name, "")
            link(paths[keep:], given.target / "unlabelled", f"{name}-")
            if split == "train":
                labelled, unlabelled = labelled + keep, unlabelled + len(paths) - keep
    print(f"{given.target}: {labelled} pictures of train with labels, {unlabelled} without")


def link(paths: list[Path], folder: Path, prefix: str) -> None:
    """Links to the pictures in a folder, their names after a prefix."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        (folder / f"{prefix}{path.name}").symlink_to(path.absolute())


if __name__ == "__main__":
    run(main)
