"""Types of the values in params.yaml, with their constraints as JSON Schema keywords.

The fields of settings are annotated with them; `make schema` writes params.schema.json from the annotations.
Two keywords are ours: `rule`, the text of the error message where type and range are not enough, and
`keysOf`, the section whose keys the items of a list must be.
"""

from typing import Annotated, Any, Literal


class Rule:
    """JSON Schema keywords that constrain a type."""

    def __init__(self, **keywords: Any):
        self.keywords = keywords


def within(interval: str) -> Rule:
    """A number's range in interval notation: [0, 1) includes 0 and excludes 1, inf means unbounded."""
    low, high = (float(end) for end in interval[1:-1].split(","))
    ends = {
        "minimum" if interval[0] == "[" else "exclusiveMinimum": low,
        "maximum" if interval[-1] == "]" else "exclusiveMaximum": high,
    }
    finite = {name: end for name, end in ends.items() if abs(end) != float("inf")}
    return Rule(**{name: int(end) if end.is_integer() else end for name, end in finite.items()})


Value = bool | int | float | str | list[Any]  # of a key, of any type
Share = Annotated[float, within("[0, 1]")]
Factor = Annotated[float, within("[0, 1000000]")]  # sums and products of larger ones could overflow
Count = Annotated[int, within("[1, inf)")]
CountOrZero = Annotated[int, within("[0, inf)")]
Threads = Annotated[int, within("[1, 1024]")]  # torch crashes at some 10,000
Workers = Annotated[int, within("[0, 1024]")]
Seed = Annotated[int, within("[0, 4294967295]")]
Pixels = Annotated[int, within("[8, 4096]")]
EntryName = Annotated[  # of a teacher: its figures stand beside the student's, its knowledge beside others'
    str,
    Rule(  # `(?!\n)`: Python's $ also matches before a last line end
        pattern=r"^(?!student$|external_)[A-Za-z0-9_][A-Za-z0-9_-]{0,199}$(?!\n)",
        rule="must be at most 200 letters, digits, _ or -, not student, nor begin with - or external_",
    ),
]
BatchSize = Annotated[Literal["auto"] | Count, Rule(rule="must be auto or a whole number, at least 1")]
Architecture = Annotated[str, Rule(format="architecture")]
OptimizerName = Annotated[str, Rule(format="optimizer")]
