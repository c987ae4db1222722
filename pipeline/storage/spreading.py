"""A function over a stream in threads: requests wait for the store side by side, and only a few are held at once."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

NUM_THREADS = 16


def in_threads(function: Callable[[T], R], items: Iterable[T], num_threads: int = NUM_THREADS) -> Iterator[R]:
    """The results in the order of the items, which are taken from their stream as threads come free.

    Raises:
        Exception: what the function raised, at the place of its item; what has not begun then never does.
    """
    pool = ThreadPoolExecutor(num_threads)
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= 2 * num_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
