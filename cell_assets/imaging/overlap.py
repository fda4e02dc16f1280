"""Working on some items in threads while the next is read: in order, and never on more than a few at once."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")

_WAITING_PER_THREAD = 2
"""Work that waits beside each that is done, so that no thread waits while one item takes long to read."""


class Overlap:
    """Threads that serve one item after another; as many as this process has cores. Close it after use."""

    def __init__(self) -> None:
        self._n_threads = len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(self._n_threads)

    def map(self, work: Callable[[_T], _R], items: Iterable[_T], most: int) -> Iterator[_R]:
        """`work(item)` of every item, in order. Items are made by the calling thread, one after another.

        Args:
            most: items and results that may be held at once; a few more than threads use all of them.
        """
        ahead = max(1, min(most, _WAITING_PER_THREAD * self._n_threads))
        pending: deque[Future[_R]] = deque()
        try:
            for item in items:
                pending.append(self._pool.submit(work, item))
                del item  # held by the work alone, or one more would live while the next is made
                if len(pending) >= ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

    def close(self) -> None:
        """Let the threads go, when they have done what they are at."""
        self._pool.shutdown()
