"""An interruption soon ends work that precedes the first row."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from slaf.runtime.executors import run_parts
from slaf.runtime.prefetch import prefetch
from slaf.sparse.buckets import Coo
from slaf.sparse.external_sort import ExternalSort
from slaf.sparse.ranges import RowRange

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

N_CELLS, N_PIECES, SECONDS = 10, 200, 10.0
# The piece that is being read when Ctrl-C comes.
AMID = 10


@pytest.mark.parametrize("workers", [0, 2])
def test_sorting_ends(workers: int, tmp_path: Path) -> None:
    """Sorting of entries ends in the thread that does it."""
    pause, n_read, interrupts = SECONDS / N_PIECES, 0, True

    def slow_entries(_size: int) -> Iterator[Coo]:
        nonlocal n_read
        for piece in range(N_PIECES):
            if interrupts and piece == AMID:
                os.kill(os.getpid(), signal.SIGINT)
            time.sleep(pause)
            n_read += 1
            cells = np.array([piece % N_CELLS], np.uint32)
            yield Coo(cells, cells, np.ones(1, np.uint32))

    shape, dtype = (N_CELLS, N_CELLS), np.dtype(np.uint32)
    rows = ExternalSort(shape, dtype, N_PIECES, slow_entries, memory=1 << 20, scratch=tmp_path)
    nonzeros: list[int] = []

    def encode(part: RowRange) -> int:
        nonzeros.extend(batch.nnz for batch in prefetch(rows.batches(part), 2))
        return len(nonzeros)

    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_parts([RowRange(0, 5), RowRange(5, N_CELLS)], encode, nonzeros.append, workers)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert AMID <= n_read < N_PIECES
    assert nonzeros == []
    # The cancellation ends with the run: the next run reads all entries.
    pause, interrupts = 0.0, False
    run_parts([RowRange(0, N_CELLS)], encode, lambda _: None, workers)
    assert sum(nonzeros) == N_CELLS
