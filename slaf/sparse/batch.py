"""The rules that a batch of cells obeys, and the only casts that data goes through.

Everything here is a pure function or a frozen value: no files, no tables, no formats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.errors import DamagedInput, InexactValue
from slaf.sparse.casting import (
    checked_gene_ids,
    exact_cast,
    native_byte_order,
    pooled_empty,
    to_int64,
)
from slaf.sparse.ranges import RowRange

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BATCH_NONZEROS", "Batch", "GeneMap", "batch_from_compressed", "batch_from_dense"]


# Entries handled at a time: large enough for numpy, small enough to forget. Four times as many are
# 3 % faster, but how many batches happen to wait for each other then moves the peak by a tenth.
BATCH_NONZEROS = 1 << 18


@dataclass(frozen=True, slots=True)
class Batch:
    """Whole cells, one after the other: compressed sparse rows with the cells' lengths.

    Within a cell the genes ascend strictly, and no value is zero; NaN is a value.

    Attributes
    ----------
    rows
        The cells held, in the order of the source.
    counts
        Nonzeros in each cell, ``len(rows)`` of them.
    genes
        Gene positions, ``counts.sum()`` of them, uint32.
    values
        Their values, in the numeric type of the source, or a narrower one that holds all of them;
        sums of repeated entries in a wider one.
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
        ids = np.arange(self.rows.start, self.rows.stop, dtype=np.uint32)
        cells = pooled_empty(self.nnz, ids.dtype)
        cells[:] = np.repeat(ids, self.counts)
        return cells

    def gene_ids(self, dtype: np.dtype[Any]) -> NDArray[Any]:
        """The genes in a narrower type, which the caller knows to hold the matrix's width."""
        if dtype == self.genes.dtype:
            return self.genes
        narrow = pooled_empty(self.nnz, dtype)
        np.copyto(narrow, self.genes, casting="unsafe")
        return narrow

    def shifted(self, by: int) -> Batch:
        """The same entries, of cells that stand so much further on; before, if it is negative."""
        return Batch(self.rows.shifted(by), self.counts, self.genes, self.values)

    def split(self, cell: int) -> tuple[Batch, Batch]:
        """The cells before this one, and those from it on."""
        at = cell - self.rows.start
        row = int(self.counts[:at].sum())
        return (
            Batch(
                RowRange(self.rows.start, cell),
                self.counts[:at],
                self.genes[:row],
                self.values[:row],
            ),
            Batch(
                RowRange(cell, self.rows.stop),
                self.counts[at:],
                self.genes[row:],
                self.values[row:],
            ),
        )

    def cell_of(self, nonzero: int) -> int:
        """The cell that holds the nonzero at this position of the batch."""
        ends = np.cumsum(self.counts)
        return self.rows.start + int(np.searchsorted(ends, nonzero, side="right"))


def batch_from_compressed(
    rows: RowRange,
    indptr: NDArray[Any],
    genes: NDArray[Any],
    values: NDArray[Any],
    n_genes: int,
) -> Batch:
    """Make a batch of compressed sparse rows as a file holds them.

    Genes that are out of order are sorted, repeated ones are summed (as scipy does, but
    exactly: whole numbers as 64-bit integers, fractions as float64), stored zeros are left out.

    Parameters
    ----------
    rows
        The cells that the arrays hold.
    indptr
        ``len(rows) + 1`` offsets into the arrays; the first may be any number.
    genes, values
        The entries of those cells.
    n_genes
        The width of the matrix.

    Raises
    ------
    DamagedInput
        If a length, an offset or a gene position cannot be right.
    """
    counts = np.diff(to_int64(indptr))
    _check_lengths(rows, counts, genes, values)
    ids = checked_gene_ids(genes, n_genes, rows, counts)
    values = native_byte_order(values)
    if not _strictly_ascending(ids, counts):
        ids, values, counts = _sorted_and_summed(rows, ids, values, counts)
    present = values != 0
    if not present.all():
        owners = np.repeat(np.arange(len(rows)), counts)
        counts = np.bincount(owners[present], minlength=len(rows))
        ids, values = ids[present], values[present]
    return Batch(rows, counts, ids, values)


def batch_from_dense(rows: RowRange, block: NDArray[Any]) -> Batch:
    """Make a batch of a dense block of shape ``(len(rows), n_genes)``."""
    present = block != 0
    counts = np.count_nonzero(present, axis=1)
    genes = np.nonzero(present)[1].astype(np.uint32)
    return Batch(rows, counts, genes, native_byte_order(block[present]))


class GeneMap:
    """Where the genes of a matrix stand in a wider one, or a narrower.

    Parameters
    ----------
    positions
        The place of each gene, no two the same; −1 for one that is left out.
    n_genes
        The width of the other matrix.
    """

    def __init__(self, positions: NDArray[np.int64], n_genes: int) -> None:
        self._positions = positions
        self._n_genes = n_genes
        self._stay = bool(np.array_equal(positions, np.arange(len(positions))))

    def place(self, batch: Batch) -> Batch:
        """The same cells with their genes at these places; the batch itself if all stay."""
        if self._stay:
            return batch
        genes, values, counts = self._positions[batch.genes], batch.values, batch.counts
        kept = genes >= 0
        if not kept.all():
            ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept)])
            counts = np.diff(ends[np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])])
            genes, values = genes[kept], values[kept]
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        return batch_from_compressed(batch.rows, indptr, genes, values, self._n_genes)


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


def _strictly_ascending(genes: NDArray[np.uint32], counts: NDArray[np.int64]) -> bool:
    if len(genes) < 2:  # noqa: PLR2004 - one entry is in order
        return True
    ascends = genes[1:] > genes[:-1]
    if ascends.all():
        return True
    starts = np.cumsum(counts)[:-1]
    starts = starts[(starts > 0) & (starts < len(genes))]
    ascends[starts - 1] = True
    return bool(ascends.all())


def _sorted_and_summed(
    rows: RowRange, genes: NDArray[np.uint32], values: NDArray[Any], counts: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[Any], NDArray[np.int64]]:
    owners = np.repeat(np.arange(len(counts), dtype=np.uint64), counts)
    keys = (owners << np.uint64(32)) | genes
    order = np.argsort(keys)
    first = np.ones(len(keys), dtype=np.bool_)
    first[1:] = np.diff(keys[order]) != 0
    if first.all():
        return genes[order], values[order], counts
    # Repeated entries are summed in the order of the file, wherever it is cut.
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(first)
    kept = order[starts]
    counts = np.bincount(owners[kept].astype(np.int64), minlength=len(counts))
    sums, beyond = _sums(values[order], starts)
    if beyond is not None:
        msg = (
            f"the entries of cell {rows.start + int(owners[kept[beyond]])} for gene "
            f"{int(genes[kept[beyond]])} add up to more than 64 bits hold; correct them"
        )
        raise InexactValue(msg)
    return genes[kept], sums, counts


def _sums(values: NDArray[Any], starts: NDArray[np.intp]) -> tuple[NDArray[Any], int | None]:
    """The sums of runs of values, and the first that is beyond its type, if there is one."""
    if values.dtype.kind == "f":
        return _float_sums(values.astype(np.float64), starts)
    wide = values if values.dtype == np.uint64 else exact_cast(values, np.dtype(np.int64))
    sums = np.add.reduceat(wide, starts)
    # A sum that has wrapped around is 2**64 away from what floats make of it, or a multiple.
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
