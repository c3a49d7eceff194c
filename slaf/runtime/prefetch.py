"""Prefetching of an iterator in a background thread, a few items ahead of the consumer."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from slaf.runtime.cancellation import inherit_cancel_events, set_cancel_events

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["prefetch"]

Item = TypeVar("Item")


def prefetch(items: Iterable[Item], depth: int) -> Iterator[Item]:
    """The same items, produced by a thread while earlier ones are in use.

    Parameters
    ----------
    items
        Iterated in the thread until its end, or until the consumer stops. Its exception is raised
        here, after the items before it.
    depth
        The most items that wait. Memory holds two more: the one in use and the next one.
    """
    iterator = iter(items)

    def produce() -> list[Item]:
        return list(islice(iterator, 1))

    stopped = threading.Event()
    producer = ThreadPoolExecutor(
        1, "slaf-prefetch", set_cancel_events, inherit_cancel_events(stopped)
    )
    try:
        produced: deque[Future[list[Item]]] = deque()
        produced.extend(producer.submit(produce) for _ in range(depth + 1))
        while item := produced.popleft().result():
            produced.append(producer.submit(produce))
            yield item.pop()
    finally:
        stopped.set()
        producer.shutdown(cancel_futures=True)
