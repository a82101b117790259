"""The format of the knowledge files: a teacher's probabilities for every training picture.

First line `# base=softmax` or `# base=bce`, then CSV `path,p_<class>,...`, one row per picture, probabilities
with 9 significant digits, paths relative to the data root. N pictures, C classes.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from src.ground.digits import write_rows
from src.ground.errors import UserError, list_some, shorten
from src.ground.files import open_atomically, read_csv, start_csv
from src.ground.tables import Places, parse_number
from src.teaching.knowledge import SUMS_TO_ONE, Knowledge

PATTERN = "distill*.txt"
SUM_TOLERANCE = 1e-3  # a row of softmax probabilities must sum to 1 within this


def write_knowledge(path: Path, knowledge: Knowledge, paths: Sequence[str], classes: Sequence[str]) -> None:
    """Write the probabilities of the pictures in `paths` (N,) for `classes` (C,)."""
    write_probs(path, knowledge.base, knowledge.probs, paths, classes)


def write_probs(
    path: Path, base: str, probs: Iterable[np.ndarray], paths: Sequence[str], classes: Sequence[str]
) -> None:
    """The same for N rows of probabilities (C,) that need not be in memory together."""
    with open_atomically(path) as file:
        file.write(f"# base={base}\n")
        start_csv(file).writerow(["path", *(f"p_{name}" for name in classes)])
        write_rows(file, ((name,) for name in paths), probs)


def read_knowledge(path: Path, paths: Sequence[str], classes: Sequence[str]) -> Knowledge:
    """The file's probabilities in the order of `paths` (N,) and `classes` (C,), after all checks."""
    probs = np.empty((len(paths), len(classes)))
    for number, values in iterate_rows(path, paths, classes):
        probs[number] = values
    return Knowledge(find_base(path, probs.sum(axis=1), paths), probs)


def check_knowledge(path: Path, paths: Sequence[str], classes: Sequence[str]) -> str:
    """The base of a file after all checks, in memory that does not grow with the classes."""
    sums = np.empty(len(paths))
    for number, values in iterate_rows(path, paths, classes):
        sums[number] = values.sum()
    return find_base(path, sums, paths)


def iterate_rows(
    path: Path, paths: Sequence[str], classes: Sequence[str]
) -> Iterator[tuple[int, np.ndarray]]:
    """The place in `paths` (N,) and the probabilities (C,) of each row, in the order of the file.

    A UserError names file and line if the text is not UTF-8 or CSV, the header has other classes, a row is
    broken, a probability is not in [0, 1], or a picture is missing or listed twice. Empty lines and a byte
    order mark are ignored; so are rows of pictures that are not in `paths`, with a warning that counts them.
    """
    rows = read_csv(path)
    line, header = next(rows, (1, []))
    if header and header[0].startswith("#"):
        parse_base(path, ",".join(header))
        line, header = next(rows, (2, []))
    check_header(path, line, header, classes)
    given = np.zeros(len(paths), bool)
    places, extra = Places(paths), 0
    for line, row in rows:
        number = places.find(row[0])
        if number is None:
            extra += 1
            continue
        if given[number]:
            raise UserError(f"{path}: line {line}: {row[0]} is listed twice (keep one of the rows)")
        given[number] = True
        yield number, parse_row(path, line, row, len(classes))
    missing = [paths[number] for number in np.flatnonzero(~given)[:3]]
    if missing:
        raise UserError(
            f"{path}: {(~given).sum()} of {len(paths)} training pictures are missing, first "
            f"{', '.join(missing)} (add them; dvc repro -f dump_knowledge does so for a file in data/distill)"
        )
    if extra:
        print(f"warning: {path}: ignored {extra} rows of pictures that are not in train")


def find_base(path: Path, sums: np.ndarray, paths: Sequence[str]) -> str:
    """The base that the file names or, if it names none, the base that the sums (N,) of its rows fit.

    A UserError if it names softmax, but a row does not sum to 1.
    """
    _, header = next(read_csv(path))
    base = parse_base(path, ",".join(header)) if header[0].startswith("#") else ""
    errors = np.abs(sums - 1)
    sound = bool((errors <= SUM_TOLERANCE).all())
    if not base:
        return next(name for name, one in SUMS_TO_ONE.items() if one == sound)
    if SUMS_TO_ONE[base] and not sound:
        worst = int(errors.argmax())
        raise UserError(
            f"{path}: {paths[worst]}: a {base} row must sum to 1 within {SUM_TOLERANCE}, "
            f"got {sums[worst]:.6g} (write base=bce in line 1 if its values are independent)"
        )
    return base


def parse_base(path: Path, line: str) -> str:
    base = line.strip().removeprefix("#").strip().removeprefix("base=")
    if base not in SUMS_TO_ONE:
        choices = " or ".join(f"'# base={name}'" for name in SUMS_TO_ONE)
        raise UserError(f"{path}: line 1: must be {choices}, got {shorten(line, 50)!r}")
    return base


def check_header(path: Path, line: int, header: list[str], classes: Sequence[str]) -> None:
    expected = ["path", *(f"p_{name}" for name in classes)]
    if header != expected:
        num_given, names = max(len(header) - 1, 0), [name.removeprefix("p_") for name in header[1:]]
        raise UserError(
            f"{path}: line {line}: probabilities of {num_given} classes ({list_some(names)}), but train has "
            f"{len(classes)} (the header must be path, then p_<class> for {list_some(classes)})"
        )


def parse_row(path: Path, line: int, row: list[str], num_classes: int) -> np.ndarray:
    """The probabilities (C,) in one row."""
    if len(row) != num_classes + 1:
        raise UserError(
            f"{path}: line {line}: {max(len(row) - 1, 0)} of {num_classes} values (rewrite the file)"
        )
    try:
        values = np.fromiter(map(float, row[1:]), np.float64, num_classes)
    except ValueError:
        values = np.array([parse_number(text) for text in row[1:]])
    wrong = ~((values >= 0) & (values <= 1))
    if wrong.any():
        text = shorten(row[1 + int(wrong.argmax())], 50)
        raise UserError(f"{path}: line {line}: {row[0]}: a probability must be in [0, 1], got {text!r}")
    return values
