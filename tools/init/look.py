"""The facts of a user's pictures: how many of which class, their sizes and colours; none is fully decoded."""

import os
import re
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from src.ground.errors import UserError
from src.ground.files import sha256_of
from src.ground.params import convert, find_value, read
from src.pictures.folders import is_utf8
from src.pictures.layouts import find_layout, is_list
from src.pictures.opening import check_file
from src.pictures.settings import DataSettings, ImageSettings
from stages.check_images import count_expected, find_sources
from tools.init.facts import Facts
from tools.init.memory import recall, recall_seconds, remember
from tools.init.sampling import count_copies, look_at, spread

DEMO = "data/demo"
COMMAND = "make init DATA="
EXAMPLE = f"{COMMAND}/path/to/pictures"
CHECKED = 24  # pictures whose check is timed


def find_place(given: str) -> DataSettings:
    """The settings of data for the folder or CSV list that the user names, its path made absolute.

    A UserError says what is wrong with it.
    """
    if not given.strip():
        raise UserError(f"DATA: not given ({EXAMPLE})")
    path = Path(os.path.abspath(os.path.expanduser(given)))
    if not is_utf8(str(path)):
        raise UserError(f"DATA: the name {os.fsencode(path)!r} is not UTF-8 (rename the folder)")
    if not path.exists():
        there = next(parent for parent in path.parents if parent.exists())
        raise UserError(f"DATA: {path}: no such folder; {there} is there ({EXAMPLE})")
    if not path.is_dir() and not is_list(path):
        raise UserError(
            f"DATA: {path}: a file, not a folder (unpack an archive; name a folder or a CSV list)"
        )
    if not os.access(path, os.R_OK | os.X_OK if path.is_dir() else os.R_OK):
        raise UserError(f"DATA: {path}: cannot be read: Permission denied (make it readable)")
    try:
        layout = find_layout(path)
    except UserError as error:
        raise UserError(spell_remedy(str(error))) from None
    root = DEMO if layout.root == Path(DEMO).absolute() else str(layout.root)
    parts = {"train": layout.train, "val": layout.val, "test": layout.test, "list": layout.listed}
    return convert(DataSettings, {**find_value("data"), "root": root, **parts}, "data")


def spell_remedy(error: str) -> str:
    """An error of find_layout, whose remedy is to set data.root, with the command that does."""
    whole = error.replace("(set data.root to the folder of your pictures", f"({EXAMPLE}")
    return re.sub(r"set data\.root to (/.*)\)$", lambda found: f"{COMMAND}{shlex.quote(found[1])})", whole)


def look(data: DataSettings) -> tuple[Facts, list[str]]:
    """The facts of the pictures, and the files; prints what there is to be warned of."""
    sources, classes, _, _ = find_sources(data, preflight=True)
    root, files = Path(data.root), [path for source in sources for path, _ in source.files]
    sample = look_at(root, files, data.max_pixels)
    counts = count_expected(sources, data)
    facts = Facts(
        root=data.root,
        place={**{f"data.{split}": name for split, name in data.parts().items()}, "data.list": data.list},
        divided=any(len(source.splits) > 1 for source in sources),
        train={name: counts["train"][name] for name in classes},
        val=counts["val"].total(),
        test=counts["test"].total(),
        width=sample.width,
        height=sample.height,
        short=sample.short,
        long=sample.long,
        square=sample.square,
        colour=sample.colour,
        deep=sample.deep,
        copies=count_copies(root, files),
    )
    return facts, files


def time_check(data: DataSettings, paths: Sequence[str]) -> float:
    """Seconds of one core that the check of a picture takes; remembered as long as the files are the same."""
    about, files = f"pictures of {os.path.abspath(data.root)}", sha256_of(list(paths))
    known = recall_seconds(about).get("check")
    if known and recall(about).get("files") == files:
        return known
    images = read(ImageSettings, "images")
    some = spread(paths, CHECKED)
    began = time.process_time()
    for path in some:
        check_file(data, None, (images.size("train"),), images.fit, (path, ""))
    seconds = float(f"{(time.process_time() - began) / len(some):.2g}")
    remember(about, {"files": files, "check": seconds})
    return seconds
