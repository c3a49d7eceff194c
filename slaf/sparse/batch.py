"""Batches of cells as compressed sparse rows, and the rules that they obey."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.errors import DamagedInput, InexactValue
from slaf.kernels import kernels
from slaf.sparse.casting import (
    checked_gene_ids,
    exact_cast,
    native_byte_order,
    pooled_empty,
    to_int64,
)
from slaf.sparse.ranges import RowRange, indptr_from_counts, runs_of, split_by_nnz

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from slaf.kernels.reference import Tiles

__all__ = [
    "BATCH_NONZEROS",
    "Batch",
    "GeneMap",
    "batch_from_compressed",
    "batch_from_pieces",
    "batches_from_dense",
]


# Nonzeros in a batch: enough for numpy, few enough for memory. Four times as many are 3 % faster,
# but then the number of batches in queues changes the peak of memory by a tenth.
BATCH_NONZEROS = 1 << 18


@dataclass(frozen=True, slots=True)
class Batch:
    """Whole cells as compressed sparse rows.

    Within a cell the genes ascend strictly, and no value is zero; NaN is a value.

    Attributes
    ----------
    rows
        The cells, in the order of the source.
    counts
        The nonzeros in each cell, of length ``len(rows)``.
    genes
        The gene positions, of length ``counts.sum()``.
    values
        The values, in the type of the source, or a narrower one that holds all of them; sums of
        repeated entries in a wider one.
    """

    rows: RowRange
    counts: NDArray[np.int64]
    genes: NDArray[np.uint32]
    values: NDArray[Any]

    @property
    def nnz(self) -> int:
        """Nonzeros in the batch."""
        return len(self.genes)

    def cells(self) -> NDArray[np.uint32]:
        """The cell of each nonzero, counted from the first cell of the source."""
        cells = pooled_empty(self.nnz, np.dtype(np.uint32))
        kernels().repeat(self.rows.start, self.counts, cells)
        return cells

    def gene_ids(self, dtype: np.dtype[Any]) -> NDArray[Any]:
        """The gene positions in a narrower type, which must hold the number of genes."""
        if dtype == self.genes.dtype:
            return self.genes
        narrow = pooled_empty(self.nnz, dtype)
        np.copyto(narrow, self.genes, casting="unsafe")
        return narrow

    def shifted(self, by: int) -> Batch:
        """The same entries with their cells moved by a number of rows, which may be negative."""
        return Batch(self.rows.shifted(by), self.counts, self.genes, self.values)

    def split(self, cell: int) -> tuple[Batch, Batch]:
        """The cells before `cell`, and the others."""
        row = cell - self.rows.start
        end = int(self.counts[:row].sum())
        before, after = RowRange(self.rows.start, cell), RowRange(cell, self.rows.stop)
        return (
            Batch(before, self.counts[:row], self.genes[:end], self.values[:end]),
            Batch(after, self.counts[row:], self.genes[end:], self.values[end:]),
        )

    def cell_of(self, nonzero: int) -> int:
        """The cell of the nonzero at a position of the batch."""
        ends = np.cumsum(self.counts)
        return self.rows.start + int(np.searchsorted(ends, nonzero, side="right"))


def batch_from_compressed(
    rows: RowRange,
    indptr: NDArray[Any],
    genes: NDArray[Any],
    values: NDArray[Any],
    n_genes: int,
) -> Batch:
    """A batch of compressed sparse rows as files store them.

    Genes are sorted, repeated ones are summed (as scipy does, but exactly: whole numbers as 64-bit
    integers, fractions as float64), stored zeros are removed.

    Parameters
    ----------
    rows
        The cells of the arrays.
    indptr
        ``len(rows) + 1`` offsets into the arrays; the first may be any number.
    genes, values
        The entries of the cells.
    n_genes
        The number of genes of the matrix.

    Raises
    ------
    DamagedInput
        If a length, an offset or a gene position is invalid.
    """
    counts = np.diff(to_int64(indptr))
    _check_lengths(rows, counts, genes, values)
    return batch_from_pieces(rows, counts, [genes], values, n_genes)


def batch_from_pieces(
    rows: RowRange,
    counts: NDArray[np.int64],
    genes: Iterable[NDArray[Any]],
    values: NDArray[Any],
    n_genes: int,
) -> Batch:
    """The same, for checked numbers of entries, and gene positions in any number of arrays.

    Raises
    ------
    DamagedInput
        If a gene position is invalid.
    """
    ids, descents = checked_gene_ids(genes, n_genes, rows, counts)
    values = native_byte_order(values)
    if descents != _descents_between_cells(ids, counts):
        ids, values, counts = _sort_and_sum(rows, ids, values, counts)
    if np.count_nonzero(values) < len(values):
        nonzero = values != 0
        cells = np.repeat(np.arange(len(rows)), counts)
        counts = np.bincount(cells[nonzero], minlength=len(rows))
        ids, values = ids[nonzero], values[nonzero]
    return Batch(rows, counts, ids, values)


def batches_from_dense(start: int, tiles: Tiles) -> Iterator[Batch]:
    """Batches of the nonzero elements of dense rows, each of about `BATCH_NONZEROS` at most.

    Parameters
    ----------
    start
        The first cell in the source.
    tiles
        The elements of whole cells.
    """
    dtype = tiles.values.dtype
    cells = kernels().dense_cells(tiles)
    indptr = indptr_from_counts(cells.counts)
    for first, stop in split_by_nnz(indptr, BATCH_NONZEROS):
        size = int(indptr[stop] - indptr[first])
        genes, values = pooled_empty(size, np.dtype(np.uint32)), pooled_empty(size, dtype)
        cells.write(first, stop, genes, values)
        part = RowRange(start + first, start + stop)
        yield Batch(part, cells.counts[first:stop], genes, native_byte_order(values))


class GeneMap:
    """The positions of the genes of a matrix in another one, which may have fewer genes.

    Entries stay in their order where no position changes, also several of one gene.

    Parameters
    ----------
    positions
        The new position of each gene, no two equal; −1 for one that is dropped. A range takes no
        memory.
    n_genes
        The number of genes of the other matrix.
    """

    def __init__(self, positions: NDArray[np.int64] | range, n_genes: int) -> None:
        self._positions = range(len(positions)) if _is_in_place(positions) else positions
        self._n_genes = n_genes

    @classmethod
    def first(cls, n: int, n_genes: int) -> GeneMap:
        """The genes stay where they are: the first of so many."""
        return cls(range(n), n_genes)

    @property
    def positions(self) -> NDArray[np.int64]:
        """The new position of each gene; −1 for one that is dropped."""
        return np.asarray(self._positions, np.int64)

    @property
    def n_dropped(self) -> int:
        """The number of genes that are dropped."""
        if isinstance(self._positions, range):
            return 0
        return int(np.count_nonzero(self._positions < 0))

    @property
    def genes_present(self) -> tuple[tuple[int, int], ...]:
        """The positions that a gene has, as ranges ``[start, stop)``."""
        if isinstance(self._positions, range):
            return ((0, len(self._positions)),) if self._positions else ()
        # The last is for those that are dropped, at −1.
        mask = np.zeros(self._n_genes + 1, np.bool_)
        mask[self._positions] = True
        return runs_of(mask[:-1])

    def apply(self, batch: Batch) -> Batch:
        """The same cells with new gene positions; the batch itself if no position changes."""
        if isinstance(self._positions, range):
            return batch
        genes, values, counts = self._positions[batch.genes], batch.values, batch.counts
        kept = genes >= 0
        if not kept.all():
            counts = np.diff(indptr_from_counts(kept)[indptr_from_counts(counts)])
            genes, values = genes[kept], values[kept]
        indptr = indptr_from_counts(counts)
        return batch_from_compressed(batch.rows, indptr, genes, values, self._n_genes)


def _is_in_place(positions: NDArray[np.int64] | range) -> bool:
    """True if each gene keeps its position."""
    n = len(positions)
    if isinstance(positions, range):
        return positions == range(n)
    # No two are equal, so that those that ascend from the first to the last are all.
    is_complete = not n or (positions[0] == 0 and positions[-1] == n - 1)
    return bool(is_complete and (positions[1:] > positions[:-1]).all())


def _check_lengths(
    rows: RowRange, counts: NDArray[np.int64], genes: NDArray[Any], values: NDArray[Any]
) -> None:
    if len(counts) != len(rows):
        msg = f"{len(counts):,} cells were read where {len(rows):,} were declared"
        raise DamagedInput(msg)
    if len(counts) and int(counts.min()) < 0:
        cell = rows.start + int(np.argmin(counts))
        msg = f"the offsets of the cells decrease at cell {cell}"
        raise DamagedInput(msg)
    total = int(counts.sum())
    if not total == len(genes) == len(values):
        msg = (
            f"cells {rows.start} to {rows.stop} should hold {total:,} entries, but there are "
            f"{len(genes):,} gene positions and {len(values):,} values"
        )
        raise DamagedInput(msg)


def _descents_between_cells(genes: NDArray[np.uint32], counts: NDArray[np.int64]) -> int:
    """The first genes of cells that are not above the last gene of the cell before."""
    starts = (np.cumsum(counts) - counts)[counts > 0][1:]
    return int(np.count_nonzero(genes[starts] <= genes[starts - 1]))


def _sort_and_sum(
    rows: RowRange, genes: NDArray[np.uint32], values: NDArray[Any], counts: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[Any], NDArray[np.int64]]:
    cells = np.repeat(np.arange(len(counts), dtype=np.uint64), counts)
    keys = (cells << np.uint64(32)) | genes
    order = np.argsort(keys)
    first = np.ones(len(keys), dtype=np.bool_)
    first[1:] = np.diff(keys[order]) != 0
    if first.all():
        return genes[order], values[order], counts
    # Repeated entries are summed in the order of the file, however it is cut into batches.
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(first)
    kept = order[starts]
    counts = np.bincount(cells[kept].astype(np.int64), minlength=len(counts))
    sums, overflow = _sums(values[order], starts)
    if overflow is not None:
        msg = (
            f"the entries of cell {rows.start + int(cells[kept[overflow]])} for gene "
            f"{int(genes[kept[overflow]])} add up to more than 64 bits hold; correct them"
        )
        raise InexactValue(msg)
    return genes[kept], sums, counts


def _sums(values: NDArray[Any], starts: NDArray[np.intp]) -> tuple[NDArray[Any], int | None]:
    """The sums of runs of values, and the position of the first that overflows, if any."""
    if values.dtype.kind == "f":
        return _float_sums(values.astype(np.float64), starts)
    wide = values if values.dtype == np.uint64 else exact_cast(values, np.dtype(np.int64))
    sums = np.add.reduceat(wide, starts)
    # A sum that wrapped around differs from its float64 by a multiple of 2**64.
    rough = np.add.reduceat(wide.astype(np.float64), starts)
    wrapped = np.abs(rough - sums.astype(np.float64)) > 2.0**62
    return sums, int(np.argmax(wrapped)) if wrapped.any() else None


def _float_sums(
    values: NDArray[np.float64], starts: NDArray[np.intp]
) -> tuple[NDArray[np.float64], int | None]:
    with np.errstate(invalid="ignore", over="ignore"):
        sums = np.add.reduceat(values, starts)
    infinite = np.isinf(sums)
    if infinite.any():
        infinite &= ~np.logical_or.reduceat(np.isinf(values), starts)
    return sums, int(np.argmax(infinite)) if infinite.any() else None
