"""Entries of cells in stored types, read from the tables by threads, or mapped from a cache."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from slaf.errors import DamagedDataset
from slaf.kernels import kernels
from slaf.sparse.casting import exact_cast, is_lossless
from slaf.sparse.ranges import indptr_from_counts, split_by_nnz

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Executor, Future

    from numpy.typing import NDArray

    from slaf.dataset.matrix import StoredMatrix

__all__ = ["Entries", "Reading", "RowReader", "Rows", "TableReader", "sums_of_rows"]

# Entries that a thread reads at a time, from a disk and from a bucket. From a bucket neighbouring
# cells with many entries are read by themselves, so that threads wait for all at the same time.
_TASK = 1 << 20
_TASK_IN_BUCKET = 1 << 18
_ALONE_IN_BUCKET = 1 << 13

# The share of a window that is read while the one before it is used, from a disk and from a bucket.
# All of it takes a third more memory, and from a disk it saves no time.
_READ_AHEAD = 0.5
_READ_AHEAD_IN_BUCKET = 1.0


class Entries(NamedTuple):
    """The entries of some cells, one cell after the other.

    Attributes
    ----------
    indptr
        The first entry of each cell, and the end of the last.
    genes
        The positions of genes, as int32.
    values
        The values.
    totals
        The sum of each cell over all genes; None if it is that of `values`.
    """

    indptr: NDArray[np.int64]
    genes: NDArray[np.int32]
    values: NDArray[Any]
    totals: NDArray[np.float64] | None

    def sums(self) -> NDArray[np.float64]:
        """The sum of each cell over all genes."""
        return sums_of_rows(self.indptr, self.values) if self.totals is None else self.totals


class Piece(NamedTuple):
    """The entries of some cells, in the narrowest types, as in `Entries`."""

    counts: NDArray[np.int64]
    genes: NDArray[Any]
    values: NDArray[Any]
    totals: NDArray[np.float64] | None


class Rows:
    """Entries of cells that are in memory, or mapped into it.

    Parameters
    ----------
    genes, values
        Arrays of whole cells, each of one type.
    piece, starts, stops
        The array of each cell, and its entries in it.
    totals
        As in `Entries`.
    """

    def __init__(  # noqa: PLR0917 - the columns of rows
        self,
        genes: Sequence[NDArray[Any]],
        values: Sequence[NDArray[Any]],
        piece: NDArray[np.int64],
        starts: NDArray[np.int64],
        stops: NDArray[np.int64],
        totals: NDArray[np.float64] | None,
    ) -> None:
        self._genes = kernels().gather(genes, piece, starts, stops)
        self._values = kernels().gather(values, piece, starts, stops)
        self._value_type = values[0].dtype
        self._counts, self._totals = stops - starts, totals

    def take(self, cells: NDArray[np.int64], dtype: np.dtype[Any]) -> Entries:
        """The entries of some cells, by their positions, with values of a type.

        Raises
        ------
        InexactValue
            If the type does not hold a value.
        """
        indptr = indptr_from_counts(self._counts[cells])
        genes = np.empty(indptr[-1], np.int32)
        self._genes(cells, genes)
        is_held = is_lossless(self._value_type, dtype)
        values = np.empty(indptr[-1], dtype if is_held else self._value_type)
        self._values(cells, values)
        totals = None if self._totals is None else self._totals[cells]
        return Entries(indptr, genes, exact_cast(values, dtype), totals)


class Reading(Protocol):
    """Cells that are read, or will be."""

    def begin(self, pool: Executor, n_bytes: int | None = None) -> None:
        """Begin to read the cells: all, or those that take no more memory together."""

    def rows(self) -> Rows:
        """The cells, once all are read.

        Raises
        ------
        DamagedDataset
            If they cannot be read.
        """


class RowReader(Protocol):
    """Reads entries of cells.

    Attributes
    ----------
    n_genes
        The number of genes that it gives.
    dtype
        The type of values in the source.
    entry_bytes
        The bytes of memory that an entry takes in a window; 0 if it is mapped from a file.
    read_ahead
        The share of a window that is read while the one before it is used.
    """

    n_genes: int
    dtype: np.dtype[Any]
    entry_bytes: int
    read_ahead: float

    def lengths(self, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of entries of each of some cells, at most."""

    def reading(self, cells: NDArray[np.int64]) -> Reading:
        """A reading of cells, ascending and unique, which has not begun."""


