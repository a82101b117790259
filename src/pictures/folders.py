"""The user's folders or list: their classes, and every file. No picture is opened, nothing is written."""

import os
import unicodedata
from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import overload

from src.ground.errors import UserError, list_some
from src.ground.texts import Texts
from src.ground.validating import suggest
from src.pictures.junk import find_author
from src.pictures.layouts import SUFFIXES, explain_parts, is_folder, warn_of_unread
from src.pictures.manifest import SPLITS
from src.pictures.settings import DataSettings

HIDDEN = "hidden: the name begins with a dot"
HIDDEN_FOLDER = "hidden: in a folder whose name begins with a dot (rename the folder if it is a class)"
LOOSE = "in no class folder (move it into the folder of its class)"
DEEPER = (
    "in a folder inside a class folder (move it up into the class folder, or set data.split.group: subfolder)"
)
DEEPEST = "in a folder inside that of a group (move it up into that folder, or list the pictures: data.list)"
MOST = 10  # problems of one kind that are named
MISPLACED = (LOOSE, DEEPER, DEEPEST)
FEWEST = 2  # pictures of a class
SUBFOLDER = "subfolder"  # of data.split.group
OUTPUTS = Path("data/manifest")  # of this project, in no folder of pictures


class Files(Sequence[tuple[str, str]]):
    """N files, path and class, in few bytes."""

    def __init__(self, files: Sequence[tuple[str, str]]):
        self.paths = Texts(path for path, _ in files)
        self.names = list(dict.fromkeys(name for _, name in files))
        number_of = {name: number for number, name in enumerate(self.names)}
        self.labels = array("i", (number_of[name] for _, name in files))

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return zip(self.paths, map(self.names.__getitem__, self.labels), strict=True)

    @overload
    def __getitem__(self, rows: int) -> tuple[str, str]: ...

    @overload
    def __getitem__(self, rows: slice) -> list[tuple[str, str]]: ...

    def __getitem__(self, rows: int | slice) -> tuple[str, str] | list[tuple[str, str]]:
        if isinstance(rows, slice):
            return [self[number] for number in range(len(self))[rows]]
        return self.paths[rows], self.names[self.labels[rows]]


@dataclass(frozen=True)
class Source:
    """Files of one split, or of several, among which they are divided; paths are relative to the root."""

    splits: tuple[str, ...]  # of train, val and test, in this order
    folder: str  # relative to the root
    files: Sequence[tuple[str, str]]  # those to open: path, class; sorted
    passed: list[tuple[str, str]]  # those passed over for their name or place: path, reason; sorted
    subfolders: dict[str, str] = field(default_factory=dict)  # path -> folder inside the class folder

    @property
    def name(self) -> str:
        """Its splits in words."""
        return ", ".join(self.splits[:-1]) + " and " * (len(self.splits) > 1) + self.splits[-1]

    def misplaced(self) -> list[tuple[str, str]]:
        """Those passed over that are pictures by their name: path, reason."""
        return [row for row in self.passed if row[1] in MISPLACED and row[0].lower().endswith(SUFFIXES)]

    def count(self) -> Counter[str]:
        """The number of files of each class."""
        return Counter(name for _, name in self.files)


def scan(data: DataSettings) -> tuple[list[Source], tuple[str, ...], list[str]]:
    """The files by the splits they go to, the sorted classes, and warnings; a UserError for unusable folders.

    The first source is that of train.
    """
    root, parts = Path(data.root), data.parts()
    deeper = data.split.group == SUBFOLDER
    problems = explain_parts(root, parts, deeper)
    if problems:
        raise UserError(*problems)
    folders = {Path(folder): folder for folder in parts.values()}
    check_outputs([root / folder for folder in folders])
    splits = {
        folder: tuple(split for split in SPLITS if Path(parts[split]) == path)
        for path, folder in folders.items()
    }
    without = [root / name for name in data.unlabelled]
    inside = {folder: list_folders(root / folder, without) for folder in splits}
    classes = tuple(inside[folders[Path(data.train)]])
    if len(classes) < 2:
        raise UserError(count_classes(root / data.train, classes))
    check_forms(root / data.train, classes)
    named = {folder: name_classes(inside[folder], classes) for folder in splits}
    warnings = check_classes(root, data.train, named, classes)
    sources = [scan_folder(root, folder, splits[folder], named[folder], deeper, without) for folder in splits]
    warnings += [warning for source in sources for warning in warn_of_hidden(root, source)]
    warnings += [*warn_of_unread(root, parts, data.unlabelled), *warn_of_links(root, sources)]
    empty = [source for source in sources if not source.files]
    if empty:
        raise UserError(*(explain_empty(root, source) for source in empty))
    counts = sum((source.count() for source in sources), Counter())
    check_few(counts, classes, str(root))
    return sources, classes, warnings


def explain_empty(root: Path, source: Source) -> str:
    """Why a folder has no picture to open."""
    for path, reason in source.misplaced():
        return f"{root / path}: {reason}"
    return f"{root / source.folder}: no pictures (add some to its class folders)"


def check_outputs(folders: Sequence[Path]) -> None:
    """Refuse a folder of pictures that holds what this project writes."""
    for folder in folders:
        if OUTPUTS.absolute().is_relative_to(folder.resolve()):
            raise UserError(
                f"{folder}: holds this project's own data folder (keep the pictures in train, val and test "
                "in it, or outside of the project)"
            )


