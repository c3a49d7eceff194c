"""A scipy CSR matrix of batches of entries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.sparse.casting import exact_cast
from slaf.sparse.ranges import indptr_from_counts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import scipy.sparse as sp
    from numpy.typing import NDArray

__all__ = ["csr_from_batches"]

Entries = tuple["NDArray[Any]", "NDArray[Any]"]


def csr_from_batches(
    batches: Iterable[Entries],
    counts: NDArray[np.int64],
    genes: NDArray[np.int64] | None,
    n_genes: int,
    dtype: np.dtype[Any],
) -> sp.csr_matrix:
    """A matrix of cells × genes.

    Parameters
    ----------
    batches
        Gene positions and values, cell after cell.
    counts
        The entries of each cell.
    genes
        The columns to keep, in their order; None for all.
    n_genes
        The number of all columns.
    dtype
        The type of the values, which must hold them exactly.

    Raises
    ------
    InexactValue
        If it does not hold one of them.
    """
    import scipy.sparse as sp

    if genes is None:
        width, kept, kept_counts = n_genes, list(batches), counts
    else:
        unique, inverse = np.unique(genes, return_inverse=True)
        width, kept_counts = len(unique), np.zeros(len(counts), np.int64)
        kept = list(_select_genes(batches, counts, unique, n_genes, kept_counts))
    indptr = indptr_from_counts(kept_counts)
    indices = np.concatenate([np.empty(0, np.int32), *(ids for ids, _ in kept)], dtype=np.int32)
    values = [exact_cast(values, dtype) for _, values in kept]
    data = np.concatenate([np.empty(0, dtype), *values])
    matrix = sp.csr_matrix((data, indices, indptr), shape=(len(counts), width))
    if genes is None or np.array_equal(genes, unique):
        return matrix
    reordered = sp.csr_matrix(matrix[:, inverse])
    reordered.sort_indices()
    return reordered


def _select_genes(
    batches: Iterable[Entries],
    counts: NDArray[np.int64],
    genes: NDArray[np.int64],
    n_genes: int,
    kept_counts: NDArray[np.int64],
) -> Iterator[Entries]:
    """The entries of some genes, ascending; adds their number in each cell to `kept_counts`."""
    columns = np.full(n_genes, -1, np.int32)
    columns[genes] = np.arange(len(genes))
    ends = np.cumsum(counts)
    offset = 0
    for positions, values in batches:
        selected = columns[positions]
        kept = np.flatnonzero(selected >= 0)
        cells = np.searchsorted(ends, kept + offset, side="right")
        kept_counts += np.bincount(cells, minlength=len(kept_counts))
        offset += len(positions)
        yield selected[kept], values[kept]
