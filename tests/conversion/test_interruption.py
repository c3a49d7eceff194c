"""What takes long before the first row is written ends soon when a run is interrupted."""

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
    """Entries that are still being brought into order are given up, by whatever thread."""
    pause = SECONDS / N_PIECES

    def slowly(_size: int) -> Iterator[Coo]:
        for piece in range(N_PIECES):
            time.sleep(pause)
            cells = np.array([piece % N_CELLS], np.uint32)
            yield Coo(cells, cells, np.ones(1, np.uint32))

    shape, dtype = (N_CELLS, N_CELLS), np.dtype(np.uint32)
    rows = ExternalSort(shape, dtype, N_PIECES, slowly, memory=1 << 20, scratch=tmp_path)
    taken: list[int] = []

    def encode(part: RowRange) -> int:
        taken.extend(batch.nnz for batch in prefetch(rows.batches(part), 2))
        return len(taken)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    began = time.monotonic()
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run_parts([RowRange(0, 5), RowRange(5, N_CELLS)], encode, taken.append, workers)
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began < SECONDS / 2
    assert taken == []
    # Nothing of the process is given up for good: the next run reads all.
    pause = 0.0
    run_parts([RowRange(0, N_CELLS)], encode, lambda _: None, workers)
    assert sum(taken) == N_CELLS
