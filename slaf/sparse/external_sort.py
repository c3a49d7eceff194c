"""External sort of COO entries in any order to CSR batches, in bounded memory."""

from __future__ import annotations

import math
import tempfile
import threading
from collections import OrderedDict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.kernels import kernels
from slaf.runtime.cancellation import check_cancelled
from slaf.sparse.buckets import MAX_CELLS, FileBucket, NarrowType, SortedBucket, record_type
from slaf.sparse.casting import checked_indices
from slaf.sparse.ranges import RowRange

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from slaf.sparse.batch import Batch
    from slaf.sparse.buckets import Coo

__all__ = ["ExternalSort"]

# Entries that are distributed, or sorted, at a time: they fit the caches of a processor.
_PIECE = 1 << 18
_MIN_PIECE = 1 << 10

# The most memory for an entry of a piece: as text, as parsed, and in its new order.
_BYTES_IN_PIECE = 128

# Larger buckets are not sorted faster.
_BUCKET_ENTRIES = 1 << 22

# Room for cells with more entries than others: a bucket may have this factor more than the mean.
_ROOM = 1.25

# Each bucket is an open file.
_MAX_BUCKETS = 1 << 8


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
        self._record = record_type(dtype, self.shape[1])
        self._piece = min(max(memory // 2 // _BYTES_IN_PIECE, _MIN_PIECE), _PIECE)
        self._bucket_cells = self._cells_in_bucket()
        self._buckets: list[FileBucket] = []
        self._sorted: OrderedDict[int, SortedBucket | ExternalSort] = OrderedDict()
        self._lock = threading.RLock()

    def scratch_bytes(self) -> tuple[int, int]:
        """The size of the unnamed files: the least, if all values are small, and the most."""
        narrow = record_type(NarrowType(self.dtype).dtype, self.shape[1])
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
            buckets = [FileBucket(self._record, self._scratch) for _ in starts]
            narrow = NarrowType(self.dtype)
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
        return min(-(-max(self.shape[0], 1) // n_buckets), MAX_CELLS)

    def _distribute(self, piece: Coo, buckets: list[FileBucket], narrow: NarrowType) -> None:
        cells, genes = piece.cells, piece.genes
        cells = checked_indices(cells, self.shape[0], "cell", lambda wrong: f"gene {genes[wrong]}")
        # Checked before they are stored in fewer bits, which would make another gene of them.
        checked_indices(genes, self.shape[1], "gene", lambda wrong: f"cell {cells[wrong]}")
        cells, genes = (np.ascontiguousarray(each, np.uint32) for each in (cells, genes))
        values = np.ascontiguousarray(narrow.cast(piece.values))
        records = np.empty(len(cells), record_type(values.dtype, self.shape[1]))
        bounds = np.zeros(len(buckets) + 1, np.int64)
        width = self._bucket_cells
        kernels().distribute(cells, genes, values, width=width, out=records, bounds=bounds)
        # Files of Cell Ranger are in the order of cells.
        in_order = bool((cells[1:] >= cells[:-1]).all())
        for bucket, (start, stop) in zip(buckets, pairwise(bounds.tolist()), strict=True):
            bucket.append(records[start:stop], in_order=in_order)

    def _sorted_bucket(self, index: int) -> SortedBucket | ExternalSort:
        with self._lock:
            if index in self._sorted:
                self._sorted.move_to_end(index)
                return self._sorted[index]
            while len(self._sorted) >= self._readers:
                self._sorted.popitem(last=False)
            self._sorted[index] = self._sort(self._buckets[index], index)
            return self._sorted[index]

    def _sort(self, bucket: FileBucket, index: int) -> SortedBucket | ExternalSort:
        n_cells = min(self._bucket_cells, self.shape[0] - index * self._bucket_cells)
        shape = (n_cells, self.shape[1])
        if len(bucket) <= self._max_entries or n_cells in {1, self.shape[0]}:
            return SortedBucket(bucket, shape, self._piece)
        return ExternalSort(
            shape,
            self.dtype,
            len(bucket),
            bucket.pieces,
            memory=self._memory // self._readers,
            scratch=self._scratch,
        )
