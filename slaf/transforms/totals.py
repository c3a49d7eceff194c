"""Totals of cells and of genes, of one pass over a matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.sparse.ranges import RowRange, indptr_from_counts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from slaf.sources.base import Matrix
    from slaf.sparse.batch import Batch

__all__ = ["CellTotals", "GeneTotals", "cell_totals", "gene_totals", "row_sums"]


@dataclass(frozen=True, slots=True)
class CellTotals:
    """The totals of each cell.

    Attributes
    ----------
    total_counts
        The sum of its values: int64 of whole numbers, else float64.
    n_genes
        The number of its values above zero.
    masked
        The sum of its values in some genes, by name.
    """

    total_counts: NDArray[Any]
    n_genes: NDArray[np.int64]
    masked: Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class GeneTotals:
    """The totals of each gene.

    Attributes
    ----------
    total_counts
        The sum of its values: int64 of whole numbers, else float64, added in the order of cells.
    n_cells
        The number of its values above zero.
    """

    total_counts: NDArray[Any]
    n_cells: NDArray[np.int64]


def row_sums(counts: NDArray[np.int64], values: NDArray[Any]) -> NDArray[Any]:
    """The sum of each row: int64 of whole numbers; of floats float64, added from left to right.

    Parameters
    ----------
    counts
        The number of entries in each row.
    values
        The entries.
    """
    if values.dtype.kind == "f":
        rows = np.repeat(np.arange(len(counts)), counts)
        added: NDArray[Any] = np.bincount(rows, values, minlength=len(counts))
        return added
    sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(values, dtype=np.int64)])
    indptr = indptr_from_counts(counts)
    totals: NDArray[np.int64] = sums[indptr[1:]] - sums[indptr[:-1]]
    return totals


def cell_totals(
    matrix: Matrix, masks: Mapping[str, NDArray[np.bool_]], *, n_genes: bool = True
) -> CellTotals:
    """The totals of all cells of a matrix.

    Parameters
    ----------
    matrix
        The matrix.
    masks
        For each name, which genes are summed.
    n_genes
        Whether to count genes.
    """
    n_cells = matrix.shape[0]
    sums: dict[str, list[NDArray[Any]]] = {"": [], **{name: [] for name in masks}}
    positive = np.zeros(n_cells, np.int64)
    for batch in matrix.batches(RowRange(0, n_cells)):
        sums[""].append(row_sums(batch.counts, batch.values))
        for name, mask in masks.items():
            values = np.where(mask[batch.genes], batch.values, batch.values.dtype.type(0))
            sums[name].append(row_sums(batch.counts, values))
        if n_genes:
            positive[batch.rows.start : batch.rows.stop] = _positive(batch)
    joined = {name: np.concatenate([np.empty(0, np.int64), *each]) for name, each in sums.items()}
    return CellTotals(joined.pop(""), positive, joined)


def gene_totals(matrix: Matrix) -> GeneTotals:
    """The totals of all genes of a matrix."""
    n_cells, width = matrix.shape
    totals, positive = np.zeros(width, np.int64), np.zeros(width, np.int64)
    for batch in matrix.batches(RowRange(0, n_cells)):
        above = batch.values > 0
        genes = batch.genes if above.all() else batch.genes[above]
        positive += np.bincount(genes, minlength=width)
        if batch.values.dtype.kind != "f" and totals.dtype.kind == "i":
            np.add.at(totals, batch.genes, batch.values.astype(np.int64, copy=False))
        else:
            totals = totals.astype(np.float64, copy=False)
            np.add.at(totals, batch.genes, batch.values.astype(np.float64, copy=False))
    return GeneTotals(totals, positive)


def _positive(batch: Batch) -> NDArray[np.int64]:
    above = batch.values > 0
    return batch.counts if above.all() else row_sums(batch.counts, above)
