"""The format of the knowledge files: a teacher's probabilities for every training picture.

First line `# base=softmax` or `# base=bce`, then CSV `path,p_<class>,...`, one row per picture, probabilities
with 9 significant digits, paths relative to the data root. N pictures, C classes.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from src.ground.errors import UserError
from src.ground.files import open_atomically, start_csv
from src.teaching.knowledge import KINDS, Knowledge

PATTERN = "distill*.txt"
SUM_TOLERANCE = 1e-3  # a row of softmax probabilities must sum to 1 within this


def write_knowledge(path: Path, knowledge: Knowledge, paths: Sequence[str], classes: Sequence[str]) -> None:
    """Write the probabilities of the pictures in `paths` (N,) for `classes` (C,)."""
    with open_atomically(path) as file:
        file.write(f"# base={knowledge.base}\n")
        writer = start_csv(file)
        writer.writerow(["path", *(f"p_{name}" for name in classes)])
        for name, row in zip(paths, knowledge.probs, strict=True):
            writer.writerow([name, *(f"{p:.9g}" for p in row)])


def read_knowledge(path: Path, paths: Sequence[str], classes: Sequence[str]) -> Knowledge:
    """The file's probabilities in the order of `paths` (N,) and `classes` (C,).

    A UserError names file and line if the header has other classes, a row is broken, a probability is not in
    [0, 1], a softmax row does not sum to 1, or a picture is missing or listed twice. Rows of pictures that
    are not in `paths` are ignored, with a warning that counts them.
    """
    with open(path, encoding="utf-8", newline="") as file:
        first = file.readline()
        if first.startswith("#"):
            base, header_line = parse_base(path, first), 2
        else:
            base, header_line = "", 1
            file.seek(0)
        reader = csv.reader(file)
        check_header(path, header_line, next(reader, []), classes)
        rows, wanted, extra = {}, set(paths), 0
        for row in reader:
            line = reader.line_num + header_line - 1
            if row and row[0] not in wanted:
                extra += 1
                continue
            values = parse_row(path, line, row, len(classes))
            if row[0] in rows:
                raise UserError(f"{path}: line {line}: {row[0]} is listed twice (keep one of the rows)")
            rows[row[0]] = values
    missing = [name for name in paths if name not in rows]
    if missing:
        raise UserError(
            f"{path}: {len(missing)} of {len(paths)} training pictures are missing, first "
            f"{', '.join(missing[:3])} (rewrite the file: dvc repro -f dump_knowledge)"
        )
    if extra:
        print(f"warning: {path}: ignored {extra} rows of pictures that are not in train")
    probs = np.array([rows[name] for name in paths])
    return Knowledge(check_sums(path, base, probs, paths), probs)


def parse_base(path: Path, line: str) -> str:
    base = line.strip().removeprefix("#").strip().removeprefix("base=")
    if base not in KINDS:
        choices = " or ".join(f"'# base={name}'" for name in KINDS)
        raise UserError(f"{path}: line 1: must be {choices}, got {line.strip()!r}")
    return base


def check_header(path: Path, line: int, header: list[str], classes: Sequence[str]) -> None:
    expected = ["path", *(f"p_{name}" for name in classes)]
    if header != expected:
        names = ", ".join(name.removeprefix("p_") for name in header[1:6])
        raise UserError(
            f"{path}: line {line}: probabilities of {len(header) - 1} classes ({names}, ...), but train has "
            f"{len(classes)} (the header must be path, then p_<class> for {', '.join(classes[:5])}, ...)"
        )


def parse_row(path: Path, line: int, row: list[str], num_classes: int) -> list[float]:
    """The probabilities in one row."""
    if len(row) != num_classes + 1:
        raise UserError(
            f"{path}: line {line}: {max(len(row) - 1, 0)} of {num_classes} values (rewrite the file)"
        )
    values = []
    for text in row[1:]:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not 0 <= value <= 1:
            raise UserError(f"{path}: line {line}: {row[0]}: a probability must be in [0, 1], got {text!r}")
        values.append(value)
    return values


def check_sums(path: Path, base: str, probs: np.ndarray, paths: Sequence[str]) -> str:
    """The base that the file names or, if it names none, the base that the sums of its rows fit."""
    errors = np.abs(probs.sum(axis=1) - 1)
    sound = bool(errors.max() <= SUM_TOLERANCE)
    if not base:
        return next(name for name, kind in KINDS.items() if kind.sums_to_one == sound)
    if KINDS[base].sums_to_one and not sound:
        worst = int(errors.argmax())
        raise UserError(
            f"{path}: {paths[worst]}: a {base} row must sum to 1 within {SUM_TOLERANCE}, "
            f"got {probs[worst].sum():.6g} (write base=bce in line 1 if its values are independent)"
        )
    return base


def read_folder(folder: Path, paths: Sequence[str], classes: Sequence[str]) -> list[Knowledge]:
    """All knowledge files of a folder, sorted by name; empty if there is no teacher."""
    return [read_knowledge(path, paths, classes) for path in sorted(folder.glob(PATTERN))]
