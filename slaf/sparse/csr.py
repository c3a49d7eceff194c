"""Entries read from a table, put together as a sparse matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.sparse.casting import exact_cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import scipy.sparse as sp
    from numpy.typing import NDArray

__all__ = ["csr_from_batches"]

Piece = tuple["NDArray[Any]", "NDArray[Any]"]


def csr_from_batches(
    entries: Iterable[Piece],
    lengths: NDArray[np.int64],
    genes: NDArray[np.int64] | None,
    n_genes: int,
    dtype: np.dtype[Any],
) -> sp.csr_matrix:
    """A matrix of cells × genes.

    Parameters
    ----------
    entries
        Gene positions and values of the cells, one cell after the other, in pieces.
    lengths
        Entries of each cell.
    genes
        The columns to keep, in their order; None for all.
    n_genes
        All columns.
    dtype
        The type to give the values in, which must hold them exactly.

    Raises
    ------
    InexactValue
        If it does not.
    """
    import scipy.sparse as sp

    if genes is None:
        counts, width, kept = lengths, n_genes, list(entries)
    else:
        unique, inverse = np.unique(genes, return_inverse=True)
        counts = np.zeros(len(lengths), np.int64)
        kept = list(_kept(entries, lengths, unique, n_genes, counts))
        width = len(unique)
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    indices = np.concatenate([np.empty(0, np.int32), *(piece[0] for piece in kept)], dtype=np.int32)
    values = [exact_cast(piece[1], dtype) for piece in kept]
    data = np.concatenate([np.empty(0, dtype), *values])
    matrix = sp.csr_matrix((data, indices, indptr), shape=(len(lengths), width))
    if genes is None or np.array_equal(genes, unique):
        return matrix
    found = sp.csr_matrix(matrix[:, inverse])
    found.sort_indices()
    return found


def _kept(
    entries: Iterable[Piece],
    lengths: NDArray[np.int64],
    genes: NDArray[np.int64],
    n_genes: int,
    counts: NDArray[np.int64],
) -> Iterator[Piece]:
    """The entries of some genes, ascending; adds to `counts` how many each cell has."""
    columns = np.full(n_genes, -1, np.int32)
    columns[genes] = np.arange(len(genes))
    ends = np.cumsum(lengths)
    before = 0
    for positions, values in entries:
        found = columns[positions]
        at = np.flatnonzero(found >= 0)
        owners = np.searchsorted(ends, at + before, side="right")
        counts += np.bincount(owners, minlength=len(counts))
        before += len(positions)
        yield found[at], values[at]
