"""The user's folders: their classes, and every file in them. No file is opened or written."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from src.ground.errors import UserError
from src.ground.validating import suggest
from src.pictures.junk import find_author
from src.pictures.layouts import SUFFIXES, explain_missing, is_folder
from src.pictures.manifest import SPLITS

HIDDEN = "hidden: the name begins with a dot"
HIDDEN_FOLDER = "hidden: in a folder whose name begins with a dot (rename the folder if it is a class)"
LOOSE = "in no class folder (move it into the folder of its class)"
DEEPER = "in a folder inside a class folder (move it up into the class folder)"
MOST = 10  # problems of one kind that are named


@dataclass(frozen=True)
class Split:
    """The files of one split; paths are relative to the data root."""

    name: str  # train, val or test
    files: list[tuple[str, str]]  # those to open: path, class; sorted
    passed: list[tuple[str, str]]  # those passed over for their name or place: path, reason; sorted

    def misplaced(self) -> list[tuple[str, str]]:
        """Those passed over that are pictures by their name: path, reason."""
        return [row for row in self.passed if row[1] in (LOOSE, DEEPER) and row[0].lower().endswith(SUFFIXES)]

    def count(self) -> dict[str, int]:
        """The number of files of each class."""
        return dict(Counter(name for _, name in self.files))


def scan(root: Path) -> tuple[list[Split], tuple[str, ...], list[str]]:
    """The three splits, the sorted classes of train, and warnings; a UserError for unusable folders."""
    problems = explain_missing(root)
    if problems:
        raise UserError(*problems)
    folders = {split: list_folders(root / split) for split in SPLITS}
    classes = tuple(folders["train"])
    if len(classes) < 2:
        raise UserError(count_classes(root / "train", classes))
    check_forms(root / "train", classes)
    named = {split: name_classes(folders[split], classes) for split in SPLITS}
    warnings = check_classes(root, named, classes)
    splits = [scan_split(root, split, named[split]) for split in SPLITS]
    warnings += [warning for split in splits for warning in warn_of_hidden(root, split)]
    empty = [split.name for split in splits if not split.files]
    if empty:
        raise UserError(*(f"{root / name}: no pictures (add some to its class folders)" for name in empty))
    return splits, classes, warnings


def list_folders(split: Path) -> list[str]:
    """The names of a split's class folders, sorted."""
    return [entry.name for entry in list_entries(split) if is_folder(entry) and not explain_name(entry.name)]


def list_entries(folder: Path) -> list[os.DirEntry[str]]:
    """The entries of a folder, sorted by name; a UserError for names that CSV files and DVC cannot hold."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror} (make it readable)") from None
    bad = [entry.name for entry in entries if not is_utf8(entry.name)]
    if bad:
        raise UserError(
            *(f"{folder}: the name {os.fsencode(name)!r} is not UTF-8 (rename it)" for name in bad)
        )
    return entries


def is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def explain_name(name: str) -> str:
    """Why an entry of this name is passed over; empty if it is not."""
    author = find_author(name)
    return f"junk of {author}" if author else HIDDEN if name.startswith(".") else ""


def count_classes(train: Path, classes: tuple[str, ...]) -> str:
    """The error for fewer than two class folders."""
    inner = [name for one in classes for name in list_folders(train / one)]
    if inner:
        return (
            f"{train}: 1 class folder, {classes[0]!r}, with {len(inner)} folders inside (if these are the "
            f"classes, move them up, and so in val and test)"
        )
    what = "1 class folder" if classes else "no class folders; is a disk not mounted?"
    return f"{train}: {what} (create one folder per class, at least 2)"


def normalise(name: str) -> str:
    """The name in Unicode's composed form: macOS decomposes letters, and both forms look the same."""
    return unicodedata.normalize("NFC", name)


def check_forms(train: Path, classes: tuple[str, ...]) -> None:
    """Refuse two classes whose names look the same."""
    first: dict[str, str] = {}
    twice = [(name, first[key]) for name in classes if first.setdefault(key := normalise(name), name) != name]
    if twice:
        raise UserError(
            *(
                f"{train / one}: looks like another folder, {ascii(one)} and {ascii(other)} are one name "
                "in two Unicode forms (move the pictures of one into the other)"
                for one, other in twice
            )
        )