class TableReader:
    """Read entries of cells from a table.

    Parameters
    ----------
    matrix
        The matrix.
    genes
        The genes to take, in their order; None for all.
    is_remote
        Whether the table is in a bucket.
    """

    def __init__(
        self, matrix: StoredMatrix, genes: NDArray[np.int64] | None, *, is_remote: bool
    ) -> None:
        self._matrix = matrix
        self.read_ahead = _READ_AHEAD_IN_BUCKET if is_remote else _READ_AHEAD
        self._is_remote = is_remote
        self._selection = None if genes is None else GeneSelection(genes, matrix.n_columns)
        self.n_genes = matrix.n_columns if genes is None else len(genes)
        self.dtype = matrix.read_dtype
        # Half the bytes of uint32.
        self._gene_type = np.dtype(np.uint16 if self.n_genes <= 1 << 16 else np.uint32)
        value_type = matrix.rows.reader.schema.field(matrix.column).type
        self.entry_bytes = self._gene_type.itemsize + value_type.bit_width // 8

    def lengths(self, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of entries of each of some cells, those of all genes and layers."""
        return self._matrix.rows.lengths(cells)

    def reading(self, cells: NDArray[np.int64]) -> TableReading:
        """A reading of cells, ascending and unique, which has not begun."""
        return TableReading(self, cells)

    def tasks(self, cells: NDArray[np.int64], ends: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        """Ranges of cells that a thread reads, cut between cells that are no neighbours.

        Parameters
        ----------
        cells
            Cells, ascending and unique.
        ends
            The first entry of each, and the end of the last.
        """
        edges = np.append(np.flatnonzero(np.diff(cells, prepend=-2) != 1), len(cells))
        n_entries, most = np.diff(ends[edges]), _TASK
        if self._is_remote:
            most = _TASK_IN_BUCKET
            n_entries[n_entries >= _ALONE_IN_BUCKET] = most
        for first, last in split_by_nnz(indptr_from_counts(n_entries), most):
            begin, end = edges[first], edges[last]
            for start, stop in split_by_nnz(ends[begin : end + 1], _TASK):
                yield int(begin + start), int(begin + stop)

    def pieces(self, cells: NDArray[np.int64]) -> list[Piece]:
        """Read cells, ascending and unique.

        Raises
        ------
        DamagedDataset
            If they cannot be read.
        """
        return [self._piece(*entries) for entries in self._matrix.entries(cells)]

    def _piece(self, counts: NDArray[np.int64], genes: NDArray[Any], values: NDArray[Any]) -> Piece:
        if len(genes) and int(genes.max()) >= self._matrix.n_columns:
            msg = (
                f"{self._matrix.rows.label}: it has the gene {genes.max()}, but there are "
                f"{self._matrix.n_columns:,}; `slaf verify` it"
            )
            raise DamagedDataset(msg)
        totals = None
        if self._selection is not None:
            totals = sums_of_rows(indptr_from_counts(counts), values)
            counts, genes, values = self._selection.apply(counts, genes, values)
        if genes.dtype != self._gene_type:
            # Of both columns a copy: else the one would keep what was read of the other.
            genes, values = genes.astype(self._gene_type), values.copy()
        return Piece(counts, genes, values, totals)


class TableReading:
    """Cells of a table that threads read.

    Parameters
    ----------
    reader
        Reads them.
    cells
        The cells, ascending and unique.
    """

    def __init__(self, reader: TableReader, cells: NDArray[np.int64]) -> None:
        self._reader, self._cells = reader, cells
        self._ends = indptr_from_counts(reader.lengths(cells))
        self._waiting = deque(reader.tasks(cells, self._ends))
        self._tasks: list[Future[list[Piece]]] = []

    def begin(self, pool: Executor, n_bytes: int | None = None) -> None:
        """Begin to read the cells: all, or those that take no more memory together."""
        while self._waiting:
            first, last = self._waiting[0]
            if n_bytes is not None and self._ends[last] * self._reader.entry_bytes > n_bytes:
                return
            self._waiting.popleft()
            self._tasks.append(pool.submit(self._reader.pieces, self._cells[first:last]))

    def rows(self) -> Rows:
        """The cells, once all are read."""
        pieces = [piece for task in self._tasks for piece in task.result()]
        indptrs = [indptr_from_counts(piece.counts) for piece in pieces]
        empty = [np.zeros(0, np.int64)]
        totals = [piece.totals for piece in pieces if piece.totals is not None]
        return Rows(
            [piece.genes for piece in pieces],
            [piece.values for piece in pieces],
            np.repeat(np.arange(len(pieces)), [len(piece.counts) for piece in pieces]),
            np.concatenate([*empty, *(indptr[:-1] for indptr in indptrs)]),
            np.concatenate([*empty, *(indptr[1:] for indptr in indptrs)]),
            np.concatenate(totals) if totals else None,
        )


class GeneSelection:
    """Some genes in any order, each any number of times.

    Parameters
    ----------
    genes
        Their positions.
    n_genes
        The number of all genes.
    """

    def __init__(self, genes: NDArray[np.int64], n_genes: int) -> None:
        self._order = np.argsort(genes, kind="stable")
        self._repeats = np.bincount(genes, minlength=n_genes)
        self._first = indptr_from_counts(self._repeats)[:-1]
        self._is_selected = self._repeats > 0
        self._ascends = bool((np.diff(genes) > 0).all())
        self._places = np.full(n_genes, -1, np.int32)
        self._places[genes] = np.arange(len(genes), dtype=np.int32)

    def apply(
        self, counts: NDArray[np.int64], genes: NDArray[Any], values: NDArray[Any]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[Any]]:
        """The entries of these genes, with positions in the selection, ascending in each cell."""
        kept = np.flatnonzero(self._is_selected.take(genes, mode="clip"))
        counts = np.diff(np.searchsorted(kept, indptr_from_counts(counts)))
        genes, values = genes[kept], values[kept]
        if self._ascends:
            return counts, self._places.take(genes, mode="clip"), values
        repeats = self._repeats[genes]
        ends = np.cumsum(repeats)
        cells = np.repeat(np.repeat(np.arange(len(counts)), counts), repeats)
        within = np.arange(len(cells)) - np.repeat(ends - repeats, repeats)
        places = self._order[np.repeat(self._first[genes], repeats) + within]
        order = np.lexsort((places, cells))
        counts = np.bincount(cells, minlength=len(counts))
        return counts, places[order].astype(np.int32), np.repeat(values, repeats)[order]


def sums_of_rows(indptr: NDArray[np.int64], values: NDArray[Any]) -> NDArray[np.float64]:
    """The sum of the values of each row, in float64."""
    sums = np.zeros(len(indptr) - 1)
    filled = np.flatnonzero(np.diff(indptr))
    if len(filled):
        sums[filled] = np.add.reduceat(values, indptr[:-1][filled], dtype=np.float64)
    return sums
