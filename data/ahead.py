"""Results in order, computed by threads that stay a bounded number ahead of whoever asks for them."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Part = TypeVar("Part")
Result = TypeVar("Result")


def ahead(
    make: Callable[[Part], Result], parts: Iterable[Part], *, num_ahead: int, num_threads: int = 1, name: str = ""
) -> Generator[Result, None, None]:
    """Yields make(part) for each part, in order; at most num_ahead beyond the one asked for are in work or waiting.

    Closing the iterator ends the threads. What make raises is raised where its result is asked for.
    """
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix=name)
    pending = deque()
    try:
        for part in parts:
            pending.append(pool.submit(make, part))
            if len(pending) > num_ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