def name_classes(folders: list[str], classes: tuple[str, ...]) -> list[tuple[str, str]]:
    """Each folder of a split with its class: that of train whose name is the same in any Unicode form."""
    names = {normalise(name): name for name in classes}
    return [(folder, names.get(normalise(folder), folder)) for folder in folders]


def check_classes(root: Path, named: dict[str, list[tuple[str, str]]], classes: tuple[str, ...]) -> list[str]:
    """Refuse a class missing from train, or empty there; warn of one that is missing from val or test."""
    known = set(classes)
    empty = [
        name
        for name in classes
        if all(explain_name(entry.name) for entry in list_entries(root / "train" / name))
    ]
    problems = [f"{root / 'train' / name}: no pictures (add some or remove the folder)" for name in empty]
    warnings, unknown = [], []
    for split in SPLITS[1:]:
        unknown += [(split, folder) for folder, name in named[split] if name not in known]
        warnings += [
            f"{root / split / folder}: taken for train's class, in another Unicode form"
            for folder, name in named[split]
            if name in known and name != folder
        ]
        missing = sorted(known - {name for _, name in named[split]})
        warnings += [
            f"{root / split}: no folder for class {name!r} of train, it is not measured here"
            for name in missing[:MOST]
        ]
        if len(missing) > MOST:
            warnings.append(f"{root / split}: and none for {len(missing) - MOST} other classes of train")
    problems += [
        f"{root / split / folder}: train has no class {folder!r}{suggest_class(folder, classes)} "
        "(rename, move or remove the folder)"
        for split, folder in unknown[:MOST]
    ]
    problems = problems[:MOST]
    more = len(empty) + len(unknown) - len(problems)
    if problems:
        raise UserError(*problems, *[f"{root}: {more} more such folders"] * (more > 0))
    return warnings


def suggest_class(folder: str, classes: tuple[str, ...]) -> str:
    """A question that offers the class that differs in case, spaces or width only, or else close ones."""

    def bare(name: str) -> str:
        return "".join(unicodedata.normalize("NFKC", name).casefold().split())

    same = [name for name in classes if bare(name) == bare(folder)]
    return f", did you mean {same[0]!r}?" if same else suggest(folder, classes)


def scan_split(root: Path, split: str, named: list[tuple[str, str]]) -> Split:
    """Every file of a split; whether it is a picture is checked on opening."""
    files, passed, classes = [], [], dict(named)
    for entry in list_entries(root / split):
        path, reason = f"{split}/{entry.name}", explain_name(entry.name)
        if not is_folder(entry):
            passed.append((path, reason or LOOSE))
        elif entry.name not in classes:
            inside = HIDDEN_FOLDER if reason == HIDDEN else reason
            passed += [(file, inside) for file in walk(root, path)]
        else:
            for inner in list_entries(root / path):
                reason = explain_name(inner.name)
                if is_folder(inner):
                    inside = HIDDEN_FOLDER if reason == HIDDEN else reason or DEEPER
                    passed += [(file, inside) for file in walk(root, f"{path}/{inner.name}")]
                elif reason:
                    passed.append((f"{path}/{inner.name}", reason))
                else:
                    files.append((f"{path}/{inner.name}", classes[entry.name]))
    return Split(split, sorted(files), sorted(passed))


def warn_of_hidden(root: Path, split: Split) -> Iterator[str]:
    """A warning for each hidden folder in place of a class folder."""
    places = (path.split("/") for path, reason in split.passed if reason == HIDDEN_FOLDER)
    counts = Counter(place[1] for place in places if place[1].startswith("."))
    for name, count in counts.items():
        files = f"{count} file{'s' * (count > 1)}"
        yield (
            f"{root / split.name / name}: {files} passed over, the name begins with a dot (rename the folder "
            "if it is a class)"
        )


def walk(root: Path, folder: str) -> Iterator[str]:
    """Every file below a folder, relative to the root; a link to a folder counts as one file."""
    for entry in list_entries(root / folder):
        path = f"{folder}/{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            yield from walk(root, path)
        else:
            yield path
