"""Things made ahead of whoever takes them, by several threads, in order."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from jobs.worker import use_one_core

S = TypeVar("S")
T = TypeVar("T")


def batches(items: Iterator[S], size: int) -> Iterator[list[S]]:
    """Cut a stream into lists."""
    while batch := list(islice(items, size)):
        yield batch


def ahead(items: Iterator[S], make: Callable[[S], T], *, threads: int, most: int) -> Generator[T, None, None]:
    """What is made of each item, in their order; one thread takes the items, so many others make things of them.

    threads: how many things are made at a time, each by torch on one core.
    most: how many are taken, made or being made beyond the one that the caller has.
    raises: what `items` and `make` raise, in its place.

    Leave before the end by `close`: no thread outlives this generator, and what is being made is waited for.
    """
    taker = ThreadPoolExecutor(1, thread_name_prefix="ahead")
    # OpenMP keeps the number of cores for each thread by itself: a new one would use them all.
    makers = ThreadPoolExecutor(threads, thread_name_prefix="ahead", initializer=use_one_core)

    def begin() -> list[Future[T]]:
        return [makers.submit(make, item) for item in islice(items, 1)]  # empty past the last

    try:
        coming = deque(taker.submit(begin) for _ in range(most))
        while begun := coming.popleft().result():
            made = begun[0].result()
            coming.append(taker.submit(begin))
            yield made
    finally:
        taker.shutdown(cancel_futures=True)
        makers.shutdown(cancel_futures=True)
