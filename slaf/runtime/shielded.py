"""Work in a thread in which no signal handler runs: HDF5 does not survive one in its calls."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from slaf.runtime.progress import Progress

__all__ = ["run_shielded"]

# Seconds between checks for a signal.
_POLL_SECONDS = 0.2


def run_shielded(work: Callable[[Progress], None], progress: Progress) -> None:
    """Run work that reports its progress in a thread, and wait for it.

    Its exception is raised here. When this thread is interrupted, by Ctrl-C for example, the work
    stops at its next report of progress, and is waited for.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(1, thread_name_prefix="slaf-export") as pool:
        future = pool.submit(work, _StoppableProgress(progress, stop))
        try:
            # A signal may arrive in another thread: this one handles it when it next runs.
            while not future.done():
                wait([future], _POLL_SECONDS)
            future.result()
        finally:
            stop.set()


class _Stopped(Exception):
    """Ends work whose result nobody waits for."""


class _StoppableProgress:
    """A :class:`slaf.runtime.progress.Progress` that raises an error once it is stopped."""

    def __init__(self, progress: Progress, stop: threading.Event) -> None:
        self._progress = progress
        self._stop = stop

    def begin(self, cells: int, nonzeros: int, total_cells: int) -> None:
        """The work begins."""
        self._check()
        self._progress.begin(cells, nonzeros, total_cells)

    def advance(self, cells: int, nonzeros: int) -> None:
        """More cells and nonzeros are done."""
        self._check()
        self._progress.advance(cells, nonzeros)

    def _check(self) -> None:
        if self._stop.is_set():
            raise _Stopped
