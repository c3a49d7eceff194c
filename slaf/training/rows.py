"""Entries of cells in stored types, read from the tables by threads, or mapped from a cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from slaf.errors import DamagedDataset
from slaf.sparse.casting import exact_cast, is_lossless
from slaf.sparse.ranges import indptr_from_counts, split_by_nnz

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from slaf.dataset.matrix import StoredMatrix

__all__ = ["Entries", "RowReader", "Rows", "TableReader", "sums_of_rows"]

# Entries that a thread reads at a time.
_TASK = 1 << 20


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
    """The entries of some cells, in stored types, as in `Entries`."""

    counts: NDArray[np.int64]
    genes: NDArray[Any]
    values: NDArray[Any]
    totals: NDArray[np.float64] | None


@dataclass(frozen=True)
class Rows:
    """Entries of cells that are in memory, or mapped into it.

    Parameters
    ----------
    arrays
        Genes and values, in pieces of whole cells.
    piece, starts, stops
        The piece of each cell, and its entries in it.
    totals
        As in `Entries`.
    """

    arrays: Sequence[tuple[NDArray[Any], NDArray[Any]]]
    piece: NDArray[np.int64]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    totals: NDArray[np.float64] | None

    def take(self, cells: NDArray[np.int64], dtype: np.dtype[Any]) -> Entries:
        """The entries of some cells, by their positions, with values of a type.

        Raises
        ------
        InexactValue
            If the type does not hold a value.
        """
        starts, stops = self.starts[cells], self.stops[cells]
        places = list(zip(self.piece[cells].tolist(), starts.tolist(), stops.tolist(), strict=True))
        genes = [self.arrays[at][0][start:stop] for at, start, stop in places]
        values = [self.arrays[at][1][start:stop] for at, start, stop in places]
        return Entries(
            indptr_from_counts(stops - starts),
            np.concatenate(genes, dtype=np.int32, casting="unsafe"),
            _joined(values, dtype),
            None if self.totals is None else self.totals[cells],
        )


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
    """

    n_genes: int
    dtype: np.dtype[Any]
    entry_bytes: int

    def lengths(self, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of entries of each of some cells, at most."""

    def read(self, cells: NDArray[np.int64], pool: Executor) -> Callable[[], Rows]:
        """Begin to read cells, ascending and unique; the result waits for them.

        Raises
        ------
        DamagedDataset
            If they cannot be read.
        """


class TableReader:
    """Read entries of cells from a table.

    Parameters
    ----------
    matrix
        The matrix.
    genes
        The genes to take, in their order; None for all.
    """

    def __init__(self, matrix: StoredMatrix, genes: NDArray[np.int64] | None) -> None:
        self._matrix = matrix
        self._selection = None if genes is None else GeneSelection(genes, matrix.n_columns)
        self.n_genes = matrix.n_columns if genes is None else len(genes)
        self.dtype = matrix.read_dtype
        columns = (matrix.rows.axis.ids[1], matrix.column)
        fields = map(matrix.rows.reader.schema.field, columns)
        self.entry_bytes = sum(field.type.bit_width // 8 for field in fields)

    def lengths(self, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of entries of each of some cells, those of all genes and layers."""
        return self._matrix.rows.lengths(cells)

    def read(self, cells: NDArray[np.int64], pool: Executor) -> Callable[[], Rows]:
        """Begin to read cells, ascending and unique; the result waits for them."""
        ends = indptr_from_counts(self._matrix.rows.lengths(cells))
        tasks = [
            pool.submit(self._pieces, cells[first:last])
            for first, last in split_by_nnz(ends, _TASK)
        ]
        return lambda: _rows([piece for task in tasks for piece in task.result()])

    def _pieces(self, cells: NDArray[np.int64]) -> list[Piece]:
        return [self._piece(*entries) for entries in self._matrix.entries(cells)]

    def _piece(self, counts: NDArray[np.int64], genes: NDArray[Any], values: NDArray[Any]) -> Piece:
        if len(genes) and int(genes.max()) >= self._matrix.n_columns:
            msg = (
                f"{self._matrix.rows.label}: it has the gene {genes.max()}, but there are "
                f"{self._matrix.n_columns:,}; `slaf verify` it"
            )
            raise DamagedDataset(msg)
        if self._selection is None:
            return Piece(counts, genes, values, None)
        totals = sums_of_rows(indptr_from_counts(counts), values)
        return Piece(*self._selection.apply(counts, genes, values), totals)


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


def _rows(pieces: Sequence[Piece]) -> Rows:
    """Cells of several pieces, one piece after the other."""
    indptrs = [indptr_from_counts(piece.counts) for piece in pieces]
    empty = [np.zeros(0, np.int64)]
    totals = [piece.totals for piece in pieces if piece.totals is not None]
    return Rows(
        [(piece.genes, piece.values) for piece in pieces],
        np.repeat(np.arange(len(pieces)), [len(piece.counts) for piece in pieces]),
        np.concatenate([*empty, *(indptr[:-1] for indptr in indptrs)]),
        np.concatenate([*empty, *(indptr[1:] for indptr in indptrs)]),
        np.concatenate(totals) if totals else None,
    )


def _joined(values: list[NDArray[Any]], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The values of several cells as one array of a type."""
    if is_lossless(values[0].dtype, dtype):
        return np.concatenate(values, dtype=dtype)
    return exact_cast(np.concatenate(values), dtype)
