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

# Entries that are split, or sorted, at a time: they fit the caches of a processor.
_PIECE = 1 << 18
_LEAST_PIECE = 1 << 10
# What one of them takes meanwhile, at the most: as text, as parsed, and in its new order.
_BYTES_IN_PIECE = 128
# Larger bands than these are not sorted faster.
_ENOUGH = 1 << 22
# Cells are not equally full: with this much room a band may have more entries than it should.
_ROOM = 1.25
# A band's cells fit 16 bits, and mostly its number 8, which numpy sorts by radix; each band is an
# open file.
_MOST_CELLS = 1 << 16
_MOST_BANDS = 1 << 8


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
    readers
        How many read at once, and share it.
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
        readers: int = 1,
        scratch: str | os.PathLike[str] | None,
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self.n_entries = n_entries
        self._entries = entries
        self._memory = memory
        self._readers = readers
        self._scratch = tempfile.gettempdir() if scratch is None else scratch
        narrow = shape[1] <= _MOST_CELLS
        # Of a cell its place in its band is kept.
        fields = [("cell", "<u2"), ("gene", "<u2" if narrow else "<u4"), ("value", dtype)]
        self._record = np.dtype(fields)
        self._piece = min(max(memory // 2 // _BYTES_IN_PIECE, _LEAST_PIECE), _PIECE)
        self._band_cells = self._cells_in_a_band()
        self._bands: list[_Band] = []
        self._sorted: OrderedDict[int, _SortedBand | SortedRows] = OrderedDict()
        self._lock = threading.RLock()

    def scratch_bytes(self) -> int:
        """The scratch that all entries take."""
        return self.n_entries * self._record.itemsize

    def memory_bytes(self) -> int:
        """The memory that putting them in order takes."""
        in_band = self.n_entries * min(self._band_cells / max(self.shape[0], 1), 1)
        bands = min(round(in_band), self._affordable) * self._readers
        return self._piece * _BYTES_IN_PIECE + bands * self._bytes_sorted

    def fill(self) -> None:
        """Read all entries now, if that has not been done yet."""
        with self._lock:
            if self._bands or not self.shape[0]:
                return
            starts = range(0, self.shape[0], self._band_cells)
            bands = [_Band(self._record, self._scratch) for _ in starts]
            for piece in self._entries(self._piece):
                self._distribute(piece, bands)
            self._bands = bands

    def close(self) -> None:
        """Free the memory and the scratch now, and not when nobody knows of this any more."""
        with self._lock:
            for sorted_band in self._sorted.values():
                if isinstance(sorted_band, SortedRows):
                    sorted_band.close()
            self._sorted.clear()
            for band in self._bands:
                band.close()
            self._bands = []

    def first_values(self) -> NDArray[Any]:
        """The first values as they come."""
        for piece in self._entries(self._piece):
            return piece.values
        return np.empty(0, self.dtype)

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order."""
        self.fill()
        start = rows.start
        while start < rows.stop:
            index = start // self._band_cells
            first = index * self._band_cells
            end = min(first + self._band_cells, self.shape[0])
            stop = min(end, rows.stop)
            local = RowRange(start - first, stop - first)
            for batch in self._sorted_band(index).batches(local):
                shifted = RowRange(batch.rows.start + first, batch.rows.stop + first)
                yield Batch(shifted, batch.counts, batch.genes, batch.values)
            if stop == end:
                # Cells are mostly read in order: what is behind need not be kept.
                self._let_go(index)
            start = stop

    @property
    def _bytes_sorted(self) -> int:
        """Of an entry in the order of cells: its gene and its value."""
        return self._record["gene"].itemsize + self.dtype.itemsize

    @property
    def _affordable(self) -> int:
        """Entries of a band that may be in memory, beside a piece, for each who reads."""
        left = self._memory - self._piece * _BYTES_IN_PIECE
        return max(left // self._readers // self._bytes_sorted, 1)

    def _cells_in_a_band(self) -> int:
        n_cells = max(self.shape[0], 1)
        wanted = self.n_entries * _ROOM
        size = min(max(_ENOUGH, wanted / _MOST_BANDS), self._affordable)
        n_bands = min(math.ceil(wanted / size), _MOST_BANDS)
        return min(-(-n_cells // max(n_bands, 1)), _MOST_CELLS)

    def _distribute(self, piece: Entries, bands: list[_Band]) -> None:
        cells = _checked_cells(piece, self.shape[0])
        _check_genes(piece, self.shape[1])
        owners = (cells // np.uint32(self._band_cells)).astype(np.min_scalar_type(len(bands) - 1))
        order = _order(owners)
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
            while len(self._sorted) >= self._readers:
                self._sorted.popitem(last=False)
            self._sorted[index] = self._sort(self._bands[index], index)
            return self._sorted[index]

    def _let_go(self, index: int) -> None:
        with self._lock:
            self._sorted.pop(index, None)

    def _sort(self, band: _Band, index: int) -> _SortedBand | SortedRows:
        n_cells = min(self._band_cells, self.shape[0] - index * self._band_cells)
        shape = (n_cells, self.shape[1])
        if len(band) > self._affordable and 1 < n_cells < self.shape[0]:
            return SortedRows(
                shape,
                self.dtype,
                len(band),
                band.pieces,
                memory=self._memory // self._readers,
                scratch=self._scratch,
            )
        return _SortedBand(band, shape, self._piece)


def _order(numbers: NDArray[Any]) -> NDArray[np.intp] | slice:
    """What puts numbers in ascending order, and leaves equal ones in theirs."""
    # What Cell Ranger writes is in the order of cells.
    if (numbers[1:] >= numbers[:-1]).all():
        return slice(None)
    return np.argsort(numbers, kind="stable")


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


def _check_genes(piece: Entries, n_genes: int) -> None:
    # In fewer bits than they come in, another gene would be in the place of one that is too large.
    genes = piece.genes
    if genes.dtype.kind not in "iu":
        msg = f"gene positions are of type {genes.dtype}, not integers"
        raise DamagedInput(msg)
    unsigned = genes.view(f"u{genes.dtype.itemsize}")
    if len(unsigned) and int(unsigned.max()) >= n_genes:
        wrong = int(np.argmax(unsigned >= n_genes))
        msg = (
            f"cell {piece.cells[wrong]} has an entry for gene {genes[wrong]}, "
            f"but the matrix has {n_genes:,} genes (0 to {n_genes - 1:,})"
        )
        raise DamagedInput(msg)


class _Band:
    """The entries of some cells, in an unnamed file."""

    def __init__(self, record: np.dtype[Any], scratch: str | os.PathLike[str]) -> None:
        self.record = record
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

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def read(self, start: int, stop: int) -> NDArray[Any]:
        if self._file is None:
            return np.empty(0, self.record)
        size = self.record.itemsize
        buffer = bytearray((stop - start) * size)
        view = memoryview(buffer)
        at = start * size
        while view:
            n_read = os.preadv(self._file.fileno(), [view], at)
            view, at = view[n_read:], at + n_read
        return np.frombuffer(buffer, self.record)

    def pieces(self, size: int) -> Iterator[Entries]:
        for start in range(0, self._length, size):
            records = self.read(start, min(start + size, self._length))
            yield Entries(records["cell"], records["gene"], records["value"])


class _SortedBand:
    """The entries of some cells in memory, in the order of the cells."""

    def __init__(self, band: _Band, shape: tuple[int, int], size: int) -> None:
        n_cells, self._n_genes = shape
        counts = np.zeros(n_cells, np.int64)
        for piece in band.pieces(size):
            counts += np.bincount(piece.cells, minlength=n_cells)
        self._indptr = np.concatenate([[0], np.cumsum(counts)])
        self._genes = np.empty(len(band), band.record["gene"])
        self._values = np.empty(len(band), band.record["value"])
        # A piece at a time, so that beside the result there is next to nothing in memory.
        begun = self._indptr[:-1].copy()
        for piece in band.pieces(size):
            cells = piece.cells.astype(np.uint16)
            order = _order(cells)
            counts = np.bincount(cells, minlength=n_cells)
            # How far each cell's entries move from where they are in the sorted piece.
            moves = begun - (np.cumsum(counts) - counts)
            places = np.arange(len(cells)) + np.repeat(moves, counts)
            self._genes[places] = piece.genes[order]
            self._values[places] = piece.values[order]
            begun += counts

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        low, high = int(self._indptr[rows.start]), int(self._indptr[rows.stop])
        n_batches = max((high - low) // BATCH_NONZEROS, 1)
        for part in rows.split(max(-(-len(rows) // n_batches), 1)):
            indptr = self._indptr[part.start : part.stop + 1]
            span = slice(int(indptr[0]), int(indptr[-1]))
            # Copies: a batch that waits to be written must not keep its whole band in memory.
            genes, values = self._genes[span].copy(), self._values[span].copy()
            yield batch_from_compressed(part, indptr, genes, values, self._n_genes)
