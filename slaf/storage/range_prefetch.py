"""Runs of bytes of a remote file, fetched ahead of who reads them, several at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["SPAN_BYTES", "RangePrefetcher"]


# Large enough that the way there and back is little of the time, small enough to hold several.
SPAN_BYTES = 1 << 20

# Requests under way beyond the one that is waited for.
_AHEAD = 8
_KEPT = 24
_CONNECTIONS = 16


class RangePrefetcher:
    """Spans of a file by their number; once two follow each other, the next ones are under way.

    May be used by several threads, each at its own place.

    Parameters
    ----------
    fetch
        Gives the bytes from one offset to another.
    spans
        Where each span begins and ends.
    """

    def __init__(
        self, fetch: Callable[[int, int], bytes], spans: Sequence[tuple[int, int]]
    ) -> None:
        self._fetch = fetch
        self._spans = spans
        self._futures: OrderedDict[int, Future[bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._spans)

    def __getitem__(self, number: int) -> bytes:
        with self._lock:
            in_order = number - 1 in self._futures
            wanted = self._begun(number)
            if in_order:
                for ahead in range(number + 1, min(number + 1 + _AHEAD, len(self._spans))):
                    self._begun(ahead)
            while len(self._futures) > _KEPT:
                self._futures.popitem(last=False)
        try:
            return wanted.result()
        except BaseException:
            # Whoever asks again is to have another try.
            with self._lock:
                if self._futures.get(number) is wanted:
                    del self._futures[number]
            raise

    def run(self, first: int, stop: int) -> list[bytes]:
        """Spans that follow each other, all under way at once."""
        with self._lock:
            for number in range(first, min(stop, first + _AHEAD)):
                self._begun(number)
        return [self[number] for number in range(first, stop)]

    def _begun(self, number: int) -> Future[bytes]:
        found = self._futures.pop(number, None)
        if found is None:
            found = _pool().submit(self._fetch, *self._spans[number])
        self._futures[number] = found
        return found


@cache
def _pool() -> ThreadPoolExecutor:
    """Threads that wait for answers, shared by all files; they end with the process."""
    return ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="slaf-fetch")
