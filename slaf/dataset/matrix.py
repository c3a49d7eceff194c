"""StoredMatrix: X, a layer or raw as they are stored, read by cell or by gene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from slaf.errors import DamagedDataset
from slaf.sources.matrix import MatrixSize
from slaf.sources.selected_matrix import SelectedMatrix, is_ascending
from slaf.sparse.batch import BATCH_NONZEROS, Batch
from slaf.sparse.csr import ColumnSelection, csr_from_batches, drop_entries
from slaf.sparse.ranges import RowRange, as_positions, split_by_nnz

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import scipy.sparse as sp
    from numpy.typing import NDArray

    from slaf.format.schema import Axis
    from slaf.sparse.csr import Entries
    from slaf.sparse.ranges import Rows
    from slaf.tables.rows import FileRows

__all__ = ["Chunk", "SelectedStored", "StoredMatrix", "StoredRows"]

# The rows that `sample_values` reads.
_SAMPLE_ROWS = 1 << 16


@dataclass(frozen=True, slots=True)
class Chunk:
    """The rows of consecutive whole cells.

    Attributes
    ----------
    cells
        The cells; for positions, their range in the array of positions.
    counts
        The number of rows of each cell.
    columns
        The requested columns.
    """

    cells: RowRange
    counts: NDArray[np.int64]
    columns: Sequence[pa.Array]

    def present(self, *columns: int) -> tuple[NDArray[Any], ...]:
        """The rows with a value in the last of some columns; NaN is a value.

        Returns
        -------
        tuple
            The number of these rows of each cell, and each of the columns.
        """
        selected = [self.columns[at] for at in columns]
        if not selected[-1].null_count:
            return self.counts, *(column.to_numpy() for column in selected)
        present = selected[-1].is_valid().to_numpy(zero_copy_only=False)
        selected[-1] = selected[-1].fill_null(0)
        return drop_entries(present, self.counts, *(column.to_numpy() for column in selected))


@dataclass(frozen=True, slots=True)
class StoredRows:
    """The rows of a table in cell order, or in gene order, where a "cell" is a gene.

    Attributes
    ----------
    label
        The name of the table, for errors.
    reader
        Reads rows of the table by their positions.
    axis
        The order of the rows.
    offsets
        The first row of each cell, and the number of rows.
    """

    label: str
    reader: FileRows
    axis: Axis
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        """Number of cells."""
        return len(self.offsets) - 1

    def lengths(self, cells: Rows) -> NDArray[np.int64]:
        """The number of rows of each of some cells.

        Raises
        ------
        DamagedDataset
            If the offsets descend.
        """
        starts, stops = self._bounds(cells)
        if (stops < starts).any():
            msg = f"{self.label}: the offsets of its {self.axis.name} descend; `slaf verify` it"
            raise DamagedDataset(msg)
        return stops - starts

    def chunks(self, cells: Rows, columns: Sequence[str]) -> Iterator[Chunk]:
        """The rows of some cells in order, in chunks of whole cells.

        Parameters
        ----------
        cells
            Cells; positions are ascending and unique.
        columns
            The columns to read.

        Raises
        ------
        DamagedDataset
            If the rows cannot be read, or are fewer than the offsets say.
        """
        starts, stops = self._bounds(cells)
        counts = self.lengths(cells)
        ends = np.cumsum(counts)
        first = cells.start if isinstance(cells, RowRange) else 0
        at, n_yielded, n_rows = 0, 0, 0
        pending: list[pa.RecordBatch] = []
        for batch in self.reader.read(_merge_ranges(starts, stops), columns):
            pending.append(batch)
            n_rows += batch.num_rows
            stop = int(np.searchsorted(ends, n_rows, side="right"))
            if stop > at:
                ready = pa.concat_batches(pending) if len(pending) > 1 else batch
                length = int(ends[stop - 1]) - n_yielded
                rows = RowRange(first + at, first + stop)
                yield Chunk(rows, counts[at:stop], ready.slice(0, length).columns)
                at, n_yielded = stop, n_yielded + length
                pending = [ready.slice(length)] if n_yielded < n_rows else []
        if at == len(counts):
            return
        if n_yielded < ends[-1]:
            cell = cells.start + at if isinstance(cells, RowRange) else cells[at]
            msg = (
                f"{self.label}: it has fewer rows of {self.axis.name} from {cell} on than "
                f"{self.axis.name} say; `slaf verify` it"
            )
            raise DamagedDataset(msg)
        yield Chunk(
            RowRange(first + at, first + len(counts)),
            counts[at:],
            self.reader.empty(columns).columns,
        )

    def n_of_each(self, n_columns: int, cells: Rows | None = None) -> NDArray[np.int64]:
        """The number of rows of each gene; values are not read.

        Parameters
        ----------
        n_columns
            The number of genes.
        cells
            The cells that count; positions are ascending and unique. None for all.

        Raises
        ------
        DamagedDataset
            If the rows cannot be read, are fewer than the offsets say, or are of other genes.
        """
        cells = RowRange(0, len(self)) if cells is None else cells
        starts, stops = self._bounds(cells)
        counts, n_left = np.zeros(n_columns, np.int64), int(self.lengths(cells).sum())
        for batch in self.reader.read(_merge_ranges(starts, stops), [self.axis.ids[1]]):
            found = np.bincount(batch.column(0).to_numpy(), minlength=n_columns)
            if len(found) > n_columns:
                break
            counts += found
            n_left -= batch.num_rows
        if n_left:
            msg = f"{self.label}: its rows are not those of {self.axis.name}; `slaf verify` it"
            raise DamagedDataset(msg)
        return counts

    def _bounds(self, cells: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The first row of each cell, and the row after its last."""
        if isinstance(cells, RowRange):
            bounds = self.offsets[cells.start : cells.stop + 1]
            return bounds[:-1], bounds[1:]
        return self.offsets[cells], self.offsets[cells + 1]


