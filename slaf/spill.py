"""Entries of a matrix in any order, put in the order of its rows in bounded memory."""

from __future__ import annotations

import math
import os
import tempfile
import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from slaf.arrays import BATCH_NONZEROS, Batch, RowRange, batch_from_compressed, to_ids
from slaf.errors import DamagedInput, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

__all__ = ["Entries", "SortedRows"]

# Of a byte budget: what sorting a band, and splitting what is read, take for each entry.
_BYTES_TO_SORT = 56
_BYTES_TO_SPLIT = 64
# Cells are not equally full: with this much room a band may have more entries than it should.
_ROOM = 1.25
# A band's cells fit 16 bits, for which numpy sorts by radix; each band is an open file.
_MOST_CELLS = 1 << 16
_MOST_BANDS = 256
_BANDS_KEPT = 2


@dataclass(frozen=True, slots=True)
class Entries:
    """Some entries of a matrix, in any order: three arrays of one length."""

    cells: NDArray[Any]
    genes: NDArray[Any]
    values: NDArray[Any]


class SortedRows:
    """A matrix by ranges of cells, made of entries that come in any order.

    With cells and genes exchanged, it is one by ranges of genes.

    The entries are read once, when the first cells are asked for, and distributed over bands
    of cells: unnamed files in the scratch directory, which the system frees whatever becomes
    of this process. A band is then sorted in memory; one that is too large is distributed again.

    Parameters
    ----------
    shape
        Cells and genes.
    dtype
        The type of the values.
    n_entries
        How many entries there are, or at most.
    entries
        Gives all entries in pieces of at most the size it is called with.
    memory
        The budget in bytes.
    scratch
        The directory for what does not fit; None for the system's.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        dtype: np.dtype[Any],
        n_entries: int,
        entries: Callable[[int], Iterator[Entries]],
        *,
        memory: int,
        scratch: str | os.PathLike[str] | None,
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self.n_entries = n_entries
        self._entries = entries
        self._memory = memory
        self._scratch = tempfile.gettempdir() if scratch is None else scratch
        self._record = np.dtype([("cell", "<u4"), ("gene", "<u4"), ("value", dtype)])
        self._band_cells = self._cells_in_a_band()
        self._bands: list[_Band] = []
        self._sorted: OrderedDict[int, _SortedBand | SortedRows] = OrderedDict()
        self._lock = threading.RLock()

    def scratch_bytes(self) -> int:
        """The scratch that all entries take."""
        return self.n_entries * self._record.itemsize

    def first_values(self) -> NDArray[Any]:
        """The first values as they come."""
        for piece in self._pieces():
            return piece.values
        return np.empty(0, self.dtype)

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order."""
        self._fill()
        start = rows.start
        while start < rows.stop:
            index = start // self._band_cells
            stop = min((index + 1) * self._band_cells, rows.stop)
            first = index * self._band_cells
            local = RowRange(start - first, stop - first)
            for batch in self._sorted_band(index).batches(local):
                shifted = RowRange(batch.rows.start + first, batch.rows.stop + first)
                yield Batch(shifted, batch.counts, batch.genes, batch.values)
            start = stop

    def _cells_in_a_band(self) -> int:
        n_cells = max(self.shape[0], 1)
        affordable = max(self._memory // _BYTES_TO_SORT, 1)
        n_bands = min(math.ceil(self.n_entries * _ROOM / affordable), _MOST_BANDS)
        return min(-(-n_cells // max(n_bands, 1)), _MOST_CELLS)

    def _fill(self) -> None:
        with self._lock:
            if self._bands or not self.shape[0]:
                return
            starts = range(0, self.shape[0], self._band_cells)
            bands = [_Band(self._record, self._scratch) for _ in starts]
            for piece in self._pieces():
                self._distribute(piece, bands)
            self._bands = bands

    def _pieces(self) -> Iterator[Entries]:
        """All entries, a few at a time: as many as the budget allows."""
        size = max(min(self._memory // _BYTES_TO_SPLIT, BATCH_NONZEROS), 1 << 10)
        return self._entries(size)

    def _distribute(self, piece: Entries, bands: list[_Band]) -> None:
        cells = _checked_cells(piece, self.shape[0])
        owners = (cells // np.uint32(self._band_cells)).astype(np.uint16)
        order = np.argsort(owners, kind="stable")
        records = np.empty(len(cells), self._record)
        # Column by column: numpy moves whole records several times slower.
        records["cell"] = (cells % np.uint32(self._band_cells))[order]
        records["gene"], records["value"] = piece.genes[order], piece.values[order]
        ends = np.cumsum(np.bincount(owners, minlength=len(bands)))
        for band, part in zip(bands, np.split(records, ends[:-1]), strict=True):
            band.append(part)

    def _sorted_band(self, index: int) -> _SortedBand | SortedRows:
        with self._lock:
            if index in self._sorted:
                self._sorted.move_to_end(index)
                return self._sorted[index]
            while len(self._sorted) >= _BANDS_KEPT:
                self._sorted.popitem(last=False)
            self._sorted[index] = self._sort(self._bands[index], index)
            return self._sorted[index]

    def _sort(self, band: _Band, index: int) -> _SortedBand | SortedRows:
        n_cells = min(self._band_cells, self.shape[0] - index * self._band_cells)
        shape = (n_cells, self.shape[1])
        if len(band) * _BYTES_TO_SORT > self._memory and 1 < n_cells < self.shape[0]:
            return SortedRows(
                shape,
                self.dtype,
                len(band),
                band.pieces,
                memory=self._memory,
                scratch=self._scratch,
            )
        return _SortedBand(band.read(0, len(band)), shape)


def _checked_cells(piece: Entries, n_cells: int) -> NDArray[np.uint32]:
    everything = RowRange(0, 1), np.array([len(piece.cells)])
    try:
        return to_ids(piece.cells, n_cells, *everything)
    except DamagedInput as error:
        if piece.cells.dtype.kind not in "iu":
            msg = f"cell positions are of type {piece.cells.dtype}, not integers"
            raise DamagedInput(msg) from error
        wrong = int(np.argmax((piece.cells < 0) | (piece.cells >= n_cells)))
        msg = (
            f"gene {piece.genes[wrong]} has an entry for cell {piece.cells[wrong]}, "
            f"but the matrix has {n_cells:,} cells (0 to {n_cells - 1:,})"
        )
        raise DamagedInput(msg) from error


class _Band:
    """The entries of some cells, in an unnamed file."""

    def __init__(self, record: np.dtype[Any], scratch: str | os.PathLike[str]) -> None:
        self._record = record
        self._scratch = scratch
        self._file: IO[bytes] | None = None
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, records: NDArray[Any]) -> None:
        if not len(records):
            return
        try:
            if self._file is None:
                # It has no name, so that nothing is left of it whatever becomes of this process.
                self._file = tempfile.TemporaryFile(dir=self._scratch, buffering=0)  # noqa: SIM115
                weakref.finalize(self, self._file.close)
            view = np.ascontiguousarray(records).view(np.uint8).data
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            msg = (
                f"{self._scratch}: scratch data cannot be written there ({error.strerror}); "
                "name another directory with --scratch"
            )
            raise StorageError(error.errno, msg) from error
        self._length += len(records)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        if self._file is None:
            return np.empty(0, self._record)
        size = self._record.itemsize
        buffer = bytearray((stop - start) * size)
        view = memoryview(buffer)
        at = start * size
        while view:
            n_read = os.preadv(self._file.fileno(), [view], at)
            view, at = view[n_read:], at + n_read
        return np.frombuffer(buffer, self._record)

    def pieces(self, size: int) -> Iterator[Entries]:
        for start in range(0, self._length, size):
            records = self.read(start, min(start + size, self._length))
            yield Entries(records["cell"], records["gene"], records["value"])


class _SortedBand:
    """The entries of some cells in memory, in the order of the cells."""

    def __init__(self, records: NDArray[Any], shape: tuple[int, int]) -> None:
        cells = records["cell"].astype(np.uint16)
        counts = np.bincount(cells, minlength=shape[0])
        self._indptr = np.concatenate([[0], np.cumsum(counts)])
        order = np.argsort(cells, kind="stable")
        self._genes = records["gene"][order]
        self._values = records["value"][order]
        self._n_genes = shape[1]

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        low, high = int(self._indptr[rows.start]), int(self._indptr[rows.stop])
        n_batches = max((high - low) // BATCH_NONZEROS, 1)
        for part in rows.split(max(-(-len(rows) // n_batches), 1)):
            indptr = self._indptr[part.start : part.stop + 1]
            span = slice(int(indptr[0]), int(indptr[-1]))
            # Copies: a batch that waits to be written must not keep its whole band in memory.
            genes, values = self._genes[span].copy(), self._values[span].copy()
            yield batch_from_compressed(part, indptr, genes, values, self._n_genes)
