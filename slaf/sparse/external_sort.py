"""External sort of COO entries in any order to CSR batches, in bounded memory."""

from __future__ import annotations

import math
import os
import tempfile
import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from slaf.errors import StorageError
from slaf.kernels import kernels
from slaf.runtime.cancellation import check_cancelled
from slaf.sparse.batch import BATCH_NONZEROS, Batch, batch_from_compressed
from slaf.sparse.casting import checked_indices, exact_cast
from slaf.sparse.ranges import RowRange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

__all__ = ["Coo", "ExternalSort"]

# Entries that are distributed, or sorted, at a time: they fit the caches of a processor.
_PIECE = 1 << 18
_MIN_PIECE = 1 << 10

# The most memory for an entry of a piece: as text, as parsed, and in its new order.
_BYTES_IN_PIECE = 128

# Larger buckets are not sorted faster.
_BUCKET_ENTRIES = 1 << 22

# Room for cells with more entries than others: a bucket may have this factor more than the mean.
_ROOM = 1.25

# Cells of a bucket fit 16 bits. Each bucket is an open file.
_MAX_CELLS = 1 << 16
_MAX_BUCKETS = 1 << 8

# Types for whole numbers that fit them: counts hardly ever need the 64 bits of their source.
_NARROW_TYPES = (np.dtype("<u2"), np.dtype("<u4"))


@dataclass(frozen=True, slots=True)
class Coo:
    """Entries of a matrix, in any order: three arrays of one length."""

    cells: NDArray[Any]
    genes: NDArray[Any]
    values: NDArray[Any]


