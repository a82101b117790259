"""Many texts in few bytes."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload


class Texts(Sequence[str]):
    """N texts as one array of their bytes, a third of what a list of objects takes.

    A process that is forked shares it to its end: counting references to objects would copy their memory.
    """

    def __init__(self, texts: Iterable[str]):
        self.content, self.ends = bytearray(), array("q", [0])
        for text in texts:
            self.content += text.encode()
            self.ends.append(len(self.content))

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __iter__(self) -> Iterator[str]:
        return map(self.find, range(len(self)))

    @overload
    def __getitem__(self, rows: int) -> str: ...

    @overload
    def __getitem__(self, rows: slice) -> list[str]: ...

    def __getitem__(self, rows: int | slice) -> str | list[str]:
        numbers = range(len(self))[rows]
        return self.find(numbers) if isinstance(numbers, int) else [self.find(number) for number in numbers]

    def find(self, number: int) -> str:
        """One of them, from 0."""
        return self.content[self.ends[number] : self.ends[number + 1]].decode()
