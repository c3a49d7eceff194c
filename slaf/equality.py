"""Whether two elements of an AnnData are the same: in values, types and missing values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["is_sparse", "same"]


def same(one: Any, other: Any) -> bool:  # noqa: PLR0911 - one for each kind of element
    """Whether two elements are of one type and hold the same; every NaN is the same NaN.

    Mappings are the same whatever class they are of, and sparse matrices in whatever order their
    entries lie. Of a type that is not known nothing is the same.

    Examples
    --------
    >>> same({"a": np.array([1.0, np.nan])}, {"a": np.array([1.0, np.nan])})
    True
    >>> same(1, 1.0), same(np.float32(1), np.float64(1))
    (False, False)
    """
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return set(one) == set(other) and all(same(one[key], other[key]) for key in one)
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return _same_arrays(one, other)
    if is_sparse(one):
        return _same_sparse(one, other)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if one is None or isinstance(one, str | bytes | bool | int | float | complex | np.generic):
        return bool(one == other or (one != one and other != other))  # noqa: PLR0124 - NaN
    return _same_pandas(one, other)


def is_sparse(element: Any) -> bool:
    """Whether it is one of scipy's compressed matrices, in memory."""
    return type(element).__name__ in {"csr_matrix", "csc_matrix", "csr_array", "csc_array"} and (
        type(element).__module__.startswith("scipy.")
    )


def _same_arrays(one: NDArray[Any], other: NDArray[Any]) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype.names is not None:
        return all(_same_arrays(one[name], other[name]) for name in one.dtype.names)
    if one.dtype.kind == "O":
        return all(map(same, one.ravel().tolist(), other.ravel().tolist()))
    if one.dtype.kind in "fc":
        return bool(np.array_equal(one, other, equal_nan=True))
    return bool(np.array_equal(one, other, equal_nan=one.dtype.kind in "mM"))


def _same_sparse(one: Any, other: Any) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    one, other = (matrix.sorted_indices() for matrix in (one, other))
    return (
        np.array_equal(one.indptr, other.indptr)
        and np.array_equal(one.indices, other.indices)
        and _same_arrays(one.data, other.data)
    )


def _same_pandas(one: Any, other: Any) -> bool:
    import pandas as pd

    if isinstance(one, pd.DataFrame):
        return _passes(pd.testing.assert_frame_equal, one, other)
    if isinstance(one, pd.Series):
        return _passes(pd.testing.assert_series_equal, one, other)
    if isinstance(one, pd.Index):
        return _passes(pd.testing.assert_index_equal, one, other)
    if isinstance(one, pd.api.extensions.ExtensionArray):
        return _passes(pd.testing.assert_series_equal, pd.Series(one), pd.Series(other))
    return False


def _passes(check: Any, one: Any, other: Any) -> bool:
    exactly = {} if check.__name__ == "assert_index_equal" else {"check_freq": False}
    try:
        check(one, other, check_exact=True, **exactly)
    except AssertionError:
        return False
    return True
