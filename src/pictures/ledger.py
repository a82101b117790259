"""The ledger: every file below the splits' folders with what became of it, as CSV `path,verdict,reason`.

A file is taken, refused when it was opened, or passed over, never opened, for its name or place. The reason
of a file that is taken is what is odd about it, such as a single colour; mostly it has none.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from src.ground.files import open_atomically, start_csv

KINDS = 10  # kinds of reasons that are named, the most frequent ones
TAKEN, REFUSED, PASSED = VERDICTS = ("taken", "refused", "passed over")


class Ledger:
    """Writes the ledger to an open file and counts its rows."""

    def __init__(self, file: IO[str]):
        self.rows = start_csv(file)
        self.rows.writerow(("path", "verdict", "reason"))
        self.counts: Counter[tuple[str, str]] = Counter()  # of (source, verdict)
        self.kinds: dict[str, Counter[str]] = {verdict: Counter() for verdict in VERDICTS}
        self.refused: list[tuple[str, str]] = []  # path, reason

    def add(self, source: str, path: str, verdict: str, *reasons: str) -> None:
        """Enter a file of a source, its path relative to the data root; the first reason is the verdict's."""
        reason = "; ".join(reasons)
        self.rows.writerow((path, verdict, reason))
        self.counts[source, verdict] += 1
        if verdict == REFUSED:
            self.refused.append((path, reasons[0]))
        self.kinds[verdict].update(map(find_kind, reasons if verdict == TAKEN else reasons[:1]))

    def count_sources(self) -> Iterator[str]:
        """For each source the number of its files, and how many of them got each verdict, in words."""
        for source in dict.fromkeys(source for source, _ in self.counts):
            counts = {verdict: self.counts[source, verdict] for verdict in VERDICTS}
            parts = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
            yield f"{source}: {sum(counts.values())} files: {parts}"

    def count_reasons(self) -> Iterator[str]:
        """For each verdict with reasons, the number of files by kind of reason, in words."""
        for verdict, kinds in self.kinds.items():
            if kinds:
                remark = " with a remark" if verdict == TAKEN else ""
                often = [f"{kind} ({n})" for kind, n in kinds.most_common(KINDS)]
                rest = kinds.total() - sum(n for _, n in kinds.most_common(KINDS))
                yield f"{verdict}{remark}: " + ", ".join(often + [f"other reasons ({rest})"] * (rest > 0))


def find_kind(reason: str) -> str:
    """A reason without what is particular to one file: the words before its first punctuation mark."""
    return re.split(r"[:;,(]", reason)[0].strip()


def write_refused(path: Path, refused: list[tuple[str, str]]) -> None:
    """Write the (path, reason) of each refused file as CSV."""
    with open_atomically(path) as file:
        start_csv(file).writerows([("path", "reason"), *refused])
