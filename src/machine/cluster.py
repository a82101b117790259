"""The workers of a Dask cluster as a host: parts go to their helpers, results come back in order.

Dask computes the parts of a worker that is lost elsewhere. A helper that dies is told as by `workers`: its
items are computed again one by one, and only one that kills a helper alone is lost.
"""

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, suppress
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from time import monotonic
from typing import Any, Generic, TypeVar
from uuid import uuid4

from src.ground.errors import UserError, shorten
from src.ground.params import PARAMS, read
from src.machine.facts import describe_machine
from src.machine.helper import DONE
from src.machine.isa import list_variables
from src.machine.workers import AHEAD, Waiting, describe_exit, map_in_order

T = TypeVar("T")
R = TypeVar("R")
SCHEME = "dask://"
CONNECT, CHECK = 10.0, 2.0  # seconds: until a scheduler must have answered; between looks at who is there
INSTALL = "make cluster, or: pip install -r requirements-cluster.txt"


def map_on_cluster(
    address: str,
    function: Callable[[T], R],
    items: Sequence[T],
    chunk: int,
    lose: Callable[[T, str], R],
    needs: Iterable[str],
) -> Iterator[R]:
    """As map_in_processes, by the workers of the scheduler at `address`, which must see the paths `needs`."""
    patience = read(float, "distributed.timeout")  # no param of a stage: it changes no result
    with (
        connect(address, spell(address)) as client,
        install(address, client, function, needs, patience) as name,
    ):
        yield from map_in_order(Cluster(address, client, name, lose, patience), items, chunk)


