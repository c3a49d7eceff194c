"""Totals of cells and of genes, of one pass over a matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.sparse.ranges import RowRange
from slaf.sparse.reduce import Count, Slots, Sum, accumulate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from slaf.sources.matrix import Matrix
    from slaf.sparse.batch import Batch
    from slaf.sparse.reduce import Accumulator

__all__ = ["CellTotals", "GeneTotals", "cell_totals", "gene_totals"]


@dataclass(frozen=True, slots=True)
class CellTotals:
    """The totals of each cell.

    Attributes
    ----------
    total_counts
        The sum of its values, as `slaf.sparse.reduce.Sum` has it.
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
        The sum of its values, as `slaf.sparse.reduce.Sum` has it.
    n_cells
        The number of its values above zero.
    """

    total_counts: NDArray[Any]
    n_cells: NDArray[np.int64]


def cell_totals(matrix: Matrix, masks: Mapping[str, NDArray[np.bool_]]) -> CellTotals:
    """The totals of all cells of a matrix.

    Parameters
    ----------
    matrix
        The matrix.
    masks
        For each name, which genes are summed.
    """
    cells = Slots.of_axis(1, matrix.shape)
    masked = {
        name: Slots(cells.shape, "each", np.where(mask, 0, -1)) for name, mask in masks.items()
    }

    def make(is_whole: bool) -> dict[str, Accumulator]:  # noqa: FBT001
        sums = {f"mask {name}": Sum(slots, is_whole=is_whole) for name, slots in masked.items()}
        return {
            "sum": Sum(cells, is_whole=is_whole),
            "n": Count(cells, positive=True),
            **sums,
        }

    found, _ = accumulate(lambda: _all_batches(matrix), make)
    return CellTotals(
        found["sum"].result,
        found["n"].result,
        {name: found[f"mask {name}"].result for name in masks},
    )


def gene_totals(matrix: Matrix) -> GeneTotals:
    """The totals of all genes of a matrix."""
    genes = Slots.of_axis(0, matrix.shape)

    def make(is_whole: bool) -> dict[str, Accumulator]:  # noqa: FBT001
        return {"sum": Sum(genes, is_whole=is_whole), "n": Count(genes, positive=True)}

    found, _ = accumulate(lambda: _all_batches(matrix), make)
    return GeneTotals(found["sum"].result, found["n"].result)


def _all_batches(matrix: Matrix) -> Iterator[Batch]:
    return matrix.batches(RowRange(0, matrix.shape[0]))
