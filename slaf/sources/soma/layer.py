"""An X layer of a SOMA measurement, sparse or dense, by ranges of cells."""

from __future__ import annotations

import math
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from slaf.errors import DamagedInput, InputError
from slaf.kernels.reference import Tiles
from slaf.sources.matrix import MatrixSize
from slaf.sources.soma.tables import positions_of
from slaf.sparse.batch import batches_from_dense
from slaf.sparse.buckets import MAX_CELLS, Coo, MemoryBucket, SortedBucket
from slaf.sparse.ranges import RowRange, estimate_indptr
from slaf.storage.errors import safe_cause, translate_lance_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from slaf.runtime.worker_thread import WorkerThread
    from slaf.sparse.batch import Batch

__all__ = ["ARRAYS", "Arrays", "SomaLayer", "is_written", "soma_errors"]


# What tiledbsoma and pyarrow raise for damaged files.
_READING_ERRORS = (RuntimeError, ValueError, LookupError, TypeError, AttributeError)
_SAMPLED_ROWS = 256

# Entries read together: whole tiles of usual cells, because TileDB decodes whole tiles.
_SPARSE_ENTRIES = 6 << 20

# Entries that are copied, or sorted, at a time: they fit the caches of a processor.
_PIECE = 1 << 18

# Beyond this number of entries cells are read in two halves.
_MOST_ENTRIES = 4 * _SPARSE_ENTRIES

# The join ids of a dense layer may have gaps, which are read too: up to this span.
_MAX_SPAN_PER_ID = 16
_ALWAYS_ALLOWED_SPAN = 1 << 20
ARRAYS = frozenset({"SOMASparseNDArray", "SOMADenseNDArray"})
_MATRIX_DIMENSIONS = 2
_COLUMNS = ("soma_dim_0", "soma_dim_1", "soma_data")
_DENSE_ELEMENTS = 1 << 22

# For cutting a dense layer into parts only: assume that one element in so many is nonzero.
_SPARSITY = 4


class Arrays(NamedTuple):
    """Functions that open a SOMA array, which must not be kept.

    Attributes
    ----------
    ample
        With memory for all tiles.
    little
        With memory for usual tiles.
    """

    ample: Callable[[], Any]
    little: Callable[[], Any]


