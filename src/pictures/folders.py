"""The user's folders: their classes and the files in them. No file is opened or written."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from src.ground.errors import UserError
from src.pictures.manifest import SPLITS

JUNK = {"Thumbs.db", "desktop.ini"}  # written by file managers, hidden on their own systems


@dataclass(frozen=True)
class Split:
    """The files of one split."""

    name: str  # train, val or test
    files: list[tuple[str, str]]  # path relative to the data root, class; sorted
    hidden: int  # number of entries ignored because their name starts with a dot or is in JUNK

    def count(self) -> dict[str, int]:
        """The number of files of each class."""
        return dict(Counter(name for _, name in self.files))


def scan(root: Path) -> tuple[list[Split], tuple[str, ...], list[str]]:
    """The three splits, the sorted classes of train, and warnings; a UserError for unusable folders."""
    if not root.is_dir():
        raise UserError(
            f"{root}: no such folder (set data.root to the folder that contains train, val and test)"
        )
    missing = [name for name in SPLITS if not (root / name).is_dir()]
    if missing:
        raise UserError(
            *(f"{root / name}: no such folder (create it, one folder per class inside)" for name in missing)
        )
    found = {name: list_classes(root / name) for name in SPLITS}
    classes = tuple(found["train"])
    if len(classes) < 2:
        raise UserError(
            f"{root / 'train'}: {len(classes)} class folders (create one folder per class, at least 2)"
        )
    warnings = check_classes(root, found, classes)
    splits = [scan_split(root, name, found[name]) for name in SPLITS]
    for split in splits:
        if not split.files:
            raise UserError(f"{root / split.name}: no pictures (add some to its class folders)")
    return splits, classes, warnings


def list_classes(split: Path) -> list[str]:
    """The names of a split's class folders, sorted."""
    names = []
    for entry in os.scandir(split):
        if is_hidden(entry.name):
            continue
        check_name(split, entry.name)
        if entry.is_dir():
            names.append(entry.name)
    return sorted(names)


def check_classes(root: Path, found: dict[str, list[str]], classes: tuple[str, ...]) -> list[str]:
    """Refuse a class missing from train, or empty there; warn of one that is missing from val or test."""
    warnings = []
    for name in classes:
        if not any(not is_hidden(entry.name) for entry in os.scandir(root / "train" / name)):
            raise UserError(f"{root / 'train' / name}: no pictures (add some or remove the folder)")
    for split in SPLITS[1:]:
        for name in found[split]:
            if name not in classes:
                raise UserError(
                    f"{root / split / name}: train has no class {name!r} (rename, move or remove the folder)"
                )
        for name in classes:
            if name not in found[split]:
                warnings.append(
                    f"{root / split}: no folder for class {name!r} of train, it is not measured here"
                )
    return warnings


def scan_split(root: Path, split: str, classes: list[str]) -> Split:
    """Every entry of every class folder that is not hidden; whether it is a picture is checked on opening."""
    files, hidden = [], 0
    for name in classes:
        for entry in os.scandir(root / split / name):
            if is_hidden(entry.name):
                hidden += 1
                continue
            check_name(root / split / name, entry.name)
            files.append((f"{split}/{name}/{entry.name}", name))
    return Split(split, sorted(files), hidden)


def is_hidden(name: str) -> bool:
    return name.startswith(".") or name in JUNK


def check_name(folder: Path, name: str) -> None:
    """Refuse a name that CSV files and DVC's cache cannot hold."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise UserError(f"{folder}: the name {os.fsencode(name)!r} is not UTF-8 (rename it)") from None
