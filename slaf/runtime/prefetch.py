"""An iterator that runs in a thread of its own, a few items ahead of whoever takes them."""

from __future__ import annotations

import threading
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING, TypeVar

from slaf.runtime.cancellation import inherit_cancel_events, set_cancel_events

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["prefetch"]

Item = TypeVar("Item")
_PATIENCE = 0.1


def prefetch(items: Iterable[Item], depth: int) -> Iterator[Item]:
    """The same items, made by a thread while the ones before are in use.

    Parameters
    ----------
    items
        Iterated in the thread from beginning to end, or until nobody takes them any more.
        What it raises is raised here, in its turn.
    depth
        How many may wait: with the one in use and the one being made, what memory must hold.
    """
    waiting: Queue[tuple[Item] | _End] = Queue(depth)
    abandoned = threading.Event()
    given_up = inherit_cancel_events(abandoned)

    def make() -> None:
        set_cancel_events(*given_up)
        _make(items, waiting, abandoned)

    maker = threading.Thread(target=make, name="slaf-ahead", daemon=True)
    maker.start()
    try:
        while not isinstance(found := waiting.get(), _End):
            yield found[0]
        if found.error is not None:
            raise found.error
    finally:
        abandoned.set()
        _empty(waiting)
        maker.join()


class _End:
    """Behind the last item: why there are no more."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def _make(
    items: Iterable[Item], waiting: Queue[tuple[Item] | _End], abandoned: threading.Event
) -> None:
    error: BaseException | None = None
    try:
        for item in items:
            if not _put((item,), waiting, abandoned):
                return
    except BaseException as caught:  # noqa: BLE001 - raised again by whoever takes the items
        error = caught
    _put(_End(error), waiting, abandoned)


def _put(
    item: tuple[Item] | _End, waiting: Queue[tuple[Item] | _End], abandoned: threading.Event
) -> bool:
    while not abandoned.is_set():
        try:
            waiting.put(item, timeout=_PATIENCE)
        except Full:
            continue
        return True
    return False


def _empty(waiting: Queue[tuple[Item] | _End]) -> None:
    while True:
        try:
            waiting.get_nowait()
        except Empty:
            return
