"""An interruption soon ends work that precedes the first row."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from slaf.runtime.executors import run_parts
from slaf.runtime.prefetch import prefetch
from slaf.sparse.external_sort import Coo, ExternalSort
from slaf.sparse.ranges import RowRange

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

N_CELLS, N_PIECES, SECONDS = 10, 200, 10.0


@pytest.mark.parametrize("workers", [0, 2])
def test_sorting_ends(workers: int, tmp_path: Path) -> None:
    """Sorting of entries ends in the thread that does it."""
    pause = SECONDS / N_PIECES

    def slow_entries(_size: int) -> Iterator[Coo]:
        for piece in range(N_PIECES):
            time.sleep(pause)
            cells = np.array([piece % N_CELLS], np.uint32)
            yield Coo(cells, cells, np.ones(1, np.uint32))

    shape, dtype = (N_CELLS, N_CELLS), np.dtype(np.uint32)
    rows = ExternalSort(shape, dtype, N_PIECES, slow_entries, memory=1 << 20, scratch=tmp_path)
    nonzeros: list[int] = []

    def encode(part: RowRange) -> int:
        nonzeros.extend(batch.nnz for batch in prefetch(rows.batches(part), 2))
        return len(nonzeros)

    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    started = time.monotonic()
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run_parts([RowRange(0, 5), RowRange(5, N_CELLS)], encode, nonzeros.append, workers)
    finally:
        timer.join()
        signal.signal(signal.SIGINT, handler)
    assert time.monotonic() - started < SECONDS / 2
    assert nonzeros == []
    # The cancellation ends with the run: the next run reads all entries.
    pause = 0.0
    run_parts([RowRange(0, N_CELLS)], encode, lambda _: None, workers)
    assert sum(nonzeros) == N_CELLS
