"""How a user's folders are laid out: which is train, val and test, or what else there is and what to type."""

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from src.ground.errors import UserError, list_some
from src.pictures.junk import find_author
from src.pictures.manifest import SPLITS

SPELLINGS = {  # of the splits' folders, as `simplify` leaves them
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
OTHERS = {  # less certain ones, taken if none of the above is there
    "train": (),
    "val": ("dev", "eval", "evaluation"),
    "test": ("tests", "holdout"),
}
SYSTEM = ("bin", "boot", "dev", "etc", "lib", "lib64", "proc", "sbin", "sys", "usr")  # folders of /
SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".bmp", ".dib", ".webp", ".avif", ".tif",
    ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".heic", ".heif", ".jxl",
)  # fmt: skip
SUFFIX = re.compile("(set|data|split|images|imgs|pictures|20[0-9]{2})$")  # as in val2017
DEPTH = 3  # levels of folders that are searched
HERE, NO_LIST = ".", "none"
LIST_SUFFIX = ".csv"


@dataclass(frozen=True)
class Layout:
    """Where the pictures of each split are: folders relative to `root`; splits of one folder are divided."""

    root: Path
    train: str
    val: str
    test: str
    listed: str = NO_LIST  # a CSV in the root that names the pictures

    def parts(self) -> dict[str, str]:
        """The folder of each split, relative to the root."""
        return {"train": self.train, "val": self.val, "test": self.test}

    def list_overrides(self, parts: Mapping[str, str]) -> list[str]:
        """What to give `dvc exp run -S` for this layout where params.yaml has `parts`, quoted for a shell."""
        changed = {f"data.{split}": name for split, name in self.parts().items() if name != parts[split]}
        changed |= {} if self.listed == NO_LIST else {"data.list": self.listed}
        return [f"-S {quote(key, value)}" for key, value in changed.items()]


def quote(key: str, value: str) -> str:
    """An override KEY=VALUE of `dvc exp run -S`, quoted for DVC and for a shell where it must be."""
    if re.fullmatch(r"[\w./-]+", value, re.ASCII):
        return f"{key}={value}"
    return shlex.quote(f"{key}='" + value.replace("'", r"\'") + "'")


def find_layout(root: Path) -> Layout:
    """The layout of a folder of pictures, or of a CSV file that lists them; no picture is opened.

    Splits are folders named train, val and test or one of their other spellings, in any case; one that is
    missing shares train's folder. Without any of them the class folders are the root's own. What is neither
    is a UserError of one line.
    """
    if root.suffix.lower() == LIST_SUFFIX and root.is_file():
        return Layout(root.parent, HERE, HERE, HERE, root.name)
    if not root.is_dir():
        raise UserError(explain_root(root))
    check_readable(root)
    found = {split: find_spellings(root, split) for split in SPLITS}
    problems = [*find_twice(root, found)]
    if problems:
        raise UserError(problems[0])
    names = {split: name for split, (name, *_) in found.items() if name}
    if "train" in names:
        return Layout(
            root, names["train"], names.get("val", names["train"]), names.get("test", names["train"])
        )
    if is_of_system(root):
        raise UserError(f"{root}: a folder of the system (set data.root to the folder of your pictures)")
    if names:
        there = " and ".join(map(repr, names.values()))
        raise UserError(
            f"{root}: {there}, but no folder for train (move its class folders into {root / 'train'}, or "
            "rename what is a class)"
        )
    if problem := explain_classes(root):
        raise UserError(problem)
    return Layout(root, HERE, HERE, HERE)


def find_spellings(root: Path, split: str) -> tuple[str, ...]:
    """The names of the folders that are the split by their name and hold class folders; ("",) if none."""
    folders = [folder.name for folder in list_folders(root)]
    for words in (SPELLINGS[split], OTHERS[split]):
        named = [name for name in folders if simplify(name) in words]
        for name in named:
            check_readable(root / name)
        alike = tuple(name for name in named if holds_classes(root / name))
        if alike:
            return alike
    return ("",)


def check_readable(folder: Path) -> None:
    """A UserError for a folder that may not be looked into."""
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror} (make it readable)") from None


