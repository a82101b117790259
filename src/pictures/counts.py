"""How many pictures of each class each split has: the table of check_images, and what is odd about it."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from src.ground.errors import cut, escape, list_some
from src.ground.files import open_atomically, start_csv
from src.pictures.folders import FEWEST, Source
from src.pictures.manifest import SPLITS

COLUMNS = ("class", *SPLITS, "refused")
SHOWN = 20  # classes that are printed, of more the first and the last half by size
FAR = 0.25  # of a split's share, that it must be off to be worth a warning
CHANCE = 5  # standard deviations that it must also be off
FEW, UNEVEN = 10, 100  # pictures of a class, and of the largest over the smallest, that are worth a warning
Counts = Mapping[str, Mapping[str, int]]  # of each column but the class -> of each class


def write_counts(path: Path, classes: Sequence[str], counts: Counts) -> None:
    """Write a row per class as CSV: class, train, val, test, refused."""
    with open_atomically(path) as file:
        rows = start_csv(file)
        rows.writerow(COLUMNS)
        rows.writerows([name, *(counts[column].get(name, 0) for column in COLUMNS[1:])] for name in classes)


def format_counts(classes: Sequence[str], counts: Counts, path: Path) -> Iterator[str]:
    """The table in lines, with a line of sums; of many classes those with most and with fewest pictures."""
    sizes = {name: sum(counts[split].get(name, 0) for split in SPLITS) for name in classes}
    shown, left = list(classes), 0
    if len(classes) > SHOWN:
        ordered = sorted(classes, key=lambda name: -sizes[name])
        shown, left = [*ordered[: SHOWN // 2], *ordered[-SHOWN // 2 :]], len(classes) - SHOWN
    rows = [[name, *(counts[column].get(name, 0) for column in COLUMNS[1:])] for name in shown]
    rows = [[escape(str(row[0])), *row[1:]] for row in rows]
    rows.append(["all", *(sum(counts[column].values()) for column in COLUMNS[1:])])
    texts = [list(COLUMNS), *([cut(str(row[0]), 40), *map(str, row[1:])] for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(COLUMNS))]
    for number, (first, *others) in enumerate(texts):
        if left and number == 1 + SHOWN // 2:
            yield f"... {left} classes between these: {path}"
        numbers = (text.rjust(width) for text, width in zip(others, widths[1:], strict=True))
        yield "  ".join((first.ljust(widths[0]), *numbers))


def find_missing(classes: Sequence[str], counts: Counts, divided: Sequence[str], place: str) -> Iterator[str]:
    """What makes the numbers unusable, one line each; `divided` are splits that share pictures in `place`."""
    few = [name for name in classes if sum(counts[split].get(name, 0) for split in SPLITS) < FEWEST]
    if few:
        yield f"{place}: under {FEWEST} usable pictures of {list_some(few)} (add some or remove the class)"
    remedy = "another data.split.seed, other shares, or data.near_distance: none if many only look alike"
    left = [name for name in classes if name not in few and not counts["train"].get(name, 0)]
    if left and "train" in divided:
        yield f"params.yaml: data.split: no picture of {list_some(left)} has come to train ({remedy})"
    for split in divided:
        if not sum(counts[split].values()):
            yield f"params.yaml: data.split: no picture has come to {split} ({remedy})"


def warn_of_counts(classes: Sequence[str], counts: Counts, sources: Sequence[Source]) -> Iterator[str]:
    """Numbers that are no mistake, but too small or too uneven for what is measured to be worth much."""
    sizes = Counter({name: sum(counts[split].get(name, 0) for split in SPLITS) for name in classes})
    few = [f"{name} {size}" for name, size in sizes.items() if size < FEW]
    if few:
        yield f"fewer than {FEW} pictures of {len(few)} of {len(classes)} classes: {list_some(few)}"
    for split in SPLITS[1:]:
        files = sum((source.count() for source in sources if split in source.splits), Counter())
        missing = [name for name in classes if files[name] and not counts[split].get(name, 0)]
        if missing:
            yield f"{split} has no picture of {list_some(missing)}, it is not measured there"
    (most, largest), (least, smallest) = sizes.most_common()[0], sizes.most_common()[-1]
    if smallest and largest >= UNEVEN * smallest:
        yield (
            f"uneven classes: {largest} pictures of {most}, {smallest} of {least} "
            "(student.class_weights: balanced makes up for it)"
        )


def warn_of_shares(found: Counter[str], crowd: int, group: int, shares: Mapping[str, float]) -> Iterator[str]:
    """A warning if pictures, divided as `found` says, are farther from the shares asked for than by chance.

    `crowd` is the largest number of pictures that look the same, `group` that of a group of data.split.group.
    """
    total = found.total()
    far = False
    for split, share in shares.items():
        off, deviation = abs(found[split] - total * share), math.sqrt(total * share * (1 - share))
        far |= off > max(FAR * total * share, CHANCE * deviation)
    if far:
        parts = ", ".join(f"{found[split] / total:.3g} to {split}" for split in shares)
        why = f"{crowd} pictures look the same (data.near_distance: none if they only look alike)"
        if group > crowd:
            why = f"a group has {group} pictures (another data.split.seed, or smaller groups)"
        asked = ", ".join(f"{share:.3g}" for share in shares.values())
        yield f"data.split: {parts}, not {asked}: what belongs together stays together, and {why}"
