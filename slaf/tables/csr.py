"""Sparse matrices out of tables of entries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.sparse.csr import csr_from_batches
from slaf.sparse.ranges import RowRange
from slaf.tables.read import rows_of

if TYPE_CHECKING:
    import lance
    import scipy.sparse as sp
    from numpy.typing import NDArray

__all__ = ["read_by_gene", "read_matrix"]


def read_matrix(
    table: lance.LanceDataset,
    column: str,
    offsets: NDArray[np.int64],
    cells: NDArray[np.int64],
    genes: NDArray[np.int64] | None,
    *,
    n_genes: int,
    dtype: np.dtype[Any],
    ids: str = "gene_integer_id",
) -> sp.csr_matrix:
    """Cells × genes of one column of values, in the order asked for.

    Parameters
    ----------
    table
        Of which each cell has a run of rows.
    column
        The values; where they are null there is no entry.
    offsets
        Where the rows of each cell begin, and after the last, where they end.
    cells, genes
        Those to read; all genes if None.
    n_genes
        The genes there are.
    dtype
        The type to give the values in.
    ids
        The column of the positions of genes.

    Raises
    ------
    DamagedDataset
        If they cannot be read.
    """
    # Lance finds rows several times faster that ascend.
    cells, places = _ascending(cells)
    ranges = [RowRange(int(offsets[run[0]]), int(offsets[run[-1] + 1])) for run in _runs(cells)]
    batches = rows_of(table, ranges, [ids, column])
    lengths = offsets[cells + 1] - offsets[cells]
    if not table.schema.field(column).nullable:
        pieces = ((batch.column(0).to_numpy(), batch.column(1).to_numpy()) for batch in batches)
        return _placed(csr_from_batches(pieces, lengths, genes, n_genes, dtype), places)
    found, held = [], [np.empty(0, np.bool_)]
    for batch in batches:
        positions, values = batch.columns
        valid = values.is_valid().to_numpy(zero_copy_only=False)
        held.append(valid)
        found.append(
            (positions.to_numpy()[valid], values.drop_null().to_numpy(zero_copy_only=False))
        )
    owners = np.repeat(np.arange(len(cells)), lengths)[np.concatenate(held)]
    lengths = np.bincount(owners, minlength=len(cells))
    return _placed(csr_from_batches(found, lengths, genes, n_genes, dtype), places)


def _ascending(cells: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.intp] | None]:
    """The cells, each once, in their order; and where each of those asked for is among them.

    None instead if that is how they were asked for.
    """
    if (np.diff(cells) > 0).all():
        return cells, None
    return np.unique(cells, return_inverse=True)


def _placed(matrix: sp.csr_matrix, places: NDArray[np.intp] | None) -> sp.csr_matrix:
    return matrix if places is None else matrix[places]


def read_by_gene(
    table: lance.LanceDataset,
    offsets: NDArray[np.int64],
    cells: NDArray[np.int64] | None,
    genes: NDArray[np.int64],
    *,
    n_cells: int,
    dtype: np.dtype[Any],
) -> sp.csr_matrix:
    """Cells × genes out of `expression_by_gene`, in the order asked for.

    Parameters
    ----------
    table
        Of which each gene has a run of rows.
    offsets
        Where the rows of each gene begin, and after the last, where they end.
    cells, genes
        Those to read; all cells if None.
    n_cells
        The cells there are.
    dtype
        The type to give the values in.

    Raises
    ------
    DamagedDataset
        If they cannot be read.
    """
    # What is gene by gene is a matrix of genes × cells.
    transposed = read_matrix(
        table, "value", offsets, genes, cells, n_genes=n_cells, dtype=dtype, ids="cell_integer_id"
    )
    return transposed.T.tocsr()


def _runs(cells: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Cut into runs of neighbouring cells."""
    if not len(cells):
        return []
    return np.split(cells, np.flatnonzero(np.diff(cells) != 1) + 1)
