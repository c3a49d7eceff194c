"""CPU seconds and peak memory of this process, of whole epochs, or from its start on."""

from __future__ import annotations

import json
import resource
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["print_epochs", "print_whole", "watch_memory"]

# Whole epochs are run until so many CPU seconds are over; a slow program is stopped in mid-epoch.
_ENOUGH = 1.0
_TOO_MUCH = 10.0

_STATUS = Path("/proc/self/status")
_peak = 0


def watch_memory() -> None:
    """Watch the anonymous memory of this process until its end."""
    threading.Thread(target=_watch, daemon=True).start()


def print_epochs(epoch: Callable[[], Generator[int, None, None]]) -> None:
    """Print cells and CPU seconds of epochs, and the peak of memory.

    A first batch, which is not measured, opens and makes what is read.

    Parameters
    ----------
    epoch
        Begins an epoch: the numbers of cells of its batches.
    """
    first = epoch()
    next(first)
    first.close()
    started, cells, used = time.process_time(), 0, 0.0
    while used < _ENOUGH:
        for n in epoch():
            cells += n
            used = time.process_time() - started
            if used > _TOO_MUCH:
                break
        used = time.process_time() - started
    print(json.dumps({"cells": cells, "cpu_seconds": used, "peak_bytes": _peak}))


def print_whole() -> None:
    """Print CPU seconds and peak memory of this process and those that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    seconds = sum(each.ru_utime + each.ru_stime for each in used)
    print(json.dumps({"cpu_seconds": seconds, "peak_bytes": _peak}))


def _watch() -> None:
    global _peak  # noqa: PLW0603 - one process, one peak
    while True:
        lines = _STATUS.read_text().splitlines()
        _peak = max(_peak, *(int(x.split()[1]) << 10 for x in lines if x.startswith("RssAnon")))
        time.sleep(0.02)
