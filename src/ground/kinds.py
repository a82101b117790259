"""Kinds of values in params.yaml: a type, and in the words of JSON Schema what else must hold.

The fields of settings are annotated with them, and `make schema` writes params.schema.json from there.
Besides JSON Schema's own keywords there are two of ours: `rule`, what a message says where type and range do
not say it, and `keysOf`, the section whose keys the items of a list must be.
"""

from typing import Annotated, Any


class Rule:
    """Keywords of JSON Schema that stand beside a type."""

    def __init__(self, **keywords: Any):
        self.keywords = keywords


def within(interval: str) -> Rule:
    """The range of a number as mathematics writes it: [0, 1) holds 0 and not 1, inf is no bound."""
    low, high = (float(end) for end in interval[1:-1].split(","))
    ends = {
        "minimum" if interval[0] == "[" else "exclusiveMinimum": low,
        "maximum" if interval[-1] == "]" else "exclusiveMaximum": high,
    }
    finite = {name: end for name, end in ends.items() if abs(end) != float("inf")}
    return Rule(**{name: int(end) if end.is_integer() else end for name, end in finite.items()})


Share = Annotated[float, within("[0, 1]")]
Factor = Annotated[float, within("[0, inf)")]
Count = Annotated[int, within("[1, inf)")]
CountOrZero = Annotated[int, within("[0, inf)")]
Seed = Annotated[int, within("[0, 4294967295]")]
Pixels = Annotated[int, within("[8, 4096]")]
EntryName = Annotated[str, Rule(pattern="^[A-Za-z0-9_-]+$")]
Architecture = Annotated[str, Rule(format="architecture")]
OptimizerName = Annotated[str, Rule(format="optimizer")]
