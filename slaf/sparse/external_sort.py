"""The entries of some cells: as they came, in a file without a name, and sorted, in memory."""

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

from slaf.errors import StorageError
from slaf.runtime.cancellation import check_cancelled
from slaf.sparse.batch import BATCH_NONZEROS, Batch, batch_from_compressed
from slaf.sparse.casting import checked_indices
from slaf.sparse.ranges import RowRange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

__all__ = ["Bucket", "Coo", "ExternalSort", "SortedBucket", "is_sorted", "stable_order"]


@dataclass(frozen=True, slots=True)
class Coo:
    """Some entries of a matrix, in any order: three arrays of one length."""

    cells: NDArray[Any]
    genes: NDArray[Any]
    values: NDArray[Any]


def is_sorted(numbers: NDArray[Any]) -> bool:
    """Whether none is smaller than the one before."""
    return bool((numbers[1:] >= numbers[:-1]).all())


def stable_order(numbers: NDArray[Any]) -> NDArray[np.intp] | slice:
    """What puts numbers in ascending order, and leaves equal ones in theirs."""
    return slice(None) if is_sorted(numbers) else np.argsort(numbers, kind="stable")


@dataclass(slots=True)
class _Run:
    """Records of one type, one after the other in the file."""

    record: np.dtype[Any]
    offset: int
    length: int = 0


class Bucket:
    """The entries of some cells, in an unnamed file.

    Parameters
    ----------
    record
        What holds any of them.
    scratch
        The directory of the file.

    Attributes
    ----------
    record
        What holds each of those that are there: "cell", counted from the band's first, "gene"
        and "value".
    in_order
        Whether their cells ascend.
    """

    def __init__(self, record: np.dtype[Any], scratch: str | os.PathLike[str]) -> None:
        self.record = record
        self.in_order = True
        self._scratch = scratch
        self._file: IO[bytes] | None = None
        self._stretches: list[_Run] = []
        self._size = 0
        self._last_cell = 0

    def __len__(self) -> int:
        return sum(stretch.length for stretch in self._stretches)

    def append(self, records: NDArray[Any], *, in_order: bool) -> None:
        """Put entries behind those that are there; their types may only become wider.

        Parameters
        ----------
        records
            With the fields of `record`.
        in_order
            Whether their cells ascend.

        Raises
        ------
        StorageError
            If the disk is full.
        """
        if not len(records):
            return
        if not self._stretches or self.record != records.dtype:
            self.record = records.dtype
            self._stretches.append(_Run(records.dtype, self._size))
        self.in_order &= in_order and int(records["cell"][0]) >= self._last_cell
        self._last_cell = int(records["cell"][-1])
        self._write(np.ascontiguousarray(records).view(np.uint8).data)
        self._stretches[-1].length += len(records)

    def close(self) -> None:
        """Free the file."""
        if self._file is not None:
            self._file.close()

    def pieces(self, size: int) -> Iterator[Coo]:
        """All of them, as they came, so many at a time at the most."""
        for stretch in self._stretches:
            for part in RowRange(0, stretch.length).split(size):
                records = self._read(stretch, part)
                yield Coo(records["cell"], records["gene"], records["value"])

    def _write(self, view: memoryview) -> None:
        try:
            file = self._opened()
            while view:
                written = file.write(view)
                self._size += written
                view = view[written:]
        except OSError as error:
            msg = (
                f"{self._scratch}: scratch data cannot be written there ({error.strerror}); "
                "name another directory with --scratch"
            )
            raise StorageError(error.errno, msg) from error

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            # It has no name, so that nothing is left of it whatever becomes of this process.
            self._file = tempfile.TemporaryFile(dir=self._scratch, buffering=0)  # noqa: SIM115
            weakref.finalize(self, self._file.close)
        return self._file

    def _read(self, stretch: _Run, part: RowRange) -> NDArray[Any]:
        size = stretch.record.itemsize
        buffer = bytearray(len(part) * size)
        view = memoryview(buffer)
        at = stretch.offset + part.start * size
        while view:
            n_read = os.preadv(self._opened().fileno(), [view], at)
            view, at = view[n_read:], at + n_read
        return np.frombuffer(buffer, stretch.record)