class ExternalSort:
    """A matrix by ranges of cells, of entries in any order.

    The entries are read once, on first access, and distributed over buckets of cells: unnamed files
    in the scratch directory, which the system frees even if this process is killed. A bucket is
    then sorted in memory; one that is too large is distributed again. With cells and genes
    exchanged, it is a matrix by ranges of genes.

    Parameters
    ----------
    shape
        The numbers of cells and genes.
    dtype
        The type of the values.
    n_entries
        The number of entries, or an upper bound of it.
    entries
        Reads all entries, in pieces of at most the size that it is called with.
    memory
        The budget in bytes.
    readers
        The number of threads that read, and share the budget.
    scratch
        The directory of the unnamed files; None for the system's.
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
        self._record = self._record_type(dtype)
        self._piece = min(max(memory // 2 // _BYTES_IN_PIECE, _MIN_PIECE), _PIECE)
        self._bucket_cells = self._cells_in_bucket()
        self._buckets: list[_Bucket] = []
        self._sorted: OrderedDict[int, _SortedBucket | ExternalSort] = OrderedDict()
        self._lock = threading.RLock()

    def scratch_bytes(self) -> tuple[int, int]:
        """The size of the unnamed files: the least, if all values are small, and the most."""
        narrow = self._record_type(_NarrowType(self.dtype).including(np.empty(0, self.dtype)))
        return self.n_entries * narrow.itemsize, self.n_entries * self._record.itemsize

    def memory_bytes(self) -> int:
        """The memory that sorting takes."""
        in_bucket = self.n_entries * min(self._bucket_cells / max(self.shape[0], 1), 1)
        in_memory = min(round(in_bucket), self._max_entries) * self._readers
        return self._piece * _BYTES_IN_PIECE + in_memory * self._sorted_entry_bytes

    def fill(self) -> None:
        """Read and distribute all entries now, unless they were read."""
        with self._lock:
            if self._buckets or not self.shape[0]:
                return
            starts = range(0, self.shape[0], self._bucket_cells)
            buckets = [_Bucket(self._record, self._scratch) for _ in starts]
            narrow = _NarrowType(self.dtype)
            for piece in self._entries(self._piece):
                check_cancelled()
                self._distribute(piece, buckets, narrow)
            self._buckets = buckets

    def close(self) -> None:
        """Free the memory and the files now, not when this object is collected."""
        with self._lock:
            for bucket in (*self._sorted.values(), *self._buckets):
                bucket.close()
            self._sorted.clear()
            self._buckets = []

    def first_values(self) -> NDArray[Any]:
        """The values of the first entries."""
        for piece in self._entries(self._piece):
            return piece.values
        return np.empty(0, self.dtype)

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """The batches of a range of cells, in order."""
        self.fill()
        start = rows.start
        while start < rows.stop:
            index = start // self._bucket_cells
            first = index * self._bucket_cells
            end = min(first + self._bucket_cells, self.shape[0])
            stop = min(end, rows.stop)
            for batch in self._sorted_bucket(index).batches(RowRange(start - first, stop - first)):
                yield batch.shifted(first)
            if stop == end:
                # Cells are mostly read in order: this bucket is not needed again.
                with self._lock:
                    self._sorted.pop(index, None)
            start = stop

    @property
    def _sorted_entry_bytes(self) -> int:
        """The bytes of an entry of a sorted bucket: a gene and a value."""
        return self._record["gene"].itemsize + self.dtype.itemsize

    @property
    def _max_entries(self) -> int:
        """The entries of a bucket that each reader may sort in memory, beside a piece."""
        left = self._memory - self._piece * _BYTES_IN_PIECE
        return max(left // self._readers // self._sorted_entry_bytes, 1)

    def _cells_in_bucket(self) -> int:
        n_entries = self.n_entries * _ROOM
        size = min(max(_BUCKET_ENTRIES, n_entries / _MAX_BUCKETS), self._max_entries)
        n_buckets = max(min(math.ceil(n_entries / size), _MAX_BUCKETS), 1)
        return min(-(-max(self.shape[0], 1) // n_buckets), _MAX_CELLS)

    def _distribute(self, piece: Coo, buckets: list[_Bucket], narrow: _NarrowType) -> None:
        cells, genes = piece.cells, piece.genes
        cells = checked_indices(cells, self.shape[0], "cell", lambda wrong: f"gene {genes[wrong]}")
        # Checked before they are stored in fewer bits, which would make another gene of them.
        checked_indices(genes, self.shape[1], "gene", lambda wrong: f"cell {cells[wrong]}")
        cells, genes = (np.ascontiguousarray(each, np.uint32) for each in (cells, genes))
        dtype = narrow.including(piece.values)
        values = piece.values if dtype in _NARROW_TYPES else exact_cast(piece.values, dtype)
        values = np.ascontiguousarray(values, dtype)
        records = np.empty(len(cells), self._record_type(dtype))
        bounds = np.zeros(len(buckets) + 1, np.int64)
        width = self._bucket_cells
        kernels().distribute(cells, genes, values, width=width, out=records, bounds=bounds)
        # Files of Cell Ranger are in the order of cells.
        in_order = bool((cells[1:] >= cells[:-1]).all())
        for bucket, (start, stop) in zip(buckets, pairwise(bounds.tolist()), strict=True):
            bucket.append(records[start:stop], in_order=in_order)

    def _record_type(self, values: np.dtype[Any]) -> np.dtype[Any]:
        """The type of an entry; cells are counted from the first of their bucket."""
        gene = "<u2" if self.shape[1] <= _MAX_CELLS else "<u4"
        return np.dtype([("cell", "<u2"), ("gene", gene), ("value", values)])

    def _sorted_bucket(self, index: int) -> _SortedBucket | ExternalSort:
        with self._lock:
            if index in self._sorted:
                self._sorted.move_to_end(index)
                return self._sorted[index]
            while len(self._sorted) >= self._readers:
                self._sorted.popitem(last=False)
            self._sorted[index] = self._sort(self._buckets[index], index)
            return self._sorted[index]

    def _sort(self, bucket: _Bucket, index: int) -> _SortedBucket | ExternalSort:
        n_cells = min(self._bucket_cells, self.shape[0] - index * self._bucket_cells)
        shape = (n_cells, self.shape[1])
        if len(bucket) <= self._max_entries or n_cells in {1, self.shape[0]}:
            return _SortedBucket(bucket, shape, self._piece)
        return ExternalSort(
            shape,
            self.dtype,
            len(bucket),
            bucket.pieces,
            memory=self._memory // self._readers,
            scratch=self._scratch,
        )


@dataclass(slots=True)
class _Run:
    """Records of one type, one after the other in a file."""

    record: np.dtype[Any]
    offset: int
    length: int = 0


class _Bucket:
    """The entries of some cells, in an unnamed file.

    Parameters
    ----------
    record
        A type that holds every entry.
    scratch
        The directory of the file.

    Attributes
    ----------
    record
        The type of the entries so far: "cell", counted from the bucket's first, "gene" and "value".
    in_order
        Whether the cells ascend.
    """

    def __init__(self, record: np.dtype[Any], scratch: str | os.PathLike[str]) -> None:
        self.record = record
        self.in_order = True
        self._scratch = scratch
        self._file: IO[bytes] | None = None
        self._runs: list[_Run] = []
        self._size = 0
        self._last_cell = 0

    def __len__(self) -> int:
        return sum(run.length for run in self._runs)

    def append(self, records: NDArray[Any], *, in_order: bool) -> None:
        """Append entries, whose type may be wider than that of the entries before.

        Parameters
        ----------
        records
            The entries, with the fields of `record`.
        in_order
            Whether their cells ascend.

        Raises
        ------
        StorageError
            If the disk is full.
        """
        if not len(records):
            return
        if not self._runs or self.record != records.dtype:
            self.record = records.dtype
            self._runs.append(_Run(records.dtype, self._size))
        self.in_order &= in_order and int(records["cell"][0]) >= self._last_cell
        self._last_cell = int(records["cell"][-1])
        self._write(np.ascontiguousarray(records).view(np.uint8).data)
        self._runs[-1].length += len(records)

    def close(self) -> None:
        """Free the file."""
        if self._file is not None:
            self._file.close()

    def pieces(self, size: int) -> Iterator[Coo]:
        """All entries, in the order of `append`, at most `size` at a time."""
        for records in self.records(size):
            yield Coo(records["cell"], records["gene"], records["value"])

    def records(self, size: int) -> Iterator[NDArray[Any]]:
        """All records, in the order of `append`, at most `size` at a time."""
        for run in self._runs:
            for part in RowRange(0, run.length).split(size):
                yield self._read(run, part)

    def _write(self, view: memoryview) -> None:
        try:
            file = self._open()
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

    def _open(self) -> IO[bytes]:
        if self._file is None:
            # Without a name the system removes it even if this process is killed.
            self._file = tempfile.TemporaryFile(dir=self._scratch, buffering=0)  # noqa: SIM115
            weakref.finalize(self, self._file.close)
        return self._file

    def _read(self, run: _Run, part: RowRange) -> NDArray[Any]:
        buffer = bytearray(len(part) * run.record.itemsize)
        view = memoryview(buffer)
        offset = run.offset + part.start * run.record.itemsize
        while view:
            n_read = os.preadv(self._open().fileno(), [view], offset)
            view, offset = view[n_read:], offset + n_read
        return np.frombuffer(buffer, run.record)


class _SortedBucket:
    """The entries of a bucket in memory, in the order of its cells.

    Parameters
    ----------
    bucket
        The entries.
    shape
        The numbers of its cells and of all genes.
    size
        The entries to read and sort at a time.
    """

    def __init__(self, bucket: _Bucket, shape: tuple[int, int], size: int) -> None:
        n_cells, self._n_genes = shape
        self._indptr = np.zeros(n_cells + 1, np.int64)
        self._genes = np.empty(len(bucket), bucket.record["gene"])
        self._values = np.empty(len(bucket), bucket.record["value"])
        end = 0
        for records in bucket.records(size):
            kernels().count_cells(records, self._indptr[1:])
            if bucket.in_order:
                start, end = end, end + len(records)
                self._genes[start:end] = records["gene"]
                self._values[start:end] = records["value"]
        np.cumsum(self._indptr, out=self._indptr)
        if not bucket.in_order:
            # A piece at a time, to need little memory besides the result.
            ends = self._indptr[:-1].copy()
            for records in bucket.records(size):
                wide = records.astype(bucket.record, copy=False)
                kernels().place(wide, ends, self._genes, self._values)

    def close(self) -> None:
        """Nothing: it has no file."""

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """The batches of a range of cells, counted from the bucket's first, in order."""
        low, high = int(self._indptr[rows.start]), int(self._indptr[rows.stop])
        n_batches = max((high - low) // BATCH_NONZEROS, 1)
        for part in rows.split(max(-(-len(rows) // n_batches), 1)):
            indptr = self._indptr[part.start : part.stop + 1]
            span = slice(int(indptr[0]), int(indptr[-1]))
            # Copies: a batch in a queue must not keep the whole bucket in memory.
            genes, values = self._genes[span].copy(), self._values[span].copy()
            yield batch_from_compressed(part, indptr, genes, values, self._n_genes)


class _NarrowType:
    """The narrowest type of all values so far: an unsigned one if all are whole, none negative.

    Parameters
    ----------
    dtype
        The type of the matrix; values may have a narrower one, and sums of them a wider one.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._candidates = [narrow for narrow in _NARROW_TYPES if narrow.itemsize < dtype.itemsize]

    def including(self, values: NDArray[Any]) -> np.dtype[Any]:
        """The narrowest type that holds these values too."""
        if values.dtype.kind not in "iu":
            self._candidates = []
        while self._candidates and len(values):
            if int(values.min()) >= 0 and int(values.max()) <= np.iinfo(self._candidates[0]).max:
                break
            self._candidates = self._candidates[1:]
        if self._candidates:
            return self._candidates[0]
        if not (self._dtype == np.uint64 and values.dtype.kind == "i" and (values >= 0).all()):
            self._dtype = np.result_type(self._dtype, values.dtype)
        return self._dtype
