"""The matrices of a dataset as they are stored: rows in the order of cells, or of genes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from slaf.errors import DamagedDataset
from slaf.sources.base import MatrixSize
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

__all__ = ["Chunk", "StoredMatrix", "StoredRows"]

# Rows that are read to see what values there are.
_SAMPLE_ROWS = 1 << 16


@dataclass(frozen=True, slots=True)
class Chunk:
    """The rows of whole cells, one cell after the other.

    Attributes
    ----------
    cells
        The cells; of cells that were chosen one by one, which of these.
    counts
        The rows of each.
    columns
        The columns that were asked for.
    """

    cells: RowRange
    counts: NDArray[np.int64]
    columns: Sequence[pa.Array]

    def present(self, *columns: int) -> tuple[NDArray[Any], ...]:
        """Drop the rows without a value in the last of some columns; NaN is a value.

        Returns
        -------
        tuple
            The rows of each cell that are left, and each of these columns.
        """
        found = [self.columns[at] for at in columns]
        if not found[-1].null_count:
            return self.counts, *(column.to_numpy() for column in found)
        kept = found[-1].is_valid().to_numpy(zero_copy_only=False)
        found[-1] = found[-1].fill_null(0)
        return drop_entries(kept, self.counts, *(column.to_numpy() for column in found))


@dataclass(frozen=True, slots=True)
class StoredRows:
    """The rows of a table in cell order, or in gene order: a "cell" is then a gene.

    Attributes
    ----------
    place
        The table, for errors.
    reader
        Reads rows of the table by their positions.
    axis
        What the rows are ordered by.
    offsets
        Where the rows of each cell begin, and after the last, where they end.
    """

    place: str
    reader: FileRows
    axis: Axis
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        """Number of cells."""
        return len(self.offsets) - 1

    def lengths(self, cells: Rows) -> NDArray[np.int64]:
        """How many rows each of some cells has."""
        starts, stops = self._bounds(cells)
        return stops - starts

    def chunks(self, cells: Rows, columns: Sequence[str]) -> Iterator[Chunk]:
        """The rows of some cells in order, whole cells at a time: the one loop over stored rows.

        Parameters
        ----------
        cells
            Cells; their positions ascend, each once.
        columns
            The columns to read.

        Raises
        ------
        DamagedDataset
            If the rows cannot be read, or are fewer than the offsets say.
        """
        starts, stops = self._bounds(cells)
        counts = stops - starts
        if (counts < 0).any():
            msg = f"{self.place}: the offsets of its {self.axis.name} descend; `slaf verify` it"
            raise DamagedDataset(msg)
        ends = np.cumsum(counts)
        first = cells.start if isinstance(cells, RowRange) else 0
        at, before, n_rows = 0, 0, 0
        waiting: list[pa.RecordBatch] = []
        for batch in self.reader.read(_joined(starts, stops), columns):
            waiting.append(batch)
            n_rows += batch.num_rows
            stop = int(np.searchsorted(ends, n_rows, side="right"))
            if stop > at:
                ready = pa.concat_batches(waiting) if len(waiting) > 1 else batch
                here = int(ends[stop - 1]) - before
                chosen = RowRange(first + at, first + stop)
                yield Chunk(chosen, counts[at:stop], ready.slice(0, here).columns)
                at, before = stop, before + here
                waiting = [ready.slice(here)] if before < n_rows else []
        if at == len(counts):
            return
        if before < ends[-1]:
            cell = cells.start + at if isinstance(cells, RowRange) else cells[at]
            msg = (
                f"{self.place}: it has fewer rows of {self.axis.name} from {cell} on than "
                f"{self.axis.name} say; `slaf verify` it"
            )
            raise DamagedDataset(msg)
        yield Chunk(
            RowRange(first + at, first + len(counts)),
            counts[at:],
            self.reader.empty(columns).columns,
        )

    def _bounds(self, cells: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the rows of each cell begin, and where they end."""
        if isinstance(cells, RowRange):
            bounds = self.offsets[cells.start : cells.stop + 1]
            return bounds[:-1], bounds[1:]
        return self.offsets[cells], self.offsets[cells + 1]


