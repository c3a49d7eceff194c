"""Some cells and genes of a matrix, in any order, as a matrix."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.sources.matrix import positive_counts
from slaf.sources.unsorted import UnsortedMatrix
from slaf.sparse.batch import BATCH_NONZEROS, Batch
from slaf.sparse.buckets import Coo
from slaf.sparse.csr import ColumnSelection, csr_from_batches, drop_entries, repeat_rows
from slaf.sparse.ranges import RowRange, indptr_from_counts, split_by_nnz

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from slaf.options import ReadOptions
    from slaf.sources.matrix import Matrix, MatrixSize
    from slaf.sparse.csr import Entries
    from slaf.sparse.ranges import Rows

    Positions = NDArray[np.int64] | None

__all__ = ["RunsOfCells", "SelectedMatrix", "is_ascending"]

# Cells between two requested ones that are read with them.
_GAP = 512

# Nonzeros that are put in another order in memory; more are sorted in scratch.
_REORDERED = 1 << 23


def is_ascending(rows: NDArray[np.int64]) -> bool:
    """Whether positions ascend, and none is repeated."""
    return bool((np.diff(rows) > 0).all())


class SelectedMatrix:
    """Some cells and genes of a matrix, in their order; a `Matrix`.

    Cells in another order are read once, in that of the matrix, and sorted in scratch where memory
    does not hold them.

    Parameters
    ----------
    matrix
        The matrix.
    cells, genes
        Positions in it, in any order, each any number of times; None for all.
    reading
        The memory and the scratch directory for sorting; None for those by default.
    """

    def __init__(
        self,
        matrix: Matrix,
        cells: Positions = None,
        genes: Positions = None,
        reading: ReadOptions | None = None,
    ) -> None:
        self._matrix = matrix
        self._cells = cells
        self._genes = genes
        self._reading = reading
        self._lock = threading.Lock()
        self._unsorted: UnsortedMatrix | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and genes."""
        n_cells, n_genes = self._matrix.shape
        return (
            n_cells if self._cells is None else len(self._cells),
            n_genes if self._genes is None else len(self._genes),
        )

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numeric type of the values."""
        return self._matrix.dtype

    @property
    def size(self) -> MatrixSize:
        """The number of entries, which is an estimate, and what sorting the matrix takes."""
        return self._plain_size if self._reordered is None else self._reordered.size

    @property
    def _plain_size(self) -> MatrixSize:
        share = 1.0 if self._genes is None else len(self._genes) / max(self._matrix.shape[1], 1)
        entries = self._matrix.size.entries if self._cells is None else int(self._offsets[-1])
        return replace(self._matrix.size, entries=int(entries * share), exact=False)

    @property
    def _reordered(self) -> UnsortedMatrix | None:
        """The same cells, sorted in scratch; None for those in order, and for few."""
        cells = self._cells
        if cells is None or is_ascending(cells) or self._offsets[-1] <= _REORDERED:
            return None
        with self._lock:
            if self._unsorted is None:
                self._unsorted = _sorted_in_scratch(self, self._plain_size, self._reading)
            return self._unsorted

    @cached_property
    def _offsets(self) -> NDArray[np.int64]:
        """Entries before each cell, and in all, of all genes."""
        offsets = self._matrix.indptr_estimate(1)
        if self._cells is None:
            return offsets
        counts = np.diff(offsets)[self._cells]
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])

    def positive_counts(self, axis: int) -> NDArray[np.int64] | None:
        """The numbers of values above zero, as `slaf.sources.matrix.positive_counts` has them."""
        selected, others = (self._cells, self._genes) if axis else (self._genes, self._cells)
        counts = None if others is not None else positive_counts(self._matrix, axis)
        return counts if counts is None or selected is None else counts[selected]

    def sample_values(self) -> NDArray[Any]:
        """Some of the first stored values of the matrix; none of no cells, which nothing reads."""
        if self._cells is not None and not len(self._cells):
            return np.empty(0, self.dtype)
        return self._matrix.sample_values()

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:
        """Entries of all genes before cells 0, step, 2 * step, …, and n_cells."""
        if self._cells is None:
            return self._matrix.indptr_estimate(step)
        return np.append(self._offsets[:-1][::step], self._offsets[-1])

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order."""
        if self._cells is None:
            yield from self._read(rows)
            return
        if self._reordered is not None:
            yield from self._reordered.batches(rows)
            return
        # `_read` counts cells from the first of its positions.
        for batch in self._read(self._cells[rows.start : rows.stop]):
            yield batch.shifted(rows.start)

    def _read(self, cells: Rows) -> Iterator[Batch]:
        """Cells of the matrix; those at positions are counted from the first position."""
        columns = None
        if self._genes is not None:
            columns = ColumnSelection(self._genes, self._matrix.shape[1])
        if isinstance(cells, RowRange) or is_ascending(cells):
            for batch in self._ascending(cells):
                counts, genes, values = _selected(columns, batch.counts, batch.genes, batch.values)
                yield Batch(batch.rows, counts, genes.astype(np.uint32, copy=False), values)
            return
        yield from self._in_memory(cells, columns)

    def entries_by_position(self, size: int) -> Iterator[Coo]:
        """Entries of all cells in the order of the matrix, at most so many at a time.

        Their cells are the positions that they have here.
        """
        selected = np.arange(self.shape[0]) if self._cells is None else self._cells
        unique, copies = np.unique(selected, return_counts=True)
        order, first = np.argsort(selected, kind="stable"), indptr_from_counts(copies)
        for batch in self._read(unique):
            low, high = batch.rows.start, batch.rows.stop
            counts, genes, values = repeat_rows(
                copies[low:high], batch.counts, batch.genes, batch.values
            )
            cells = np.repeat(order[first[low] : first[high]], counts)
            for part in RowRange(0, len(cells)).split(size):
                at = slice(part.start, part.stop)
                yield Coo(cells[at], genes[at], values[at])

    def _ascending(self, cells: Rows) -> Iterator[Batch]:
        """Cells in the order of the matrix."""
        if isinstance(cells, RowRange):
            yield from self._matrix.batches(cells)
            return
        breaks = np.flatnonzero(np.diff(cells) > _GAP) + 1
        for first, last in zip([0, *breaks], [*breaks, len(cells)], strict=True):
            if first < last:
                yield from self._without_gaps(cells[first:last], int(first))

    def _without_gaps(self, cells: NDArray[np.int64], first: int) -> Iterator[Batch]:
        """Cells that are read with those between them."""
        for batch in self._matrix.batches(RowRange(int(cells[0]), int(cells[-1]) + 1)):
            start, stop = np.searchsorted(cells, (batch.rows.start, batch.rows.stop)).tolist()
            rows = RowRange(first + start, first + stop)
            if start == stop:
                continue
            if stop - start == len(batch.rows):
                yield replace(batch, rows=rows)
                continue
            kept = np.zeros(len(batch.rows), np.bool_)
            kept[cells[start:stop] - batch.rows.start] = True
            entries = drop_entries(
                np.repeat(kept, batch.counts), batch.counts, batch.genes, batch.values
            )
            yield Batch(rows, entries[0][kept], *entries[1:])

    def _in_memory(
        self, cells: NDArray[np.int64], columns: ColumnSelection | None
    ) -> Iterator[Batch]:
        """Cells in another order, which are in memory at once."""
        unique, inverse = np.unique(cells, return_inverse=True)
        batches = list(self._ascending(unique))
        # Sums of repeated entries have a wider type than other values.
        dtype = np.result_type(*(batch.values.dtype for batch in batches))
        entries = (_selected(columns, batch.counts, batch.genes, batch.values) for batch in batches)
        width = self._matrix.shape[1] if columns is None else len(columns)
        matrix = csr_from_batches(entries, width, dtype)[inverse]
        for start, stop in split_by_nnz(matrix.indptr.astype(np.int64), BATCH_NONZEROS):
            low, high = matrix.indptr[start], matrix.indptr[stop]
            yield Batch(
                RowRange(start, stop),
                np.diff(matrix.indptr[start : stop + 1]).astype(np.int64),
                matrix.indices[low:high].astype(np.uint32),
                matrix.data[low:high],
            )


class RunsOfCells(SelectedMatrix):
    """Some cells of a column of runs; a cell may have several runs of one contig."""

    _cells: NDArray[np.int64]
    _reordered = None

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order."""
        for at, cell in enumerate(self._cells[rows.start : rows.stop].tolist(), rows.start):
            for batch in self._matrix.batches(RowRange(cell, cell + 1)):
                yield batch.shifted(at - cell)


def _sorted_in_scratch(
    matrix: SelectedMatrix, size: MatrixSize, reading: ReadOptions | None
) -> UnsortedMatrix:
    """Its cells sorted by position, with the scratch and memory that this and its input take."""
    from slaf.options import ReadOptions

    made = UnsortedMatrix(
        matrix.shape, matrix.dtype, size, matrix.entries_by_position, reading or ReadOptions()
    )
    made.size = replace(
        made.size,
        least_scratch=made.size.least_scratch + size.least_scratch,
        scratch=made.size.scratch + size.scratch,
        memory=made.size.memory + size.memory,
    )
    return made


def _selected(columns: ColumnSelection | None, *entries: NDArray[Any]) -> Entries:
    return entries if columns is None else columns.apply(entries)
