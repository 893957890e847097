"""Compute results in threads, in order, a bounded number of items ahead of the consumer."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(
    make: Callable[[Item], Result], items: Iterable[Item], *, num_ahead: int, num_threads: int = 1, name: str = ""
) -> Generator[Result, None, None]:
    """Yield make(item) for each item, in order, while threads compute up to num_ahead of the next results.

    Closing the generator ends the threads. An exception in make is raised when its result is requested.
    """
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix=name)
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(make, item))
            if len(pending) > num_ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
