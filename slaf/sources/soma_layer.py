"""An X layer of a SOMA measurement, sparse or dense, by ranges of cells."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cached_property
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

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["SomaLayer", "reading_soma"]

# What tiledbsoma and pyarrow make of files that are not as they should be.
_READING_ERRORS = (RuntimeError, ValueError, LookupError, TypeError, AttributeError)
_PEEKED_ROWS = 256
# More than elsewhere: a tile is decoded whole, however few of its cells are read.
_SPARSE_ENTRIES = 1 << 20
# How far the join ids of a dense layer may lie apart: what is between them is read too.
_MOST_APART = 16
_MATRIX_KINDS = frozenset({"SOMASparseNDArray", "SOMADenseNDArray"})
_MATRIX_DIMENSIONS = 2
_DENSE_ELEMENTS = 1 << 22
# For cutting a dense layer into parts only: one element in so many is taken to be nonzero.
_SPARSITY = 4


class SomaLayer:
    """A matrix whose rows and columns are those that have a join id in obs and var.

    Parameters
    ----------
    array
        The SOMA array.
    place
        Where it is, for errors.
    cell_ids, gene_ids
        The join ids, ascending.

    Raises
    ------
    InputError
        If it does not hold numbers.
    DamagedInput
        If there are join ids beyond its shape.
    """

    def __init__(
        self, array: Any, place: str, cell_ids: NDArray[np.int64], gene_ids: NDArray[np.int64]
    ) -> None:
        self._array = array
        self._place = place
        self._cell_ids = cell_ids
        self._gene_ids = gene_ids
        self.shape = (len(cell_ids), len(gene_ids))
        self._check_kind()
        self.dtype = np.dtype(array.schema.field("soma_data").type.to_pandas_dtype())
        if self.dtype.kind not in "biuf":
            msg = f"{place} holds values of type {self.dtype}, not numbers"
            raise InputError(msg)
        self._check_shape()

    def extent(self) -> Extent:
        """How much it holds."""
        if self._array.is_sparse:
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
        with reading_soma(self._place):
            if self._array.is_sparse:
                per_cell, size, read = self._nnz // max(n_cells, 1), _SPARSE_ENTRIES, self._sparse
            else:
                per_cell, size, read = n_genes, _DENSE_ELEMENTS, self._dense
            for part in rows.split(max(size // max(per_cell, 1), 1)):
                yield read(part)

    @cached_property
    def _nnz(self) -> int:
        if self._array.is_sparse:
            with reading_soma(self._place):
                return int(self._array.nnz)
        return self.shape[0] * self.shape[1] // _SPARSITY

    def _check_kind(self) -> None:
        array = self._array
        if array.soma_type not in _MATRIX_KINDS or len(array.shape) != _MATRIX_DIMENSIONS:
            msg = f"{self._place} is not an array of two dimensions"
            raise DamagedInput(msg)

    def _check_shape(self) -> None:
        shape = tuple(self._array.shape)
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
            if not self._array.is_sparse and span > max(_MOST_APART * len(ids), _SPARSE_ENTRIES):
                msg = f"{self._place} is dense, but the join ids of {what} lie {span:,} apart"
                raise DamagedInput(msg)
        if not self._array.is_sparse and len(self._cell_ids) and len(self._gene_ids):
            self._check_written()

    def _check_written(self) -> None:
        # Where nothing was written TileDB gives the least of all integers.
        written = self._array.non_empty_domain()
        needed = tuple((int(ids[0]), int(ids[-1])) for ids in (self._cell_ids, self._gene_ids))
        if written is None or any(
            low < first or last < high
            for (first, last), (low, high) in zip(written, needed, strict=True)
        ):
            msg = f"{self._place} is dense, but was not written for all cells and genes"
            raise DamagedInput(msg)

    def _sparse(self, rows: RowRange) -> Batch:
        # Of the join ids between those of two cells all are read too, so that an entry that
        # belongs to no cell is noticed. Their slices include both ends.
        ids = self._cell_ids
        first = int(ids[rows.start]) if rows.start else 0
        last = int(ids[rows.stop]) - 1 if rows.stop < len(ids) else int(self._array.shape[0]) - 1
        found = self._array.read((slice(first, last), slice(None)), result_order="row-major")
        table = found.tables().concat()
        owners = self._positions(table, "soma_dim_0", ids[rows.start : rows.stop], "cell")
        genes = self._positions(table, "soma_dim_1", self._gene_ids, "gene")
        counts = np.bincount(owners, minlength=len(rows))
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        values = table.column("soma_data").to_numpy()
        return batch_from_compressed(rows, indptr, genes, values, self.shape[1])

    def _dense(self, rows: RowRange) -> Batch:
        ids, genes = self._cell_ids[rows.start : rows.stop], self._gene_ids
        if not len(genes):
            return batch_from_dense(rows, np.empty((len(rows), 0), self.dtype))
        spans = (slice(int(places[0]), int(places[-1])) for places in (ids, genes))
        block = self._array.read(tuple(spans)).to_numpy()
        return batch_from_dense(rows, block[ids - ids[0]][:, genes - genes[0]])

    def _positions(
        self, table: pa.Table, name: str, ids: NDArray[np.int64], what: str
    ) -> NDArray[np.int64]:
        """Where the join ids of a column stand among those of cells or genes."""
        wanted: NDArray[np.int64] = table.column(name).to_numpy()
        contiguous = len(ids) and ids[-1] - ids[0] == len(ids) - 1
        found: NDArray[np.int64] = wanted - ids[0] if contiguous else np.searchsorted(ids, wanted)
        inside = (found >= 0) & (found < len(ids))
        if not contiguous:
            inside &= np.append(ids, -1)[found] == wanted
        if not inside.all():
            stray = wanted[~inside][0]
            msg = (
                f"{self._place} has an entry of the {what} with the join id {stray}, which is none"
            )
            raise DamagedInput(msg)
        return found


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
        msg = f"{place} cannot be read ({error})"
        raise DamagedInput(msg, remedy="was it copied whole?") from error