def find_twice(root: Path, found: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """One line per split that is there under two names."""
    for split, names in found.items():
        if len(names) > 1:
            yield (
                f"{root}: {' and '.join(map(repr, names))} are both a name of {split} (move the pictures of "
                "one into the other, or one folder away)"
            )


def explain_classes(root: Path) -> str:
    """Why a root without train, val and test is no folder of class folders either; empty if it is."""
    folders = [folder for folder in list_folders(root) if holds_pictures(folder, depth=1)]
    loose = list_pictures(root)
    deeper = find_deeper(root)
    if len(deeper) == 1:
        return f"{root}: no train, val and test, but they are in {deeper[0]} (set data.root to {deeper[0]})"
    if deeper:
        return (
            f"{root}: no train, val and test, but in each of {len(deeper)} folders, first {deeper[0]} (if "
            "they are the classes, swap the levels: train/CLASS, val/CLASS, test/CLASS; else set data.root "
            "to one)"
        )
    if loose and folders:
        return (
            f"{root}: pictures ({list_some(loose, 3)}) beside class folders "
            f"({list_some([folder.name for folder in folders], 3)}) (move each into the folder of its class)"
        )
    if loose:
        return (
            f"{root}: pictures ({list_some(loose, 3)}) in no class folder (move them into a folder per "
            "class, or write a CSV list with the header path,label: see docs/own-pictures.md)"
        )
    if len(folders) == 1:
        inner = [folder for folder in list_folders(folders[0]) if holds_pictures(folder, depth=1)]
        if len(inner) >= 2:
            return f"{root}: 1 folder, with {len(inner)} folders inside (set data.root to {folders[0]})"
        return f"{root}: 1 class folder, {folders[0].name!r} (create one folder per class, at least 2)"
    if not folders:
        return f"{root}: no train, val and test and no class folders with pictures (is a disk not mounted?)"
    return ""


def explain_parts(root: Path, parts: Mapping[str, str], grouped: bool) -> list[str]:
    """One line per problem of a root with the folders that params.yaml names; empty if they are there.

    With `grouped` there may be folders in class folders, so that one of these may be called train.
    """
    if not root.is_dir():
        return [explain_list(find_layout(root), parts) if is_list(root) else explain_root(root)]
    missing = [name for name in dict.fromkeys(parts.values()) if not (root / name).is_dir()]
    if missing and is_of_system(root):
        return [f"{root}: a folder of the system (set data.root to the folder of your pictures)"]
    here = HERE in parts.values()
    if missing or (here and find_spellings(root, "train") != ("",) and not (grouped and find_others(root))):
        layout = find_layout(root)
        there = f"no folder {', '.join(map(repr, missing))}" if missing else "it holds folders of splits"
        return [
            f"{root}: {there}, but {describe(layout)} ({spell_remedy(root, layout.list_overrides(parts))})"
        ]
    found = {} if here else {split: find_spellings(root, split) for split in SPLITS}
    return [*find_twice(root, found), *find_same(root, parts)]


def find_others(root: Path) -> list[str]:
    """The folders with pictures whose names are those of no split."""
    words = {word for spellings in (SPELLINGS, OTHERS) for names in spellings.values() for word in names}
    folders = (folder for folder in list_folders(root) if simplify(folder.name) not in words)
    return [folder.name for folder in folders if holds_pictures(folder, depth=1)]


def warn_of_unread(root: Path, parts: Mapping[str, str], unlabelled: Sequence[str]) -> Iterator[str]:
    """A warning of folders with pictures beside those in `parts` and those without labels."""
    used = {Path(part) for part in (*parts.values(), *unlabelled)}
    used |= {parent for part in used for parent in part.parents}
    for place in sorted({part.parent for part in map(Path, parts.values()) if part != Path(HERE)}):
        unread = [
            folder.name for folder in list_folders(root / place)
            if place / folder.name not in used and holds_pictures(folder, depth=1)
        ]  # fmt: skip
        if unread:
            yield (
                f"{root / place}: folders that are not read: {list_some(unread)} (move pictures of classes "
                "into the folders of splits; if all these are classes, set data.train, data.val and "
                "data.test to . and data.split.group to subfolder)"
            )


def describe(layout: Layout) -> str:
    """A layout in words."""
    if layout.train == HERE:
        return "class folders, which can be divided"
    own = {
        name: [split for split, one in layout.parts().items() if one == name]
        for name in layout.parts().values()
    }
    return ", ".join(f"{name!r} can be {' and '.join(splits)}" for name, splits in own.items())


def is_list(path: Path) -> bool:
    return path.suffix.lower() == LIST_SUFFIX and path.is_file()


def explain_list(layout: Layout, parts: Mapping[str, str]) -> str:
    """What to do about a root that is a CSV file."""
    overrides = [f"-S {quote('data.root', str(layout.root))}", *layout.list_overrides(parts)]
    path = layout.root / layout.listed
    return f"{path}: a list of pictures, not their folder ({spell_remedy(path, overrides)})"


def spell_remedy(path: Path, overrides: Sequence[str]) -> str:
    """The commands that set a layout."""
    return f"dvc exp run {' '.join(overrides)}, or make init DATA={shlex.quote(str(path))}"


def explain_root(root: Path) -> str:
    """Why the root itself cannot be used; DVC does not expand `~` and variables, so nor does this."""
    text = str(root)
    expanded = os.path.expandvars(os.path.expanduser(text))
    if expanded != text:
        return f"params.yaml: data.root: {text}: no such folder, ~ and $ are not expanded (write {expanded})"
    bare = text.strip(" \t\r\n'\"")
    if bare != text and Path(bare).is_dir():
        return f"params.yaml: data.root: {text!r}: spaces or quotes are part of it (write {bare})"
    if re.match(r"[A-Za-z]:[\\/]", text):
        inside = f"/mnt/{text[0].lower()}/{text[3:]}".replace("\\", "/")
        return f"params.yaml: data.root: {text}: a path of Windows (inside WSL it is {inside})"
    if "://" in text or text.startswith(("s3:", "gs:", "http:", "https:", "file:")):
        return (
            f"params.yaml: data.root: {text}: not a folder of this machine (copy the pictures to a disk here)"
        )
    if root.exists():
        return f"{root}: a file, not a folder (unpack it, and set data.root to the folder)"
    there = next(parent for parent in root.absolute().parents if parent.exists())
    return (
        f"{root}: no such folder (set data.root to the folder of your pictures; {there} is there: is a disk "
        "not mounted?)"
    )


def is_of_system(folder: Path) -> bool:
    """Whether a folder is /, whose folders are the system's, or in one of them: nobody should move these."""
    return folder.resolve().parts[1:2] in ((), *((name,) for name in SYSTEM))


def find_same(root: Path, parts: Mapping[str, str]) -> Iterator[str]:
    """One line per split whose folder is a link to another's."""
    for first, second in combinations(parts, 2):
        one, other = parts[first], parts[second]
        if Path(one) != Path(other) and (root / one).samefile(root / other):
            yield f"{root / other}: the same folder as {first} (each picture may be in one split only)"


def simplify(name: str) -> str:
    """A folder's name in lower case, without spaces and signs, and without what may follow a split's name."""
    return SUFFIX.sub("", re.sub(r"[\W_]", "", name.lower()))


def holds_classes(folder: Path) -> bool:
    """Whether a folder has folders with pictures in them, directly or one level deeper."""
    return any(holds_pictures(inner, depth=1) for inner in list_folders(folder))


def holds_pictures(folder: Path, depth: int) -> bool:
    """Whether there is a file that is a picture by its name in a folder, or at most `depth` levels deeper."""
    if next(iterate_pictures(folder), None):
        return True
    return depth > 0 and any(holds_pictures(inner, depth - 1) for inner in list_folders(folder))


def list_pictures(folder: Path) -> list[str]:
    """The names of the files in a folder that are pictures by their name, sorted."""
    return sorted(iterate_pictures(folder))


def iterate_pictures(folder: Path) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                hidden = entry.name.startswith(".") or find_author(entry.name)
                if entry.name.lower().endswith(SUFFIXES) and not hidden:
                    yield entry.name
    except OSError:
        return


def holds_train(root: Path) -> bool:
    """Whether there are pictures in a folder that seems to be train, of classes or of one class."""
    folders = (one for one in list_folders(root) if simplify(one.name) in SPELLINGS["train"])
    return any(holds_pictures(one, depth=2) for one in folders)


def find_deeper(root: Path) -> list[Path]:
    """The folders of the first level, at most DEPTH below the root, with pictures in a train of any name."""
    level = list_folders(root)
    for _ in range(DEPTH):
        found = [folder for folder in level if holds_train(folder)]
        if found:
            return found
        level = [inner for folder in level for inner in list_folders(folder)]
    return []


def list_folders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted, except hidden ones and what systems leave there."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return []
    return [
        folder / entry.name
        for entry in entries
        if is_folder(entry) and not entry.name.startswith(".") and not find_author(entry.name)
    ]


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; a link to itself is not."""
    try:
        return entry.is_dir()
    except OSError:
        return False