class SortedBucket:
    """The entries of a band in memory, in the order of its cells.

    Parameters
    ----------
    band
        What is sorted.
    shape
        Its cells, and all genes.
    size
        How many entries are read, and put in their places, at a time.
    """

    def __init__(self, band: Bucket, shape: tuple[int, int], size: int) -> None:
        n_cells, self._n_genes = shape
        self._indptr = np.zeros(n_cells + 1, np.int64)
        self._genes = np.empty(len(band), band.record["gene"])
        self._values = np.empty(len(band), band.record["value"])
        taken = 0
        for piece in band.pieces(size):
            self._indptr[1:] += np.bincount(piece.cells, minlength=n_cells)
            if band.in_order:
                there = slice(taken, taken + len(piece.cells))
                self._genes[there], self._values[there] = piece.genes, piece.values
                taken = there.stop
        np.cumsum(self._indptr, out=self._indptr)
        if not band.in_order:
            self._sort(band, size)

    def _sort(self, band: Bucket, size: int) -> None:
        # A piece at a time, so that beside the result there is next to nothing in memory.
        begun = self._indptr[:-1].copy()
        for piece in band.pieces(size):
            cells = np.ascontiguousarray(piece.cells)
            order = stable_order(cells)
            counts = np.bincount(cells, minlength=len(begun))
            # How far each cell's entries move from where they are in the sorted piece.
            moves = begun - (np.cumsum(counts) - counts)
            places = np.arange(len(cells)) + np.repeat(moves, counts)
            self._genes[places] = piece.genes[order]
            self._values[places] = piece.values[order]
            begun += counts

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, counted from the band's first, in order."""
        low, high = int(self._indptr[rows.start]), int(self._indptr[rows.stop])
        n_batches = max((high - low) // BATCH_NONZEROS, 1)
        for part in rows.split(max(-(-len(rows) // n_batches), 1)):
            indptr = self._indptr[part.start : part.stop + 1]
            span = slice(int(indptr[0]), int(indptr[-1]))
            # Copies: a batch that waits to be written must not keep its whole band in memory.
            genes, values = self._genes[span].copy(), self._values[span].copy()
            yield batch_from_compressed(part, indptr, genes, values, self._n_genes)


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
_MOST_BUCKETS = 1 << 8

# Of what types whole numbers are kept, if they fit: counts hardly ever need the 64 bits they have.
_NARROW = (np.dtype("<u2"), np.dtype("<u4"))


class ExternalSort:
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
        entries: Callable[[int], Iterator[Coo]],
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
        self._bands: list[Bucket] = []
        self._sorted: OrderedDict[int, SortedBucket | ExternalSort] = OrderedDict()
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
            bands = [Bucket(self._record, self._scratch) for _ in starts]
            narrow = _Narrowest(self.dtype)
            for piece in self._entries(self._piece):
                check_cancelled()
                self._distribute(piece, bands, narrow)
            self._bands = bands

    def close(self) -> None:
        """Free the memory and the scratch now, and not when nobody knows of this any more."""
        with self._lock:
            for sorted_band in self._sorted.values():
                if isinstance(sorted_band, ExternalSort):
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
        size = min(max(_ENOUGH, wanted / _MOST_BUCKETS), self._affordable)
        n_bands = min(math.ceil(wanted / size), _MOST_BUCKETS)
        return min(-(-n_cells // max(n_bands, 1)), _MOST_CELLS)

    def _distribute(self, piece: Coo, bands: list[Bucket], narrow: _Narrowest) -> None:
        cells, genes = piece.cells, piece.genes
        cells = checked_indices(cells, self.shape[0], "cell", lambda wrong: f"gene {genes[wrong]}")
        # In fewer bits than they come in, another gene would be in the place of one that is too
        # large.
        checked_indices(genes, self.shape[1], "gene", lambda wrong: f"cell {cells[wrong]}")
        cells = cells.astype(np.uint32, copy=False)
        owners = cells // np.uint32(self._band_cells)
        within = cells - owners * np.uint32(self._band_cells)
        owners = owners.astype(np.min_scalar_type(len(bands) - 1))
        # What Cell Ranger writes is in the order of cells.
        in_order = is_sorted(cells)
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

    def _sorted_band(self, index: int) -> SortedBucket | ExternalSort:
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

    def _sort(self, band: Bucket, index: int) -> SortedBucket | ExternalSort:
        n_cells = min(self._band_cells, self.shape[0] - index * self._band_cells)
        shape = (n_cells, self.shape[1])
        if len(band) > self._affordable and 1 < n_cells < self.shape[0]:
            return ExternalSort(
                shape,
                self.dtype,
                len(band),
                band.pieces,
                memory=self._memory // self._readers,
                scratch=self._scratch,
            )
        return SortedBucket(band, shape, self._piece)


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