def check_few(counts: Mapping[str, int], classes: Sequence[str], place: str) -> None:
    """Refuse classes of too few pictures to learn from one and to measure by another."""
    few = [name for name in classes if counts.get(name, 0) < FEWEST]
    if few:
        raise UserError(
            f"{place}: fewer than {FEWEST} pictures of {len(few)} class{'es' * (len(few) > 1)}: "
            f"{list_some([f'{name} {counts.get(name, 0)}' for name in few])} (add some or remove the class)"
        )


def list_folders(split: Path, without: Collection[Path] = ()) -> list[str]:
    """The names of a split's class folders, sorted; those `without` labels are none."""
    return [
        entry.name
        for entry in list_entries(split)
        if is_folder(entry) and not explain_name(entry.name) and split / entry.name not in without
    ]


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


def check_classes(
    root: Path, train: str, named: dict[str, list[tuple[str, str]]], classes: tuple[str, ...]
) -> list[str]:
    """Refuse a class missing from train, or empty there; warn of one that is missing from val or test.

    `train` is train's folder; `named` has the class folders of each folder, and their classes.
    """
    known = set(classes)
    empty = [
        name
        for name in classes
        if all(explain_name(entry.name) for entry in list_entries(root / train / name))
    ]
    problems = [f"{root / train / name}: no pictures (add some or remove the folder)" for name in empty]
    warnings, unknown = [], []
    for place in named:
        if place == train:
            continue
        unknown += [(place, folder) for folder, name in named[place] if name not in known]
        warnings += [
            f"{root / place / folder}: taken for train's class, in another Unicode form"
            for folder, name in named[place]
            if name in known and name != folder
        ]
        missing = sorted(known - {name for _, name in named[place]})
        warnings += [
            f"{root / place}: no folder for class {name!r} of train, it is not measured here"
            for name in missing[:MOST]
        ]
        if len(missing) > MOST:
            warnings.append(f"{root / place}: and none for {len(missing) - MOST} other classes of train")
    problems += [
        f"{root / place / folder}: train has no class {folder!r}{suggest_class(folder, classes)} "
        "(rename, move or remove the folder)"
        for place, folder in unknown[:MOST]
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


def scan_folder(
    root: Path,
    folder: str,
    splits: tuple[str, ...],
    named: list[tuple[str, str]],
    deeper: bool,
    without: Collection[Path],
) -> Source:
    """Every file of a folder of class folders; whether it is a picture is checked on opening.

    With `deeper`, files in a folder inside a class folder are taken, and so is that folder's name. Folders
    `without` labels are left out.
    """
    classes, start = dict(named), "" if Path(folder) == Path() else f"{Path(folder)}/"
    files: list[tuple[str, str]] = []
    source = Source(splits, folder, files, [])
    for entry in list_entries(root / folder):
        path, reason = f"{start}{entry.name}", explain_name(entry.name)
        if root / path in without:
            continue
        if not is_folder(entry):
            source.passed.append((path, reason or LOOSE))
        elif entry.name not in classes:
            source.passed.extend(pass_over(root, path, reason))
        else:
            scan_class(root, path, classes[entry.name], files, source, deeper)
    source.passed.sort()
    return replace(source, files=Files(sorted(files)))


def scan_class(
    root: Path,
    folder: str,
    name: str,
    files: list[tuple[str, str]],
    source: Source,
    deeper: bool,
    beyond: str = DEEPER,
) -> None:
    """Add every file of a class folder; what lies in folders inside is passed over as `beyond` says."""
    for entry in list_entries(root / folder):
        path, reason = f"{folder}/{entry.name}", explain_name(entry.name)
        if reason and not is_folder(entry):
            source.passed.append((path, reason))
        elif not is_folder(entry):
            files.append((path, name))
        elif reason or not deeper:
            source.passed.extend(pass_over(root, path, reason or beyond))
        else:
            first = len(files)
            scan_class(root, path, name, files, source, False, DEEPEST)
            source.subfolders.update((file, entry.name) for file, _ in files[first:])


def pass_over(root: Path, folder: str, reason: str) -> Iterator[tuple[str, str]]:
    """Every file below a folder with the reason why it is not opened."""
    inside = HIDDEN_FOLDER if reason == HIDDEN else reason
    return ((file, inside) for file in walk(root, folder))


def warn_of_hidden(root: Path, source: Source) -> Iterator[str]:
    """A warning for each hidden folder in place of a class folder."""
    depth = len(Path(source.folder).parts)
    places = (path.split("/") for path, reason in source.passed if reason == HIDDEN_FOLDER)
    counts = Counter(place[depth] for place in places if place[depth].startswith("."))
    for name, count in counts.items():
        files = f"{count} file{'s' * (count > 1)}"
        yield (
            f"{root / source.folder / name}: {files} passed over, the name begins with a dot (rename the "
            "folder if it is a class)"
        )


def warn_of_links(root: Path, sources: Sequence[Source]) -> Iterator[str]:
    """A warning of links to folders in the folders that DVC watches: it follows links to files alone."""
    linked = []
    for source in sources:
        start = Path(source.folder)
        folders = {path.rpartition("/")[0] for path, _ in source.files}
        inside = {parent for one in folders for parent in (Path(one), *Path(one).parents)}
        linked += sorted(one for one in inside - {start, *start.parents} if (root / one).is_symlink())
    if linked:
        count = f"{len(linked)} links" if len(linked) > 1 else "a link"
        yield (
            f"{root / linked[0]}: {count} to a folder, in which DVC sees no change (after one: dvc repro -sf "
            "check_images, then make repro; or put the folder itself there)"
        )


def walk(root: Path, folder: str) -> Iterator[str]:
    """Every file below a folder, relative to the root; a link to a folder counts as one file."""
    for entry in list_entries(root / folder):
        path = f"{folder}/{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            yield from walk(root, path)
        else:
            yield path