class SomaLayer:
    """A matrix with a row and a column for each join id in obs and var.

    Parameters
    ----------
    arrays
        Open the SOMA array.
    label
        Its location, for errors.
    cell_ids, gene_ids
        The join ids, ascending.
    thread
        The thread that reads it; results are copies outside the memory of TileDB.

    Raises
    ------
    InputError
        If it does not hold numbers.
    DamagedInput
        If there are join ids beyond its shape.
    """

    def __init__(
        self,
        arrays: Arrays,
        label: str,
        cell_ids: NDArray[np.int64],
        gene_ids: NDArray[np.int64],
        thread: WorkerThread,
    ) -> None:
        self._arrays = arrays
        self._are_tiles_usual = True
        self._label = label
        self._cell_ids = cell_ids
        self._gene_ids = gene_ids
        self._thread = thread
        self.shape = (len(cell_ids), len(gene_ids))
        thread.call(self._open)

    def _open(self) -> None:
        with soma_errors(self._label):
            array = self._arrays.ample()
            self._check_kind(array)
            self.dtype = np.dtype(array.schema.field("soma_data").type.to_pandas_dtype())
            if self.dtype.kind not in "biuf":
                msg = f"{self._label} holds values of type {self.dtype}, not numbers"
                raise InputError(msg)
            self._is_sparse: bool = array.is_sparse
            self._check_shape(array)
            self._n_rows = int(array.shape[0])
            self._nnz = (
                _entries_written(array) if self._is_sparse else math.prod(self.shape) // _SPARSITY
            )
            # An upper bound: an entry that was overwritten counts twice.
            layout = "SOMA sparse" if self._is_sparse else "SOMA dense"
            self.size = MatrixSize(layout, self._nnz, exact=False)

    def sample_values(self) -> NDArray[Any]:
        """The values of the first cells."""
        rows = RowRange(0, min(_SAMPLED_ROWS, self.shape[0]))
        values = [batch.values for batch in self.batches(rows)]
        return np.concatenate([np.empty(0, self.dtype), *values])

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:
        """Entries before cells 0, step, 2 * step, …, and n_cells: as if spread evenly."""
        return estimate_indptr(self.shape[0], step, self._nnz)

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order."""
        # No object of TileDB is open between two batches.
        if self._is_sparse:
            for part in self._tiles(rows):
                yield from self._sparse(part)
            return
        for part in rows.split(max(_DENSE_ELEMENTS // max(self.shape[1], 1), 1)):
            yield from self._dense(part)

    def _check_kind(self, array: Any) -> None:
        if array.soma_type not in ARRAYS or len(array.shape) != _MATRIX_DIMENSIONS:
            msg = f"{self._label} is not an array of two dimensions"
            raise DamagedInput(msg)

    def _check_shape(self, array: Any) -> None:
        shape = tuple(array.shape)
        for table, ids, size in zip(
            ("obs", "var"), (self._cell_ids, self._gene_ids), shape, strict=True
        ):
            if len(ids) and ids[-1] >= size:
                msg = (
                    f"{self._label} has the shape {shape[0]:,} × {shape[1]:,}, but {table} has "
                    f"the join id {ids[-1]}"
                )
                raise DamagedInput(msg)
            span = int(ids[-1] - ids[0]) if len(ids) else 0
            if not self._is_sparse and span > max(
                _MAX_SPAN_PER_ID * len(ids), _ALWAYS_ALLOWED_SPAN
            ):
                msg = f"{self._label} is dense, but the join ids of {table} lie {span:,} apart"
                raise DamagedInput(msg)
        if self._is_sparse or not len(self._cell_ids) or not len(self._gene_ids):
            return
        needed = [(int(ids[0]), int(ids[-1])) for ids in (self._cell_ids, self._gene_ids)]
        if not is_written(array, needed):
            msg = f"{self._label} is dense, but was not written for all cells and genes"
            raise DamagedInput(msg)

    def _tiles(self, rows: RowRange) -> Iterator[RowRange]:
        """Cut at the ends of tiles, which usually have 2,048 join ids."""
        tiles = self._cell_ids[rows.start : rows.stop] // self._width
        starts = np.flatnonzero(np.diff(tiles, prepend=-1)) + rows.start
        for start, stop in pairwise([*starts.tolist(), rows.stop]):
            yield RowRange(start, stop)

    @property
    def _width(self) -> int:
        """The number of join ids read together: a power of two, as in a tile."""
        per_cell = max(self._nnz // max(self.shape[0], 1), 1)
        together = min(max(_SPARSE_ENTRIES // per_cell, 1), MAX_CELLS)
        return 1 << (together.bit_length() - 1)

    def _sparse(self, rows: RowRange) -> Iterator[Batch]:
        bucket = self._thread.call(self._read_sparse, rows)
        if bucket is None:
            for half in rows.split(-(-len(rows) // 2)):
                yield from self._sparse(half)
            return
        entries = SortedBucket(bucket, (len(rows), self.shape[1]), _PIECE)
        del bucket  # its records take more than the sorted entries
        for batch in entries.batches(RowRange(0, len(rows))):
            yield batch.shifted(rows.start)

    def _read_sparse(self, rows: RowRange) -> MemoryBucket | None:
        """The entries of these cells; None if several cells have too many."""
        import tiledbsoma

        with soma_errors(self._label):
            if self._are_tiles_usual:
                try:
                    return self._read_from(self._arrays.little(), rows)
                except (tiledbsoma.SOMAError, RuntimeError):
                    # A tile of each fragment takes more; what is damaged fails again.
                    self._are_tiles_usual = False
            return self._read_from(self._arrays.ample(), rows)

    def _read_from(self, array: Any, rows: RowRange) -> MemoryBucket | None:
        bucket = MemoryBucket((len(rows), self.shape[1]), self.dtype)
        # In the order of storage: sorting by TileDB takes three times as long as the rest.
        span = slice(self._begin(rows.start), self._begin(rows.stop) - 1)
        for table in array.read((span, slice(None))).tables():
            for part in RowRange(0, len(table)).split(_PIECE):
                bucket.append(self._entries(table.slice(part.start, len(part)), rows))
            del table  # before the next one is read
            if len(bucket) > _MOST_ENTRIES and len(rows) > 1:
                return None
        return bucket

    def _entries(self, table: pa.Table, rows: RowRange) -> Coo:
        """Entries with their positions among these cells and among all genes."""
        cells, genes, values = (table.column(name).to_numpy() for name in _COLUMNS)
        ids = self._cell_ids[rows.start : rows.stop]
        cells = positions_of(cells, ids, f"{self._label} has an entry of the cell")
        genes = positions_of(genes, self._gene_ids, f"{self._label} has an entry of the gene")
        return Coo(cells, genes, values)

    def _begin(self, cell: int) -> int:
        """The first join id to read with this cell; behind the last cell, the end of the array.

        The join ids between those of two cells are read with the cell of their tile, so that an
        entry without a cell is found.
        """
        ids = self._cell_ids
        if cell in (0, len(ids)):
            return self._n_rows if cell else 0
        return max(int(ids[cell]) // self._width * self._width, int(ids[cell - 1]) + 1)

    def _dense(self, rows: RowRange) -> Iterator[Batch]:
        block = self._thread.call(self._read_dense, rows)
        yield from batches_from_dense(rows.start, Tiles.of(block))

    def _read_dense(self, rows: RowRange) -> NDArray[Any]:
        ids, genes = self._cell_ids[rows.start : rows.stop], self._gene_ids
        if not len(genes):
            return np.empty((len(rows), 0), self.dtype)
        spans = (slice(int(axis[0]), int(axis[-1])) for axis in (ids, genes))
        with soma_errors(self._label):
            block = self._arrays.ample().read(tuple(spans)).to_numpy()
            # Indexing makes a copy.
            return np.asarray(block[ids - ids[0]][:, genes - genes[0]])


def _entries_written(array: Any) -> int:
    """The number of entries in the fragments of a sparse array."""
    # `nnz` decodes the whole array at once, to leave out overwritten entries, and takes more memory
    # than all the rest. tiledbsoma 1.15 has nothing else.
    count_cells = getattr(array._handle, "fragment_cell_count", None)  # noqa: SLF001
    n_entries = None if count_cells is None else count_cells()
    return int(array.nnz if n_entries is None else n_entries)


def is_written(array: Any, needed: Sequence[tuple[int, int]]) -> bool:
    """Whether a dense array was written in these ranges of join ids, first and last, of each axis.

    Elsewhere TileDB reads the least of all integers.
    """
    written = array.non_empty_domain()
    return written is not None and all(
        first <= low and high <= last
        for (first, last), (low, high) in zip(written, needed, strict=True)
    )


@contextmanager
def soma_errors(label: str, problem: str = " cannot be read") -> Iterator[None]:
    """Turn the errors of reading into DamagedInput, and name the location.

    Raises
    ------
    DamagedInput
        If TileDB-SOMA cannot read it.
    """
    import tiledbsoma

    try:
        yield
    except InputError:
        raise
    except (tiledbsoma.SOMAError, *_READING_ERRORS) as error:
        raise translate_lance_error(
            label,
            error,
            lambda text: DamagedInput(f"{label}{problem} ({text})", remedy="was it copied whole?"),
        ) from safe_cause(label, error)
