"""An X layer of a SOMA measurement, sparse or dense, by ranges of cells."""

from __future__ import annotations

import math
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.errors import DamagedInput, InputError
from slaf.sources.base import MatrixSize
from slaf.sources.soma.tables import positions_of
from slaf.sparse.batch import BATCH_NONZEROS, Batch, batch_from_compressed, batch_from_dense
from slaf.sparse.ranges import RowRange, estimate_indptr, split_by_nnz
from slaf.storage.errors import safe_cause, translate_lance_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from slaf.runtime.worker_thread import WorkerThread

__all__ = ["ARRAYS", "SomaLayer", "soma_errors"]


# What tiledbsoma and pyarrow make of files that are not as they should be.
_READING_ERRORS = (RuntimeError, ValueError, LookupError, TypeError, AttributeError)
_PEEKED_ROWS = 256

# Read together: so many that of usual cells whole tiles are, which are decoded whole anyway.
_SPARSE_ENTRIES = 6 << 20

# Cells are not equally full: beyond this they are read in two halves.
_MOST_ENTRIES = 4 * _SPARSE_ENTRIES

# How far the join ids of a dense layer may lie apart: what is between them is read too.
_MOST_APART = 16
_NEAR = 1 << 20
ARRAYS = frozenset({"SOMASparseNDArray", "SOMADenseNDArray"})
_MATRIX_DIMENSIONS = 2
_COLUMNS = ("soma_dim_0", "soma_dim_1", "soma_data")
_DENSE_ELEMENTS = 1 << 22

# For cutting a dense layer into parts only: one element in so many is taken to be nonzero.
_SPARSITY = 4


