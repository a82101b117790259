"""Pictures without labels, which only teachers can tell a student about: the format of their lists.

Of a folder NAME of the root, data/unlabelled/NAME.csv has a row `path,hash` per accepted picture, its path
relative to the data root; data/unlabelled/NAME.npy is their pack. N pictures, H height, W width in pixels.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from src.ground.errors import UserError, list_some
from src.ground.files import open_atomically, parse_csv, start_csv
from src.pictures.checking import Checks
from src.pictures.folders import Files, Source, explain_name, list_folders, walk
from src.pictures.ledger import PASSED, REFUSED, TAKEN
from src.pictures.manifest import CLASSES, SPLITS, read_digests
from src.pictures.reading import Joined, Pictures, open_pictures

FOLDER = Path("data/unlabelled")
COLUMNS = ["path", "hash"]
REMEDY = "(dvc repro -f check_unlabelled writes it)"


@dataclass(frozen=True)
class Unlabelled:
    """The accepted pictures of all folders without labels, in the order of the folders."""

    paths: list[str]  # (N,)
    pictures: list[Pictures]  # uint8 (n, H, W, 3) of each folder, as train's are


def choose_name(arguments: Sequence[str], known: Sequence[str]) -> str:
    """The only argument of a command line, one of data.unlabelled."""
    if len(arguments) != 1 or arguments[0] not in known:
        given = " ".join(arguments) or "nothing"
        raise UserError(
            f"check_unlabelled: needs one folder, got {given!r} (data.unlabelled has {list_some(known)})"
        )
    return arguments[0]


def scan_unlabelled(root: Path, name: str) -> Source:
    """Every file of a folder of the root, at any depth; no picture is opened."""
    if not (root / name).is_dir():
        raise UserError(f"{root / name}: no such folder (create it, or take it out of data.unlabelled)")
    files, passed = [], []
    for path in walk(root, name):
        reasons = [explain_name(part) for part in path.split("/")[1:]]
        reason = next(filter(None, reasons), "")
        if reason:
            passed.append((path, reason))
        else:
            files.append((path, ""))
    if not files:
        raise UserError(f"{root / name}: no pictures (add some, or take it out of data.unlabelled)")
    return Source(("train",), name, Files(files), passed)


def judge(checks: Checks) -> list[tuple[str, str]]:
    """The verdict on each file and its reason, (N,): those of val and test are refused, repeated ones too."""
    known = {digest: split for split in reversed(SPLITS) for digest in read_digests(split)}
    seen: dict[str, str] = {}
    verdicts = []
    for (path, _), reason, digest in zip(
        checks.source.files, checks.reasons, checks.digests.astype(str), strict=True
    ):
        if not reason and digest in known and known[digest] != "train":
            reason = f"in {known[digest]}: the networks would be measured on what they learn (remove it)"
        if reason:
            verdicts.append((REFUSED, reason))
        elif digest in known:
            verdicts.append((PASSED, "in train, with its label"))
        elif digest in seen:
            verdicts.append((PASSED, f"repeated: the same pixels as {seen[digest]}"))
        else:
            seen[digest] = path
            verdicts.append((TAKEN, ""))
    return verdicts


def warn_of_classes(folder: Path, classes: Sequence[str]) -> Iterator[str]:
    """A warning if there are folders that are named like classes."""
    found = [name for name in list_folders(folder) if name in classes]
    if found:
        yield (
            f"warning: {folder}: has folders of classes, {list_some(found)}, but their names are not looked "
            "at (move them into train if they are labels)"
        )


def list_path(name: str) -> Path:
    return FOLDER / f"{name}.csv"


def files_path(name: str) -> Path:
    return FOLDER / f"{name}.files.csv"


def pack_path(name: str) -> Path:
    return FOLDER / f"{name}.npy"


def find_dropped_lists(names: Sequence[str]) -> list[Path]:
    """What was written of folders that are no longer listed; it is still part of the hash of FOLDER."""
    kinds = (list_path, files_path, pack_path)
    kept = [FOLDER / CLASSES.name, *(kind(name) for name in names for kind in kinds)]
    return [path for path in sorted(FOLDER.glob("*")) if path not in kept]


def write_list(name: str, rows: Sequence[tuple[str, str]]) -> None:
    """Write the path and hash of each picture of a folder."""
    with open_atomically(list_path(name)) as file:
        writer = start_csv(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)


def read_unlabelled(names: Sequence[str], fit: str, dct_scaling: bool) -> Unlabelled:
    """The pictures of these folders; none for no folder."""
    paths: list[str] = []
    pictures: list[Pictures] = []
    for name in names:
        own = read_list(name)
        paths += own
        pictures.append(open_pictures(pack_path(name), own, fit, dct_scaling))
        if len(pictures[-1]) != len(own):
            raise UserError(f"{pack_path(name)}: {len(pictures[-1])} pictures for {len(own)} rows {REMEDY}")
    return Unlabelled(paths, pictures)


def read_list(name: str) -> list[str]:
    path = list_path(name)
    rows = parse_csv(io.BytesIO(path.read_bytes()), path)
    if next(rows, (1, []))[1] != COLUMNS:
        raise UserError(f"{path}: line 1: must be {','.join(COLUMNS)} {REMEDY}")
    found = []
    for line, row in rows:
        if len(row) != len(COLUMNS):
            raise UserError(f"{path}: line {line}: {len(row)} values, not {len(COLUMNS)} {REMEDY}")
        found.append(row[0])
    return found


def join_pictures(labelled: Pictures, unlabelled: Unlabelled) -> Pictures:
    """Both after another; those with labels alone if there are no others."""
    return Joined([labelled, *unlabelled.pictures]) if unlabelled.paths else labelled
