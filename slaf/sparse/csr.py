"""A scipy CSR matrix of batches of entries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from slaf.kernels import kernels
from slaf.sparse.casting import exact_cast, is_lossless

if TYPE_CHECKING:
    from collections.abc import Iterable

    import scipy.sparse as sp
    from numpy.typing import NDArray

__all__ = ["ColumnSelection", "csr_from_batches", "drop_entries", "repeat_rows"]

# The lengths of some rows, and the columns and values of their entries.
Entries: TypeAlias = "tuple[NDArray[Any], ...]"


def csr_from_batches(
    batches: Iterable[Entries], n_columns: int, dtype: np.dtype[Any], most: int | None = None
) -> sp.csr_matrix:
    """A matrix of all rows of some batches.

    Parameters
    ----------
    batches
        Rows, one batch after the other.
    n_columns
        The width.
    dtype
        The type of the values, which must hold them exactly.
    most
        No more entries are in the batches, and not many fewer: only the batch in use is in memory
        then. None if that is not known.

    Raises
    ------
    InexactValue
        If the type does not hold a value.
    """
    import scipy.sparse as sp

    if most is None:
        batches = list(batches)
        most = sum(len(columns) for _, columns, _ in batches)
    lengths, stop = [np.zeros(1, np.int64)], 0
    indices, data = np.empty(most, np.int32), np.empty(most, dtype)
    for counts, columns, values in batches:
        start, stop = stop, stop + len(columns)
        lengths.append(counts)
        indices[start:stop] = columns
        lossless = is_lossless(values.dtype, dtype)
        data[start:stop] = values if lossless else exact_cast(values, dtype)
    if stop < most:
        indices, data = indices[:stop].copy(), data[:stop].copy()
    indptr = np.cumsum(np.concatenate(lengths))
    return sp.csr_matrix((data, indices, indptr), shape=(len(indptr) - 1, n_columns))


def drop_entries(
    kept: NDArray[np.bool_], counts: NDArray[np.int64], *columns: NDArray[Any]
) -> tuple[NDArray[Any], ...]:
    """The lengths of the same rows with some of their entries, and columns of these entries."""
    at = np.flatnonzero(kept)
    bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    return np.diff(np.searchsorted(at, bounds)), *(column[at] for column in columns)


def repeat_rows(
    copies: NDArray[np.int64], counts: NDArray[np.int64], *columns: NDArray[Any]
) -> tuple[NDArray[Any], ...]:
    """The lengths of rows, each of them so many times in turn, and columns of their entries."""
    if (copies == 1).all():
        return counts, *columns
    repeated = np.repeat(counts, copies)
    starts = np.repeat(np.cumsum(counts) - counts, copies)
    at = np.repeat(starts - (np.cumsum(repeated) - repeated), repeated)
    at += np.arange(len(at))
    return repeated, *(column[at] for column in columns)


class ColumnSelection:
    """Some columns of a matrix, in any order, and each any number of times.

    Parameters
    ----------
    columns
        Their positions.
    n_columns
        The width of the matrix.
    """

    def __init__(self, columns: NDArray[np.int64], n_columns: int) -> None:
        unique, self._inverse = np.unique(columns, return_inverse=True)
        self._places = np.full(n_columns, -1, np.int32)
        self._places[unique] = np.arange(len(unique))
        self._ascends = np.array_equal(columns, unique)
        self._n_unique = len(unique)

    def __len__(self) -> int:
        return len(self._inverse)

    def apply(self, entries: Entries) -> Entries:
        """The entries of these columns; the columns of each row ascend."""
        counts, columns, values = entries
        counts, places, values = kernels().select(counts, columns, values, self._places)
        if self._ascends:
            return counts, places, values
        matrix = csr_from_batches([(counts, places, values)], self._n_unique, values.dtype)
        chosen = matrix[:, self._inverse]
        chosen.sort_indices()
        return np.diff(chosen.indptr).astype(np.int64), chosen.indices, chosen.data
