"""Where the work on many items is done: in processes of this machine, or by the workers of a cluster."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, TypeVar

from src.ground.kinds import Rule
from src.ground.params import read
from src.machine.cluster import map_on_cluster
from src.machine.workers import map_in_processes

T = TypeVar("T")
R = TypeVar("R")
LOCAL = "local"
Executor = Annotated[
    str,
    Rule(
        pattern=r"^(local|dask://[^\s:/]+:[0-9]{1,5})$(?!\n)",
        rule="must be local, or dask://host:port of a Dask scheduler",
    ),
]


def read_executor() -> str:
    return read(str, "executor")  # no param of a stage: it changes no result


def map_items(
    function: Callable[[T], R],
    items: Sequence[T],
    chunk: int,
    lose: Callable[[T, str], R],
    needs: Iterable[str] = (),
) -> Iterator[R]:
    """`function(item)` for each item, in order, computed where params.yaml's `executor` says.

    Each call gets `chunk` items. Results do not depend on where, nor on how many compute. An item that ends
    its process twice has the result `lose(item, why)`. Other machines must see the paths in `needs`.
    """
    where = read_executor()
    if where == LOCAL:
        return map_in_processes(function, items, chunk, lose)
    return map_on_cluster(where, function, items, chunk, lose, needs)