@dataclass(frozen=True, slots=True)
class StoredMatrix:
    """X, a layer or raw: cells × genes, or genes × cells if the rows are in gene order.

    Attributes
    ----------
    rows
        The rows of its table.
    column
        The column of its values; a row without a value is no entry.
    n_columns
        The number of its columns.
    dtype
        The type of its values in the source.
    read_dtype
        The type in which its values are read.
    value_type
        The type of the column.
    nnz
        The number of its values.
    by_gene
        The same values as genes × cells, in the order of genes; None if they are not stored.
    """

    rows: StoredRows
    column: str
    n_columns: int
    dtype: np.dtype[Any]
    read_dtype: np.dtype[Any]
    value_type: np.dtype[Any]
    nnz: int
    by_gene: StoredMatrix | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and genes."""
        return (len(self.rows), self.n_columns)

    def n_rows(self, cells: Rows) -> int:
        """The number of rows of some cells, those of other layers included."""
        if isinstance(cells, RowRange):
            return int(self.rows.offsets[cells.stop] - self.rows.offsets[cells.start])
        return int(self.rows.lengths(cells).sum())

    @property
    def size(self) -> MatrixSize:
        """The number of its values."""
        return MatrixSize("a dataset", self.nnz)

    def positive_counts(self, axis: int, cells: Rows | None = None) -> NDArray[np.int64] | None:
        """The numbers of values above zero, as `slaf.sources.matrix.positive_counts` has them.

        Parameters
        ----------
        axis
            1 for the numbers of cells, 0 for those of genes.
        cells
            For those of genes, the cells that count, ascending; None for all.
        """
        # No table holds zeros, and those of layers nulls.
        if self.value_type.kind != "u" or self.nnz != self.rows.offsets[-1]:
            return None
        if axis:
            return self.rows.lengths(RowRange(0, len(self.rows)))
        if self.by_gene is not None and cells is None:
            return self.by_gene.rows.lengths(RowRange(0, self.n_columns))
        return self.rows.n_of_each(self.n_columns, cells)

    def sample_values(self) -> NDArray[Any]:
        """Its first values."""
        rows = np.array([[0, min(_SAMPLE_ROWS, int(self.rows.offsets[-1]))]])
        values = [
            batch.column(0).drop_null().to_numpy()
            for batch in self.rows.reader.read(rows, [self.column])
        ]
        return np.concatenate([np.empty(0, self.value_type), *values])

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:
        """Rows before cells 0, step, 2 * step, …, and n_cells, of all layers of the table."""
        offsets = self.rows.offsets
        return np.append(offsets[:-1][::step], offsets[-1])

    def batches(self, rows: Rows, genes: Rows | None = None) -> Iterator[Batch]:
        """Some cells in their order, in batches of bounded size; values in the stored type.

        Parameters
        ----------
        rows
            Cells; for positions, the cells of a batch are a range in their array.
        genes
            The genes to read, in their order; None for all.

        Raises
        ------
        DamagedDataset
            If they cannot be read.
        """
        selection = self._columns(genes)
        if isinstance(rows, RowRange) or is_ascending(rows):
            entries = self._entries(rows, selection)
        else:
            entries = self._unordered_entries(rows, selection)
        for cells, (counts, columns, values) in entries:
            yield Batch(cells, counts, columns.astype(np.uint32, copy=False), values)

    def entries(self, rows: Rows) -> Iterator[Entries]:
        """Some cells in their order, in chunks of whole cells; all in stored types.

        Parameters
        ----------
        rows
            Cells; positions are ascending and unique.

        Yields
        ------
        tuple
            The number of entries of each cell, their columns, and their values.

        Raises
        ------
        DamagedDataset
            If they cannot be read.
        """
        for _, entries in self._entries(rows, None):
            yield entries

    def read(self, rows: Rows, genes: Rows | None = None) -> sp.csr_matrix:
        """Some cells and genes, in their order, in `read_dtype`.

        Raises
        ------
        DamagedDataset
            If they cannot be read.
        """
        if genes is not None and self.by_gene is not None:
            by_gene = self.by_gene
            if by_gene.n_rows(genes) < self.n_rows(rows):
                return by_gene.read(genes, rows).T.tocsr()
        return self._csr(rows, self._columns(genes), self.read_dtype)

    def _csr(
        self, rows: Rows, selection: ColumnSelection | None, dtype: np.dtype[Any]
    ) -> sp.csr_matrix:
        if isinstance(rows, RowRange) or is_ascending(rows):
            entries = (entries for _, entries in self._entries(rows, selection))
            if selection is not None:
                return csr_from_batches(entries, len(selection), dtype)
            # Damaged offsets are detected when rows are read: until then no more than all rows.
            max_entries = min(max(self.n_rows(rows), 0), int(self.rows.offsets[-1]))
            return csr_from_batches(entries, self.n_columns, dtype, max_entries)
        # Ascending rows are read several times faster.
        unique, inverse = np.unique(rows, return_inverse=True)
        return self._csr(unique, selection, dtype)[inverse]

    def _entries(
        self, rows: Rows, selection: ColumnSelection | None
    ) -> Iterator[tuple[RowRange, Entries]]:
        for chunk in self.rows.chunks(rows, [self.rows.axis.ids[1], self.column]):
            entries = chunk.present(0, 1)
            yield chunk.cells, entries if selection is None else selection.apply(entries)

    def _unordered_entries(
        self, rows: NDArray[np.int64], selection: ColumnSelection | None
    ) -> Iterator[tuple[RowRange, Entries]]:
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.rows.lengths(rows))])
        for first, last in split_by_nnz(ends, BATCH_NONZEROS):
            matrix = self._csr(rows[first:last], selection, self.value_type)
            counts = np.diff(matrix.indptr).astype(np.int64)
            yield RowRange(first, last), (counts, matrix.indices, matrix.data)

    def _columns(self, genes: Rows | None) -> ColumnSelection | None:
        if genes is None or (isinstance(genes, RowRange) and len(genes) == self.n_columns):
            return None
        return ColumnSelection(as_positions(genes), self.n_columns)


class SelectedStored(SelectedMatrix):
    """Some cells and genes of a stored matrix, in their order."""

    _matrix: StoredMatrix

    @property
    def read_dtype(self) -> np.dtype[Any]:
        """The type in which its values are read."""
        return self._matrix.read_dtype

    @property
    def value_type(self) -> np.dtype[Any]:
        """The type of the column."""
        return self._matrix.value_type

    def positive_counts(self, axis: int) -> NDArray[np.int64] | None:
        """The numbers of values above zero, as `slaf.sources.matrix.positive_counts` has them."""
        if axis or self._cells is None or not is_ascending(self._cells):
            return super().positive_counts(axis)
        counts = self._matrix.positive_counts(axis, self._cells)
        return counts if counts is None or self._genes is None else counts[self._genes]

    def _read(self, cells: Rows) -> Iterator[Batch]:
        return self._matrix.batches(cells, self._genes)


def _merge_ranges(starts: NDArray[np.int64], stops: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ranges, adjacent ones merged."""
    if not len(starts):
        return np.empty((0, 2), np.int64)
    gaps = np.flatnonzero(starts[1:] != stops[:-1]) + 1
    first, last = np.append(0, gaps), np.append(gaps, len(starts)) - 1
    return np.stack([starts[first], stops[last]], axis=1)