@contextmanager
def connect(address: str, named: str) -> Iterator[Any]:
    """A client of the scheduler; a UserError calls its address as `named`."""
    try:
        from distributed import Client
    except ImportError:
        raise UserError(f"{named}: Dask is not installed ({INSTALL})") from None
    for name in ("distributed", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters is reported below, in one line
    try:
        client = Client(address.replace(SCHEME, "tcp://"), timeout=CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        start = f"dask scheduler --port {address.rpartition(':')[2]}"
        raise UserError(
            f"{named}: no scheduler answers: {shorten(error, 100)} (start one there: {start})"
        ) from None
    try:
        yield client
    finally:
        client.close(timeout=CONNECT)


@contextmanager
def install(
    address: str, client: Any, function: Callable[[T], R], needs: Iterable[str], patience: float
) -> Iterator[str]:
    """The name under which every worker has a Relay for `function` within the context; refuses unfit ones."""
    import cloudpickle

    import src.machine.relay as relay

    wait_for_workers(address, client, patience)
    check_versions(address, client)
    cloudpickle.register_pickle_by_value(relay)
    name, facts = f"dojo-{uuid4()}", describe_machine(needs)
    pickled = bytes(ForkingPickler.dumps(function))
    client.register_plugin(relay.Relay(str(Path.cwd()), list_variables(), facts, pickled), name=name)
    try:
        found = client.run(lambda dask_worker: dask_worker.plugins[name].check())
        refuse(address, found)
        print(f"executor: {address}: {len(found)} workers, {sum(client.nthreads().values())} threads")
        yield name
    finally:
        with suppress(Exception):  # the scheduler may be gone, which is reported already
            client.unregister_worker_plugin(name)


def wait_for_workers(address: str, client: Any, patience: float) -> None:
    if not client.nthreads():
        print(f"executor: {address}: no workers yet: waiting for up to {patience:g} seconds", flush=True)
        try:
            client.wait_for_workers(1, timeout=patience)
        except TimeoutError:
            raise UserError(f"{spell(address)}: has no workers ({spell_start(address)})") from None


def check_versions(address: str, client: Any) -> None:
    """Refuse workers with another Python or Dask, which could not read what they are sent."""
    versions = client.get_versions()
    own = find_versions(versions["client"])
    problems = {}
    for worker, theirs in versions["workers"].items():
        others = {name: now for name, now in find_versions(theirs).items() if now != own[name]}
        problems[worker] = "; ".join(
            f"{name} {now}, not {own[name]} (start it with the same .venv)" for name, now in others.items()
        )
    refuse(address, problems)


def find_versions(described: dict[str, Any]) -> dict[str, str]:
    """The versions of Python and Dask in one entry of Client.get_versions()."""
    packages = described["packages"]
    return {
        "Python": packages["python"].removesuffix(".final.0"),
        "distributed": packages["distributed"],
        "cloudpickle": packages["cloudpickle"],
    }


def refuse(address: str, problems: dict[str, str]) -> None:
    lines = [f"{spell(address)}: worker {worker}: {what}" for worker, what in problems.items() if what]
    if lines:
        raise UserError(*lines)


class Cluster(Generic[T, R]):
    """The Host of a cluster: a part per thread of a worker at once, and as many waiting for it."""

    def __init__(self, address: str, client: Any, name: str, lose: Callable[[T, str], R], patience: float):
        self.address, self.client, self.lose, self.patience = address, client, lose, patience
        self.executor, self.call = client.get_executor(pure=False), make_call(name)
        self.unfit: set[str] = set()  # workers that came later and cannot help
        self.looked = -CHECK
        self.threads = 0

    def count_ahead(self) -> int:
        if monotonic() - self.looked > CHECK:
            self.look()
        return AHEAD * max(1, self.threads)

    def look(self) -> int:
        """The threads of all workers that can help: some may have come, and others gone."""
        try:
            found = {name: n for name, n in self.client.nthreads().items() if name not in self.unfit}
        except (OSError, TimeoutError):  # the scheduler does not answer
            found = {}
        self.fit, self.threads, self.looked = list(found), sum(found.values()), monotonic()
        return self.threads

    def submit(self, items: Sequence[T]) -> Future[Any]:
        options = {"workers": self.fit} if self.unfit else {}
        return self.executor.submit(self.call, bytes(ForkingPickler.dumps(list(items))), **options)

    def take(self, waiting: Waiting[T]) -> list[R]:
        part, future = waiting.popleft()
        code, results = self.wait(part, future)
        return results if code == 0 else [self.call_alone(item) for item in part]

    def call_alone(self, item: T) -> R:
        code, results = self.wait([item], self.submit([item]))
        return results[0] if code == 0 else self.lose(item, describe_exit(code))

    def wait(self, part: Sequence[T], future: Future[Any]) -> tuple[int, list[R]]:
        """The exit code of the helper that computed a part, 0 if it lives, and the results."""
        from src.machine.relay import ANSWERED, DIED

        while True:
            kind, answer, worker = self.wait_for_reply(future)
            if kind == DIED:
                return answer, []
            if kind == ANSWERED:
                break
            if worker not in self.unfit:
                print(f"warning: {spell(self.address)}: worker {worker}: {answer}", file=sys.stderr)
            self.unfit.add(worker)
            self.look()
            future = self.submit(part)
        state, results = ForkingPickler.loads(answer)
        if state != DONE:
            raise UserError(*results)
        return 0, results

    def wait_for_reply(self, future: Future[Any]) -> tuple[str, Any, str]:
        """The Reply to a part and the address of the worker; a UserError if none is left for long."""
        last = monotonic()
        while True:
            try:
                return future.result(timeout=CHECK)
            except CancelledError:
                raise UserError(f"{spell(self.address)}: the scheduler is gone (start it again)") from None
            except TimeoutError:
                pass
            except Exception as error:  # as Dask's KilledWorker
                text = shorten(error, 200)
                raise UserError(f"{spell(self.address)}: {type(error).__name__}: {text}") from None
            if self.look():
                last = monotonic()
            elif monotonic() - last > self.patience:
                raise UserError(
                    f"{spell(self.address)}: no worker is left for {self.patience:g} seconds "
                    f"({spell_start(self.address)})"
                )


def make_call(name: str) -> Callable[[bytes], tuple[str, Any, str]]:
    """What hands a part to the Relay of the worker that it runs on."""

    def call(items: bytes) -> tuple[str, Any, str]:  # inside a function: Dask then sends it by value
        from distributed import get_worker

        worker: Any = get_worker()
        return *worker.plugins[name].call(items), worker.address

    return call


def spell(address: str) -> str:
    return f"{PARAMS}: executor: {address}"


def spell_start(address: str) -> str:
    return f"start some: dask worker {address.replace(SCHEME, 'tcp://')} --no-nanny --nthreads CORES"
