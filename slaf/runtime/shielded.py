"""Work in a thread of its own, amid which no signal is handled: HDF5 would not get over that."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from slaf.runtime.progress import Progress

__all__ = ["run_shielded"]


# Seconds.
_LOOKS = 0.2


def run_shielded(work: Callable[[Progress], None], seen: Progress) -> None:
    """Do work that tells of its progress, and wait for it.

    What it raises is raised here. When this thread is told to stop, by a Ctrl-C for one, the
    work is stopped where it next tells of its progress, and waited for.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(1, thread_name_prefix="slaf-export") as pool:
        done = pool.submit(work, _Stoppable(seen, stop))
        try:
            # A signal may be taken by another thread: this one sees it when it next looks.
            while not done.done():
                wait([done], _LOOKS)
            done.result()
        finally:
            stop.set()


class _Stopped(Exception):
    """The work ends here, because nobody waits for what it makes."""


class _Stoppable:
    """A `slaf.runtime.progress.Progress` that stops whoever tells of it."""

    def __init__(self, seen: Progress, stop: threading.Event) -> None:
        self._seen = seen
        self._stop = stop

    def begin(self, cells: int, nonzeros: int, total_cells: int) -> None:
        """The work begins."""
        self._go_on()
        self._seen.begin(cells, nonzeros, total_cells)

    def advance(self, cells: int, nonzeros: int) -> None:
        """Some of it is done."""
        self._go_on()
        self._seen.advance(cells, nonzeros)

    def _go_on(self) -> None:
        if self._stop.is_set():
            raise _Stopped