class SomaLayer:
    """A matrix whose rows and columns are those that have a join id in obs and var.

    Parameters
    ----------
    array
        Gives the SOMA array, which is nobody's to keep.
    place
        Where it is, for errors.
    cell_ids, gene_ids
        The join ids, ascending.
    thread
        In which it is read; what comes out of it is in memory that TileDB knows nothing of.

    Raises
    ------
    InputError
        If it does not hold numbers.
    DamagedInput
        If there are join ids beyond its shape.
    """

    def __init__(
        self,
        array: Callable[[], Any],
        place: str,
        cell_ids: NDArray[np.int64],
        gene_ids: NDArray[np.int64],
        thread: WorkerThread,
    ) -> None:
        self._array = array
        self._place = place
        self._cell_ids = cell_ids
        self._gene_ids = gene_ids
        self._thread = thread
        self.shape = (len(cell_ids), len(gene_ids))
        thread.call(self._open)

    def _open(self) -> None:
        with soma_errors(self._place):
            array = self._array()
            self._check_kind(array)
            self.dtype = np.dtype(array.schema.field("soma_data").type.to_pandas_dtype())
            if self.dtype.kind not in "biuf":
                msg = f"{self._place} holds values of type {self.dtype}, not numbers"
                raise InputError(msg)
            self._is_sparse: bool = array.is_sparse
            self._check_shape(array)
            self._n_rows = int(array.shape[0])
            self._nnz = (
                _entries_written(array) if self._is_sparse else math.prod(self.shape) // _SPARSITY
            )

    def extent(self) -> MatrixSize:
        """How much it holds, at most: of an entry that was written again each is counted."""
        return MatrixSize(
            "SOMA sparse" if self._is_sparse else "SOMA dense", self._nnz, exact=False
        )

    def sample_values(self) -> NDArray[Any]:
        """The values of the first cells."""
        rows = RowRange(0, min(_PEEKED_ROWS, self.shape[0]))
        found = [batch.values for batch in self.batches(rows)]
        return np.concatenate([np.empty(0, self.dtype), *found])

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:
        """Entries before cells 0, step, 2 * step, …, and n_cells: as if spread evenly."""
        return estimate_indptr(self.shape[0], step, self._nnz)

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order."""
        # Nothing of TileDB's is open between two of them.
        if self._is_sparse:
            for part in self._tiles(rows):
                yield from self._sparse(part)
            return
        for part in rows.split(max(_DENSE_ELEMENTS // max(self.shape[1], 1), 1)):
            yield self._dense(part)

    def _check_kind(self, array: Any) -> None:
        if array.soma_type not in ARRAYS or len(array.shape) != _MATRIX_DIMENSIONS:
            msg = f"{self._place} is not an array of two dimensions"
            raise DamagedInput(msg)

    def _check_shape(self, array: Any) -> None:
        shape = tuple(array.shape)
        for what, ids, size in zip(
            ("obs", "var"), (self._cell_ids, self._gene_ids), shape, strict=True
        ):
            if len(ids) and ids[-1] >= size:
                msg = (
                    f"{self._place} has the shape {shape[0]:,} × {shape[1]:,}, but {what} has "
                    f"the join id {ids[-1]}"
                )
                raise DamagedInput(msg)
            span = int(ids[-1] - ids[0]) if len(ids) else 0
            if not self._is_sparse and span > max(_MOST_APART * len(ids), _NEAR):
                msg = f"{self._place} is dense, but the join ids of {what} lie {span:,} apart"
                raise DamagedInput(msg)
        if not self._is_sparse and len(self._cell_ids) and len(self._gene_ids):
            self._check_written(array)

    def _check_written(self, array: Any) -> None:
        # Where nothing was written TileDB gives the least of all integers.
        written = array.non_empty_domain()
        needed = tuple((int(ids[0]), int(ids[-1])) for ids in (self._cell_ids, self._gene_ids))
        if written is None or any(
            low < first or last < high
            for (first, last), (low, high) in zip(written, needed, strict=True)
        ):
            msg = f"{self._place} is dense, but was not written for all cells and genes"
            raise DamagedInput(msg)

    def _tiles(self, rows: RowRange) -> Iterator[RowRange]:
        """Cut where the tiles of the array end, which mostly are of 2,048 join ids."""
        places = self._cell_ids[rows.start : rows.stop] // self._width
        starts = np.flatnonzero(np.diff(places, prepend=-1)) + rows.start
        for start, stop in pairwise([*starts.tolist(), rows.stop]):
            yield RowRange(start, stop)

    @property
    def _width(self) -> int:
        """How many join ids are read together: a power of two, as a tile has."""
        per_cell = max(self._nnz // max(self.shape[0], 1), 1)
        return 1 << (max(_SPARSE_ENTRIES // per_cell, 1).bit_length() - 1)

    def _sparse(self, rows: RowRange) -> Iterator[Batch]:
        found = self._thread.call(self._read_sparse, rows)
        if found is None:
            for half in rows.split(-(-len(rows) // 2)):
                yield from self._sparse(half)
            return
        indptr, genes, values = found.in_order(self.shape[1])
        for first, last in split_by_nnz(indptr, BATCH_NONZEROS):
            part = RowRange(rows.start + first, rows.start + last)
            span = slice(indptr[first], indptr[last])
            offsets = indptr[first : last + 1]
            yield batch_from_compressed(part, offsets, genes[span], values[span], self.shape[1])

    def _read_sparse(self, rows: RowRange) -> _CooBuffer | None:
        """The entries of these cells; None if there are too many, of several cells."""
        inside = self._cell_ids[rows.start : rows.stop]
        found = _CooBuffer(len(rows), self.dtype)
        with soma_errors(self._place):
            # In whatever order it lies: to sort it takes TileDB three times as long as all else.
            span = slice(self._begin(rows.start), self._begin(rows.stop) - 1)
            for table in self._array().read((span, slice(None))).tables():
                cells, joins, values = (table.column(name).to_numpy() for name in _COLUMNS)
                owners = positions_of(cells, inside, f"{self._place} has an entry of the cell")
                genes = positions_of(
                    joins, self._gene_ids, f"{self._place} has an entry of the gene"
                )
                found.append(owners, genes, values)
                if found.nnz > _MOST_ENTRIES and len(rows) > 1:
                    return None
        return found

    def _begin(self, cell: int) -> int:
        """The first join id to read with this cell; behind the last cell, the end of the array.

        Of the join ids between those of two cells all are read too, so that an entry that belongs
        to no cell is noticed: with the cell in whose tile they are.
        """
        ids = self._cell_ids
        if cell in (0, len(ids)):
            return self._n_rows if cell else 0
        return max(int(ids[cell]) // self._width * self._width, int(ids[cell - 1]) + 1)

    def _dense(self, rows: RowRange) -> Batch:
        return batch_from_dense(rows, self._thread.call(self._read_dense, rows))

    def _read_dense(self, rows: RowRange) -> NDArray[Any]:
        ids, genes = self._cell_ids[rows.start : rows.stop], self._gene_ids
        if not len(genes):
            return np.empty((len(rows), 0), self.dtype)
        spans = (slice(int(places[0]), int(places[-1])) for places in (ids, genes))
        with soma_errors(self._place):
            block = self._array().read(tuple(spans)).to_numpy()
            # By an index it is copied.
            return np.asarray(block[ids - ids[0]][:, genes - genes[0]])


def _entries_written(array: Any) -> int:
    """How many entries were written to a sparse array, as its fragments say."""
    # `nnz` decodes the whole array at once, to count what is left of them, in more memory than all
    # else takes. tiledbsoma 1.15 has nothing else.
    counted = getattr(array._handle, "fragment_cell_count", None)  # noqa: SLF001
    found = None if counted is None else counted()
    return int(array.nnz if found is None else found)


class _CooBuffer:
    """The entries of some cells in the order they lie in; copies, in as few bytes as hold them."""

    def __init__(self, n_cells: int, dtype: np.dtype[Any]) -> None:
        self._n_cells = n_cells
        self._cells = [np.empty(0, np.int32)]
        self._genes = [np.empty(0, np.int32)]
        self._values = [np.empty(0, dtype)]
        self.nnz = 0

    def append(
        self, cells: NDArray[np.int64], genes: NDArray[np.int64], values: NDArray[Any]
    ) -> None:
        """Take some more; cells counted from the first of these."""
        # Of cells there are fewer in the table, and of genes, than 32 bits count.
        self._cells.append(cells.astype(np.int32))
        self._genes.append(genes.astype(np.int32))
        self._values.append(values.copy())
        self.nnz += len(cells)

    def in_order(self, n_genes: int) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[Any]]:
        """Offsets, genes and values, cell by cell; what is of one cell stays in its order.

        Tiles follow each other from gene to gene, so of each cell the genes mostly ascend now.
        """
        from scipy.sparse import coo_matrix

        cells, genes, values = map(np.concatenate, (self._cells, self._genes, self._values))
        entries = coo_matrix((values, (cells, genes)), (self._n_cells, n_genes), copy=False)
        # That is, what is there twice is not to be summed: that is done elsewhere, and exactly.
        entries.has_canonical_format = True
        rows = entries.tocsr()
        return rows.indptr.astype(np.int64), rows.indices, rows.data


@contextmanager
def soma_errors(place: str) -> Iterator[None]:
    """Surround reading of `place`, which errors then name.

    Raises
    ------
    DamagedInput
        For whatever TileDB-SOMA cannot read.
    """
    import tiledbsoma

    try:
        yield
    except InputError:
        raise
    except (tiledbsoma.SOMAError, *_READING_ERRORS) as error:
        raise translate_lance_error(
            place,
            error,
            lambda text: DamagedInput(
                f"{place} cannot be read ({text})", remedy="was it copied whole?"
            ),
        ) from safe_cause(place, error)