@dataclass(frozen=True, slots=True)
class StoredMatrix:
    """X, a layer, or raw: cells × genes, or genes × cells where the rows are in gene order.

    Attributes
    ----------
    rows
        The table that holds it.
    column
        The column of its values; a row without a value is no entry of it.
    n_columns
        Its width.
    dtype
        The type of its values in the source.
    read_dtype
        The type that they are given back in.
    value_type
        The type of the column.
    nnz
        How many there are.
    """

    rows: StoredRows
    column: str
    n_columns: int
    dtype: np.dtype[Any]
    read_dtype: np.dtype[Any]
    value_type: np.dtype[Any]
    nnz: int

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and genes."""
        return (len(self.rows), self.n_columns)

    def n_rows(self, cells: Rows) -> int:
        """How many rows some cells have: entries, or at most, where other layers have rows too."""
        if isinstance(cells, RowRange):
            return int(self.rows.offsets[cells.stop] - self.rows.offsets[cells.start])
        return int(self.rows.lengths(cells).sum())

    @property
    def size(self) -> MatrixSize:
        """Its values."""
        return MatrixSize("a dataset", self.nnz)

    def sample_values(self) -> NDArray[Any]:
        """Its first values."""
        rows = np.array([[0, min(_SAMPLE_ROWS, int(self.rows.offsets[-1]))]])
        values = [
            batch.column(0).drop_null().to_numpy()
            for batch in self.rows.reader.read(rows, [self.column])
        ]
        return np.concatenate([np.empty(0, self.value_type), *values])

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:
        """Rows before cells 0, step, 2 * step, …, and n_cells: those of all layers of the table."""
        offsets = self.rows.offsets
        return np.append(offsets[:-1][::step], offsets[-1])

    def batches(self, rows: Rows, genes: Rows | None = None) -> Iterator[Batch]:
        """Some cells in their order, in batches of bounded size; values as they are stored.

        Parameters
        ----------
        rows
            Cells; if they are positions, the cells of a batch are places among these.
        genes
            The genes to keep, in their order; None for all.

        Raises
        ------
        DamagedDataset
            If they cannot be read.
        """
        chosen = self._columns(genes)
        if isinstance(rows, RowRange) or _ascends(rows):
            entries = self._entries(rows, chosen)
        else:
            entries = self._unordered_entries(rows, chosen)
        for cells, (counts, columns, values) in entries:
            yield Batch(cells, counts, columns.astype(np.uint32, copy=False), values)

    def read(self, rows: Rows, genes: Rows | None = None) -> sp.csr_matrix:
        """Some cells and genes, in their order, in the type that they are given back in.

        Raises
        ------
        DamagedDataset
            If they cannot be read.
        """
        return self._csr(rows, self._columns(genes), self.read_dtype)

    def _csr(
        self, rows: Rows, chosen: ColumnSelection | None, dtype: np.dtype[Any]
    ) -> sp.csr_matrix:
        if isinstance(rows, RowRange) or _ascends(rows):
            entries = (found for _, found in self._entries(rows, chosen))
            if chosen is not None:
                return csr_from_batches(entries, len(chosen), dtype)
            # Where offsets are damaged, which is found when rows are read, no more than all.
            most = min(max(self.n_rows(rows), 0), int(self.rows.offsets[-1]))
            return csr_from_batches(entries, self.n_columns, dtype, most)
        # Rows are found several times faster if they ascend.
        unique, inverse = np.unique(rows, return_inverse=True)
        return self._csr(unique, chosen, dtype)[inverse]

    def _entries(
        self, rows: Rows, chosen: ColumnSelection | None
    ) -> Iterator[tuple[RowRange, Entries]]:
        for chunk in self.rows.chunks(rows, [self.rows.axis.ids[1], self.column]):
            entries = chunk.present(0, 1)
            yield chunk.cells, entries if chosen is None else chosen.apply(entries)

    def _unordered_entries(
        self, rows: NDArray[np.int64], chosen: ColumnSelection | None
    ) -> Iterator[tuple[RowRange, Entries]]:
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.rows.lengths(rows))])
        for first, last in split_by_nnz(ends, BATCH_NONZEROS):
            found = self._csr(rows[first:last], chosen, self.value_type)
            counts = np.diff(found.indptr).astype(np.int64)
            yield RowRange(first, last), (counts, found.indices, found.data)

    def _columns(self, genes: Rows | None) -> ColumnSelection | None:
        if genes is None or (isinstance(genes, RowRange) and len(genes) == self.n_columns):
            return None
        return ColumnSelection(as_positions(genes), self.n_columns)


def _ascends(rows: NDArray[np.int64]) -> bool:
    return bool((np.diff(rows) > 0).all())


def _joined(starts: NDArray[np.int64], stops: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ranges that follow each other as one."""
    if not len(starts):
        return np.empty((0, 2), np.int64)
    apart = np.flatnonzero(starts[1:] != stops[:-1]) + 1
    first, last = np.append(0, apart), np.append(apart, len(starts)) - 1
    return np.stack([starts[first], stops[last]], axis=1)
