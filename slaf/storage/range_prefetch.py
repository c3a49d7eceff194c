"""Parallel reads of the ranges of a remote file, a few of them ahead of the reader."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["RANGE_BYTES", "RangePrefetcher"]


# Large enough to make the latency of a request a small part of its time, small enough to keep
# several in memory.
RANGE_BYTES = 1 << 20

# Requests under way beyond the one that the reader waits for; ranges kept; connections.
_AHEAD = 8
_KEPT = 24
_CONNECTIONS = 16


class RangePrefetcher:
    """Ranges of a file, by their number; a sequential reader finds the next ones under way.

    Several threads may read, each at its own position.

    Parameters
    ----------
    fetch
        Reads the bytes from one offset to another.
    ranges
        The start and stop of each range.
    """

    def __init__(
        self, fetch: Callable[[int, int], bytes], ranges: Sequence[tuple[int, int]]
    ) -> None:
        self._fetch = fetch
        self._ranges = ranges
        self._futures: OrderedDict[int, Future[bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._ranges)

    def __getitem__(self, number: int) -> bytes:
        with self._lock:
            is_sequential = number - 1 in self._futures
            future = self._request(number)
            if is_sequential:
                self._request_ahead(number + 1, len(self._ranges))
            while len(self._futures) > _KEPT:
                self._futures.popitem(last=False)
        try:
            return future.result()
        except BaseException:
            # The next reader of this range makes another attempt.
            with self._lock:
                if self._futures.get(number) is future:
                    del self._futures[number]
            raise

    def read(self, first: int, stop: int) -> list[bytes]:
        """Consecutive ranges, fetched in parallel."""
        with self._lock:
            self._request_ahead(first, stop)
        return [self[number] for number in range(first, stop)]

    def _request_ahead(self, first: int, stop: int) -> None:
        for number in range(first, min(stop, first + _AHEAD)):
            self._request(number)

    def _request(self, number: int) -> Future[bytes]:
        future = self._futures.pop(number, None)
        if future is None:
            future = _pool().submit(self._fetch, *self._ranges[number])
        self._futures[number] = future
        return future


@cache
def _pool() -> ThreadPoolExecutor:
    """Threads that wait for answers, shared by all files; they end with the process."""
    return ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="slaf-fetch")
