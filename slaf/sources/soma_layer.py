"""An X layer of a SOMA measurement, sparse or dense, by ranges of cells."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.arrays import (
    Batch,
    RowRange,
    batch_from_compressed,
    batch_from_dense,
)
from slaf.errors import DamagedInput, InputError
from slaf.sources.base import Extent
from slaf.sources.soma_table import positions_of
from slaf.storage import blamed, cause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from slaf.sources.one_thread import OneThread

__all__ = ["ARRAYS", "SomaLayer", "reading_soma"]

# What tiledbsoma and pyarrow make of files that are not as they should be.
_READING_ERRORS = (RuntimeError, ValueError, LookupError, TypeError, AttributeError)
_PEEKED_ROWS = 256
# More than elsewhere: a tile is decoded whole, however few of its cells are read.
_SPARSE_ENTRIES = 1 << 20
_ID_BITS = np.uint64(32)
# How far the join ids of a dense layer may lie apart: what is between them is read too.
_MOST_APART = 16
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
        thread: OneThread,
    ) -> None:
        self._array = array
        self._place = place
        self._cell_ids = cell_ids
        self._gene_ids = gene_ids
        self._thread = thread
        self.shape = (len(cell_ids), len(gene_ids))
        thread.call(self._open)

    def _open(self) -> None:
        with reading_soma(self._place):
            array = self._array()
            self._check_kind(array)
            self.dtype = np.dtype(array.schema.field("soma_data").type.to_pandas_dtype())
            if self.dtype.kind not in "biuf":
                msg = f"{self._place} holds values of type {self.dtype}, not numbers"
                raise InputError(msg)
            self._is_sparse: bool = array.is_sparse
            self._check_shape(array)
            self._n_rows = int(array.shape[0])
            self._nnz = int(array.nnz) if self._is_sparse else math.prod(self.shape) // _SPARSITY

    def extent(self) -> Extent:
        """How much it holds."""
        if self._is_sparse:
            return Extent("SOMA sparse", self._nnz)
        return Extent("SOMA dense", self._nnz, exact=False)

    def peek(self) -> NDArray[Any]:
        """The values of the first cells."""
        rows = RowRange(0, min(_PEEKED_ROWS, self.shape[0]))
        found = [batch.values for batch in self.batches(rows)]
        return np.concatenate([np.empty(0, self.dtype), *found])

    def nonzeros_before(self, step: int) -> NDArray[np.int64]:
        """Entries before cells 0, step, 2 * step, …, and n_cells: as if spread evenly."""
        n_cells = self.shape[0]
        before = np.append(np.arange(0, n_cells, step), n_cells)
        return (before * (self._nnz / max(n_cells, 1))).astype(np.int64)

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order."""
        n_cells, n_genes = self.shape
        if self._is_sparse:
            per_cell, size, read = self._nnz // max(n_cells, 1), _SPARSE_ENTRIES, self._sparse
        else:
            per_cell, size, read = n_genes, _DENSE_ELEMENTS, self._dense
        # Nothing of TileDB's is open between two of them.
        for part in rows.split(max(size // max(per_cell, 1), 1)):
            yield read(part)

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
            if not self._is_sparse and span > max(_MOST_APART * len(ids), _SPARSE_ENTRIES):
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

    def _sparse(self, rows: RowRange) -> Batch:
        indptr, genes, values = self._thread.call(self._read_sparse, rows)
        return batch_from_compressed(rows, indptr, genes, values, self.shape[1])

    def _read_sparse(self, rows: RowRange) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        # Of the join ids between those of two cells all are read too, so that an entry that
        # belongs to no cell is noticed. Their slices include both ends.
        ids = self._cell_ids
        first = int(ids[rows.start]) if rows.start else 0
        last = int(ids[rows.stop]) - 1 if rows.stop < len(ids) else self._n_rows - 1
        with reading_soma(self._place):
            # In whatever order it lies: to sort it takes TileDB three times as long as all else.
            table = self._array().read((slice(first, last), slice(None))).tables().concat()
            cells, joins, values = (table.column(name).to_numpy() for name in _COLUMNS)
            inside = ids[rows.start : rows.stop]
            owners = positions_of(cells, inside, f"{self._place} has an entry of the cell")
            genes = positions_of(joins, self._gene_ids, f"{self._place} has an entry of the gene")
            counts = np.bincount(owners, minlength=len(rows))
            indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
            keys = (owners.astype(np.uint64) << _ID_BITS) | genes.astype(np.uint64)
            order = np.argsort(keys)
            # New arrays, all of them: what TileDB gave is in memory of its own.
            return indptr, genes[order], values[order]

    def _dense(self, rows: RowRange) -> Batch:
        return batch_from_dense(rows, self._thread.call(self._read_dense, rows))

    def _read_dense(self, rows: RowRange) -> NDArray[Any]:
        ids, genes = self._cell_ids[rows.start : rows.stop], self._gene_ids
        if not len(genes):
            return np.empty((len(rows), 0), self.dtype)
        spans = (slice(int(places[0]), int(places[-1])) for places in (ids, genes))
        with reading_soma(self._place):
            block = self._array().read(tuple(spans)).to_numpy()
            # By an index it is copied.
            return np.asarray(block[ids - ids[0]][:, genes - genes[0]])


@contextmanager
def reading_soma(place: str) -> Iterator[None]:
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
        raise blamed(
            place,
            error,
            lambda text: DamagedInput(
                f"{place} cannot be read ({text})", remedy="was it copied whole?"
            ),
        ) from cause(place, error)
