"""The format of the knowledge files: what a teacher believes of every training picture.

First line `# base=softmax` or `# base=bce`, then CSV `path,p_<class>,...`, a row per picture, probabilities
with 9 significant digits, paths relative to the data root. N pictures, C classes.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from src.ground.errors import UserError
from src.ground.files import atomic

PATTERN = "distill*.txt"
CLAMP = 1e-7  # a bce probability is kept this far from 0 and 1 before its logit is taken
SUM_TOLERANCE = 1e-3  # a row of softmax probabilities sums to 1 within this


@dataclass(frozen=True)
class KnowledgeSettings:
    """Whose knowledge is written down."""

    teachers: tuple[str, ...]  # entries of teacher; none = the student learns from labels alone
    min_accuracy: float  # on val; a teacher below it is refused
    batch_size: int  # pictures at once; changes no more than the last digits


@dataclass(frozen=True)
class Knowledge:
    """The contents of one file, its rows in the order of the training manifest."""

    base: str  # softmax: a row sums to 1; bce: every probability stands for itself
    probs: np.ndarray  # (N, C) float64 in [0, 1]


def write_knowledge(path: Path, knowledge: Knowledge, paths: Sequence[str], classes: Sequence[str]) -> None:
    """Write the probabilities of pictures `paths` (N,) for `classes` (C,)."""
    with atomic(path) as file:
        file.write(f"# base={knowledge.base}\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", *(f"p_{name}" for name in classes)])
        for name, row in zip(paths, knowledge.probs, strict=True):
            writer.writerow([name, *(f"{p:.9g}" for p in row)])


def read_knowledge(path: Path, paths: Sequence[str], classes: Sequence[str]) -> Knowledge:
    """The file's probabilities in the order of `paths` (N,) and `classes` (C,).

    UserError with file and line where the header names other classes, a row is broken, a probability is not
    in [0, 1], a softmax row does not sum to 1, or a picture is missing or listed twice. Rows of pictures that
    are not in `paths` are left out, their number printed.
    """
    with open(path, encoding="utf-8", newline="") as file:
        first = file.readline()
        if first.startswith("#"):
            base, header_line = named_base(path, first), 2
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
            f"{', '.join(missing[:3])} (make the file anew: dvc repro -f dump_knowledge)"
        )
    if extra:
        print(f"warning: {path}: {extra} rows of pictures that are not in train were left out")
    probs = np.array([rows[name] for name in paths])
    return Knowledge(checked_base(path, base, probs, paths), probs)


def named_base(path: Path, line: str) -> str:
    base = line.strip().removeprefix("#").strip().removeprefix("base=")
    if base not in ("softmax", "bce"):
        raise UserError(f"{path}: line 1: must be '# base=softmax' or '# base=bce', got {line.strip()!r}")
    return base


def check_header(path: Path, line: int, header: list[str], classes: Sequence[str]) -> None:
    expected = ["path", *(f"p_{name}" for name in classes)]
    if header != expected:
        names = ", ".join(name.removeprefix("p_") for name in header[1:6])
        raise UserError(
            f"{path}: line {line}: probabilities of {len(header) - 1} classes ({names}, ...), data/train has "
            f"{len(classes)} ({', '.join(classes[:5])}, ...) (header: path, then p_<class> in that order)"
        )


def parse_row(path: Path, line: int, row: list[str], num_classes: int) -> list[float]:
    """The probabilities of one row."""
    if len(row) != num_classes + 1:
        raise UserError(
            f"{path}: line {line}: {max(len(row) - 1, 0)} of {num_classes} values (make the file anew)"
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


def checked_base(path: Path, base: str, probs: np.ndarray, paths: Sequence[str]) -> str:
    """The base a file names; one that names none is softmax if every row sums to 1, else bce."""
    errors = np.abs(probs.sum(axis=1) - 1)
    if base == "softmax" and errors.max() > SUM_TOLERANCE:
        worst = int(errors.argmax())
        raise UserError(
            f"{path}: {paths[worst]}: a softmax row must sum to 1 within {SUM_TOLERANCE}, "
            f"got {probs[worst].sum():.6g} (name base=bce in line 1 if each stands for itself)"
        )
    return base or ("softmax" if errors.max() <= SUM_TOLERANCE else "bce")


def read_folder(folder: Path, paths: Sequence[str], classes: Sequence[str]) -> list[Knowledge]:
    """Every knowledge file of a folder, sorted by name; empty where there is no teacher."""
    return [read_knowledge(path, paths, classes) for path in sorted(folder.glob(PATTERN))]


def soften(knowledge: Knowledge, temperature: float) -> Knowledge:
    """The probabilities that the teacher's logits divided by `temperature` would give.

    G. Hinton, O. Vinyals, J. Dean, Distilling the Knowledge in a Neural Network, 2015, arXiv:1503.02531:
    softmax(log(p) / T) equals softmax(z / T), and sigmoid(logit(p) / T) equals sigmoid(z / T).
    """
    p = knowledge.probs
    if temperature == 1:
        return knowledge
    if knowledge.base == "softmax":
        powers = p ** (1 / temperature)
        return Knowledge("softmax", powers / powers.sum(axis=1, keepdims=True))
    p = p.clip(CLAMP, 1 - CLAMP)
    return Knowledge("bce", 1 / (1 + np.exp(-(np.log(p) - np.log1p(-p)) / temperature)))


def average(knowledge: Sequence[Knowledge], base: str, temperature: float) -> np.ndarray:
    """The mean (N, C) of all teachers' softened probabilities, as a student of `base` takes them.

    For a softmax student the rows of a bce teacher are normalised to sum 1; a bce student takes all as they
    are.
    """
    softened = [soften(one, temperature) for one in knowledge]
    return np.mean([one.probs if base == "bce" else normalised(one) for one in softened], axis=0)


def normalised(knowledge: Knowledge) -> np.ndarray:
    """Rows (N, C) that sum to 1; a bce row of zeros becomes uniform."""
    if knowledge.base == "softmax":
        return knowledge.probs
    p = knowledge.probs.clip(CLAMP)
    return p / p.sum(axis=1, keepdims=True)


def truth_probs(knowledge: Sequence[Knowledge], labels: np.ndarray) -> np.ndarray:
    """The teachers' mean probability (N,) of each picture's label (N,); 1 where nobody teaches."""
    if not knowledge:
        return np.ones(len(labels))
    return average(knowledge, "softmax", temperature=1)[np.arange(len(labels)), labels]
