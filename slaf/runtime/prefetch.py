"""Prefetching of an iterator in a background thread, a few items ahead of the consumer."""

from __future__ import annotations

import threading
from contextlib import suppress
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING, TypeVar

from slaf.runtime.cancellation import inherit_cancel_events, set_cancel_events

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["prefetch"]

Item = TypeVar("Item")

# Seconds between checks whether the consumer has stopped.
_POLL_SECONDS = 0.1


def prefetch(items: Iterable[Item], depth: int) -> Iterator[Item]:
    """The same items, produced by a thread while earlier ones are in use.

    Parameters
    ----------
    items
        Iterated in the thread until its end, or until the consumer stops. Its exception is raised
        here, after the items before it.
    depth
        The most items in the queue. Memory holds two more: the one in use and the next one.
    """
    queue: Queue[tuple[Item] | BaseException | None] = Queue(depth)
    stopped = threading.Event()
    cancel_events = inherit_cancel_events(stopped)

    def produce() -> None:
        set_cancel_events(*cancel_events)
        _produce(items, queue, stopped)

    producer = threading.Thread(target=produce, name="slaf-prefetch", daemon=True)
    producer.start()
    try:
        while isinstance(entry := queue.get(), tuple):
            yield entry[0]
        if entry is not None:
            raise entry
    finally:
        stopped.set()
        _clear(queue)
        producer.join()


def _produce(
    items: Iterable[Item],
    queue: Queue[tuple[Item] | BaseException | None],
    stopped: threading.Event,
) -> None:
    """Put each item into the queue, then the exception of `items`, or None."""
    failure: BaseException | None = None
    try:
        for item in items:
            if not _put((item,), queue, stopped):
                return
    except BaseException as error:  # noqa: BLE001 - raised again in the consumer
        failure = error
    _put(failure, queue, stopped)


def _put(
    entry: tuple[Item] | BaseException | None,
    queue: Queue[tuple[Item] | BaseException | None],
    stopped: threading.Event,
) -> bool:
    while not stopped.is_set():
        try:
            queue.put(entry, timeout=_POLL_SECONDS)
        except Full:
            continue
        return True
    return False


def _clear(queue: Queue[tuple[Item] | BaseException | None]) -> None:
    with suppress(Empty):
        while True:
            queue.get_nowait()
