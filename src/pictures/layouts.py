"""What to do with a data root that lacks train, val or test: what is there instead, and what to type."""

import os
import re
import shlex
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

from src.pictures.manifest import SPLITS

ALIASES = {  # other names of the splits, as `simplify` leaves them
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev", "eval", "evaluation"),
    "test": ("test", "testing", "tests", "holdout"),
}
SYSTEM = ("bin", "boot", "dev", "etc", "lib", "lib64", "proc", "sbin", "sys", "usr")  # folders of /
SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".bmp", ".dib", ".webp", ".avif", ".tif",
    ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".heic", ".heif", ".jxl",
)  # fmt: skip
SUFFIX = re.compile("(set|data|split|images|imgs|pictures|20[0-9]{2})$")  # as in val2017
DEPTH = 3  # levels of folders that are searched


def explain_missing(root: Path) -> list[str]:
    """One line per problem; empty if train, val and test are there."""
    if not root.is_dir():
        return [explain_root(root)]
    missing = [split for split in SPLITS if not (root / split).is_dir()]
    if missing and is_of_system(root):
        return [f"{root}: a folder of the system (set data.root to the folder of your pictures)"]
    if len(missing) == len(SPLITS) and not any(find_alias(root, split) for split in SPLITS):
        return [explain_level(root)]
    return [explain_split(root, split) for split in missing] or [*find_same(root)]


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
        f"{root}: no such folder (set data.root to the folder that contains train, val and test; {there} is "
        "there: is a disk not mounted?)"
    )


def is_of_system(folder: Path) -> bool:
    """Whether a folder is /, whose folders are the system's, or in one of them: nobody should move these."""
    return folder.resolve().parts[1:2] in ((), *((name,) for name in SYSTEM))


def find_same(root: Path) -> Iterator[str]:
    """One line per split that is a link to another."""
    for first, second in combinations(SPLITS, 2):
        if (root / first).samefile(root / second):
            yield f"{root / second}: the same folder as {first} (each picture may be in one split only)"


def explain_split(root: Path, split: str) -> str:
    """What to do about one split that is missing."""
    other = find_alias(root, split)
    if other:
        command = f"mv {shlex.quote(str(root / other))} {shlex.quote(str(root / split))}"
        return f"{root / split}: no such folder, but {other!r} is there ({command})"
    if (root / split).exists():
        return f"{root / split}: a file, not a folder (create a folder, one folder per class inside)"
    return (
        f"{root / split}: no such folder (create it, one folder per class inside, with pictures that are in "
        "no other split: a fifth of each class, say)"
    )


def explain_level(root: Path) -> str:
    """What to do about a root without any split: it may be one of its folders, or a folder of classes."""
    folders = list_folders(root)
    deeper = find_deeper(root)
    if len(deeper) == 1:
        return f"{root}: no train, val and test, but they are in {deeper[0]} (set data.root to {deeper[0]})"
    if deeper:
        return (
            f"{root}: no train, val and test, but in each of {len(deeper)} folders, first {deeper[0]} (if "
            "they are the classes, swap the levels: train/CLASS, val/CLASS, test/CLASS; else set data.root "
            "to one)"
        )
    if len(folders) >= 2:
        names = ", ".join(folder.name for folder in folders[:3]) + (", ..." if len(folders) > 3 else "")
        return (
            f"{root}: no train, val and test; if its {len(folders)} folders ({names}) are the classes, "
            "divide their pictures among train, val and test (as train/CLASS, val/CLASS, test/CLASS)"
        )
    return f"{root}: no train, val and test (set data.root to the folder that contains them)"


def find_alias(root: Path, split: str) -> str:
    """The name of a folder that seems to be the split under another name; empty if there is none.

    `dev`, `eval` and `tests` are also names of other things: the folder must hold pictures.
    """
    if (root / split).is_dir():
        return split
    names = {simplify(folder.name): folder.name for folder in list_folders(root)}
    alike = (names[one] for one in ALIASES[split] if one in names)
    return next((name for name in alike if holds_pictures(root / name)), "")


def simplify(name: str) -> str:
    """A folder's name in lower case, without spaces and signs, and without what may follow a split's name."""
    return SUFFIX.sub("", re.sub(r"[\W_]", "", name.lower()))


def holds_pictures(split: Path) -> bool:
    """Whether a folder, or any folder in it, has a file that is a picture by its name."""
    for folder in [split, *list_folders(split)]:
        try:
            with os.scandir(folder) as entries:
                if any(entry.name.lower().endswith(SUFFIXES) for entry in entries):
                    return True
        except OSError:
            continue
    return False


def holds_train(root: Path) -> bool:
    """Whether there are pictures in a folder that seems to be train."""
    name = find_alias(root, "train")
    return bool(name) and holds_pictures(root / name)


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
    """The folders in a folder, sorted, except hidden ones."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return []
    return [folder / entry.name for entry in entries if is_folder(entry) and not entry.name.startswith(".")]


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; a link to itself is not."""
    try:
        return entry.is_dir()
    except OSError:
        return False
