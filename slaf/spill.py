"""Entries of a matrix in any order, put in the order of its rows in bounded memory."""

from __future__ import annotations

import math
import tempfile
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.arrays import RowRange, to_positions
from slaf.bands import Band, Entries, SortedBand, ascend, stable_order
from slaf.wanted import go_on_while_wanted

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from slaf.arrays import Batch

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
# Of what types whole numbers are kept, if they fit: counts hardly ever need the 64 bits they have.
_NARROW = (np.dtype("<u2"), np.dtype("<u4"))


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
        self._record = self._record_of(dtype)
        self._piece = min(max(memory // 2 // _BYTES_IN_PIECE, _LEAST_PIECE), _PIECE)
        self._band_cells = self._cells_in_a_band()
        self._bands: list[Band] = []
        self._sorted: OrderedDict[int, SortedBand | SortedRows] = OrderedDict()
        self._lock = threading.RLock()

    def scratch_bytes(self) -> tuple[int, int]:
        """The scratch that all entries take: the least, if their values are small, and the most."""
        least = self._record_of(_Narrowest(self.dtype).holding(np.empty(0, self.dtype)))
        return self.n_entries * least.itemsize, self.n_entries * self._record.itemsize

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
            bands = [Band(self._record, self._scratch) for _ in starts]
            narrow = _Narrowest(self.dtype)
            for piece in self._entries(self._piece):
                go_on_while_wanted()
                self._distribute(piece, bands, narrow)
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
            local = RowRange(start, stop).shifted(-first)
            for batch in self._sorted_band(index).batches(local):
                yield batch.shifted(first)
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

    def _distribute(self, piece: Entries, bands: list[Band], narrow: _Narrowest) -> None:
        cells, genes = piece.cells, piece.genes
        cells = to_positions(cells, self.shape[0], "cell", lambda wrong: f"gene {genes[wrong]}")
        # In fewer bits than they come in, another gene would be in the place of one that is too
        # large.
        to_positions(genes, self.shape[1], "gene", lambda wrong: f"cell {cells[wrong]}")
        cells = cells.astype(np.uint32, copy=False)
        owners = cells // np.uint32(self._band_cells)
        within = cells - owners * np.uint32(self._band_cells)
        owners = owners.astype(np.min_scalar_type(len(bands) - 1))
        # What Cell Ranger writes is in the order of cells.
        in_order = ascend(cells)
        order = slice(None) if in_order else stable_order(owners)
        records = np.empty(len(cells), self._record_of(narrow.holding(piece.values)))
        # Column by column: numpy moves whole records several times slower.
        records["cell"], records["gene"] = within[order], genes[order]
        records["value"] = piece.values[order]
        starts = np.searchsorted(owners[order], np.arange(1, len(bands), dtype=owners.dtype))
        for band, part in zip(bands, np.split(records, starts), strict=True):
            band.append(part, in_order=in_order)

    def _record_of(self, values: np.dtype[Any]) -> np.dtype[Any]:
        # Of a cell its place in its band is kept.
        gene = "<u2" if self.shape[1] <= _MOST_CELLS else "<u4"
        return np.dtype([("cell", "<u2"), ("gene", gene), ("value", values)])

    def _sorted_band(self, index: int) -> SortedBand | SortedRows:
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

    def _sort(self, band: Band, index: int) -> SortedBand | SortedRows:
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
        return SortedBand(band, shape, self._piece)


class _Narrowest:
    """The narrowest type that holds all values so far: of whole numbers, if none is negative."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        narrower = [narrow for narrow in _NARROW if narrow.itemsize < dtype.itemsize]
        self._left = narrower if dtype.kind in "iu" else []

    def holding(self, values: NDArray[Any]) -> np.dtype[Any]:
        """What holds these, too."""
        while self._left and len(values):
            if int(values.min()) >= 0 and int(values.max()) <= np.iinfo(self._left[0]).max:
                return self._left[0]
            self._left = self._left[1:]
        return self._left[0] if self._left else self._dtype
