"""Call a function for each of many items in processes, which may die: one item's result is lost, no more."""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import Pipe, Process, active_children, get_start_method, parent_process, resource_tracker
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any, Generic, Protocol, TypeVar

from src.machine.cores import count_cores
from src.machine.memory import keep_memory

T = TypeVar("T")
R = TypeVar("R")
Waiting = deque[tuple[Sequence[T], Future[Any]]]  # parts of the items that are being computed, in order
AHEAD = 2  # chunks per core that are computed before their results are taken


class Host(Protocol[T, R]):
    """Computes parts of the items, behind a concurrent.futures.Executor."""

    def count_ahead(self) -> int: ...

    def submit(self, items: Sequence[T]) -> Future[Any]: ...

    def take(self, waiting: Waiting[T]) -> list[R]:
        """The results of the first part, which leaves `waiting`; those that were lost are computed again."""


def map_in_order(host: Host[T, R], items: Sequence[T], chunk: int) -> Iterator[R]:
    """The result for each item, in order, computed by the host `chunk` items at a time.

    At most as many chunks as `count_ahead` says wait to be taken, however slow the caller is.
    """
    starts, waiting = iter(range(0, len(items), chunk)), Waiting[T]()
    while True:
        ahead = host.count_ahead()
        while len(waiting) < ahead and (start := next(starts, None)) is not None:
            part = items[start : start + chunk]
            waiting.append((part, host.submit(part)))
        if not waiting:
            return
        yield from host.take(waiting)


def map_in_processes(
    function: Callable[[T], R], items: Sequence[T], chunk: int, lose: Callable[[T, str], R]
) -> Iterator[R]:
    """`function(item)` for each item, in order, computed in one process per core, `chunk` items at a time.

    At most AHEAD chunks of results per core wait to be taken. If a process dies, the items that it may have
    been working on are computed again, each in a process of its own; for one that kills that process too, the
    result is `lose(item, why)`.
    """
    host = Processes(function, lose)
    try:
        yield from map_in_order(host, items, chunk)
    finally:
        host.pool.shutdown(cancel_futures=True)


class Processes(Generic[T, R]):
    """The Host of this machine: one process per core."""

    def __init__(self, function: Callable[[T], R], lose: Callable[[T, str], R]):
        self.function, self.lose, self.pool = function, lose, start_pool()
        self.ahead = AHEAD * count_cores()

    def count_ahead(self) -> int:
        return self.ahead

    def submit(self, items: Sequence[T]) -> Future[list[R]]:
        """The future results; those of a pool that is broken already raise BrokenProcessPool."""
        try:
            return self.pool.submit(call_each, self.function, items)
        except BrokenProcessPool as error:
            future: Future[list[R]] = Future()
            future.set_exception(error)
            return future

    def take(self, waiting: Waiting[T]) -> list[R]:
        part, future = waiting.popleft()
        try:
            return future.result()
        except BrokenProcessPool:
            self.pool.shutdown()
            results = [call_alone(self.function, item, self.lose) for item in part]
            self.pool = start_pool()
            again = [(part, future if is_done(future) else self.submit(part)) for part, future in waiting]
            waiting.clear()
            waiting.extend(again)
            return results


def start_pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(count_cores(), initializer=start_worker)


def start_worker(_: int = 0) -> None:
    """Prepare a worker: it ends with the first process, not by the Ctrl-C that reaches both."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=end_with_parent, daemon=True).start()
    keep_memory()


def end_with_parent() -> None:
    """Kill this process when the one that started it is gone, however that was started or ended."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def block_signals() -> Iterator[None]:
    """Within the context signals that stop a run wait; processes that are started in it never get them."""
    signals = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        if get_start_method() != "fork":
            resource_tracker.ensure_running()  # unblocks two of them
            signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def kill_children() -> None:
    """End the workers of this process, which may not get SIGTERM or be busy for long."""
    for child in active_children():
        child.kill()


def is_done(future: Future[list[R]]) -> bool:
    return future.done() and not future.exception()


def call_each(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    return [function(item) for item in items]


def call_alone(function: Callable[[T], R], item: T, lose: Callable[[T, str], R]) -> R:
    """`function(item)` from a process of its own, or `lose(item, why)` if that dies."""
    receiver, sender = Pipe(duplex=False)
    process = Process(target=send_result, args=(sender, function, item))
    process.start()
    sender.close()
    try:
        result = receiver.recv()
    except EOFError:
        process.join()
        return lose(item, describe_exit(process.exitcode or 0))
    process.join()
    return result


def send_result(sender: Connection, function: Callable[[T], R], item: T) -> None:
    start_worker()
    sender.send(function(item))


def describe_exit(code: int) -> str:
    """What ended a process, by its exit code: that of a signal is negative."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
