"""Windows of cells: read ahead by threads, and cut into batches."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from slaf.runtime.malloc import trim_heap
from slaf.training.batch import Batch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from slaf.training.batch import Encoder
    from slaf.training.columns import CellColumns
    from slaf.training.order import Window
    from slaf.training.rows import RowReader, Rows
    from slaf.training.sampling import Draw

__all__ = ["BatchMaker", "read_batches"]


@dataclass(frozen=True)
class BatchMaker:
    """Makes batches of rows that were read.

    Attributes
    ----------
    reader
        Reads the rows.
    encoder
        Makes `Batch.X`.
    columns
        What goes along with cells.
    measured
        Sources × genes: whether a source measured a gene; None if all did.
    """

    reader: RowReader
    encoder: Encoder
    columns: CellColumns
    measured: NDArray[np.bool_] | None

    def batch(
        self,
        rows: Rows,
        cells: NDArray[np.int64],
        places: NDArray[np.int64],
        key: tuple[int, int, int],
        controls: Batch | None = None,
    ) -> Batch:
        """A batch.

        Parameters
        ----------
        rows
            Rows that were read.
        cells, places
            The positions of cells in the dataset, and in the rows.
        key
            As for `Encoder.encode`.
        controls
            The controls of the cells.
        """
        entries = rows.take(places, self.reader.dtype)
        return Batch(
            self.encoder.encode(entries, key),
            cells,
            **self.columns.of(cells),
            controls=controls,
            _entries=entries,
            _measured=self.measured,
        )


class _Reading:
    """A window whose cells are read, or will be."""

    def __init__(
        self, maker: BatchMaker, window: Window, draw: Draw, units: NDArray[np.int64]
    ) -> None:
        self._maker, self._window = maker, window
        matrices = [draw.cells] if draw.controls is None else [draw.cells, draw.controls]
        self._cells = [matrix[units] for matrix in matrices]
        self._unique, inverse = np.unique(np.stack(self._cells), return_inverse=True)
        self._places = inverse.reshape(len(matrices), *self._cells[0].shape)
        reader = maker.reader
        self.n_bytes = int(reader.lengths(self._unique).sum()) * reader.entry_bytes
        self._reading = reader.reading(self._unique)
        self.begin = self._reading.begin

    def batches(self, start: int, seed: int, epoch: int) -> Iterator[Batch]:
        """Its batches, from the batch number `start` of the stream on."""
        rows, cuts = self._reading.rows(), self._window.cuts - self._window.cuts[0]
        for at in range(max(start - self._window.first_batch, 0), self._window.n_batches):
            span = slice(cuts[at], cuts[at + 1])
            # Batches of different streams have different keys: the first slot tells them apart.
            number = 2 * int(self._window.cuts[at]) % (1 << 31)
            controls: Batch | None = None
            for matrix in reversed(range(len(self._cells))):
                cells, places = (
                    each[span].ravel() for each in (self._cells[matrix], self._places[matrix])
                )
                controls = self._maker.batch(
                    rows, cells, places, (seed, epoch, number + matrix), controls
                )
            if controls is not None:
                yield controls


def read_batches(
    maker: BatchMaker,
    windows: Iterable[tuple[Window, Draw, NDArray[np.int64]]],
    *,
    start: int,
    seed: int,
    epoch: int,
    threads: int,
    memory: int,
) -> Iterator[Batch]:
    """The batches of some windows; the next one is read ahead, as far as memory holds it.

    Parameters
    ----------
    maker
        Makes the batches.
    windows
        Each window, the cells of the epoch, and the units of the window in them.
    start
        The number of the first batch in the stream.
    seed, epoch
        The key of what is drawn in a batch.
    threads
        Threads that read.
    memory
        Bytes that windows may take together; 0 to read nothing ahead.
    """
    # Memory that the threads of an earlier epoch have freed, also of one that was left.
    trim_heap()
    with ThreadPoolExecutor(threads, "slaf-loader") as pool:
        current: _Reading | None = None
        for window, draw, units in windows:
            upcoming = _Reading(maker, window, draw, units)
            if current is not None:
                ahead = min(
                    memory - current.n_bytes, int(upcoming.n_bytes * maker.reader.read_ahead)
                )
                upcoming.begin(pool, ahead)
                yield from current.batches(start, seed, epoch)
                # Its rows are free before the rest of the next window is read.
                current = None
            upcoming.begin(pool)
            current = upcoming
        if current is not None:
            yield from current.batches(start, seed, epoch)
