"""Whether two elements of an AnnData are the same: in values, types and missing values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["equal_elements", "is_sparse"]


def equal_elements(one: Any, other: Any) -> bool:  # noqa: PLR0911 - one for each kind of element
    """Whether two elements are of one type and hold the same; every NaN is the same NaN.

    Mappings are the same whatever class they are of, and sparse matrices in whatever order their
    entries lie. Of a type that is not known nothing is the same.

    Examples
    --------
    >>> equal_elements({"a": np.array([1.0, np.nan])}, {"a": np.array([1.0, np.nan])})
    True
    >>> equal_elements(1, 1.0), equal_elements(np.float32(1), np.float64(1))
    (False, False)
    """
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return set(one) == set(other) and all(equal_elements(one[key], other[key]) for key in one)
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return _equal_arrays(one, other)
    if is_sparse(one):
        return _equal_sparse(one, other)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal_elements, one, other))
    if one is None or isinstance(one, str | bytes | bool | int | float | complex | np.generic):
        return bool(one == other or (one != one and other != other))  # noqa: PLR0124 - NaN
    return _equal_pandas(one, other)


def is_sparse(element: Any) -> bool:
    """Whether it is one of scipy's compressed matrices, in memory."""
    return type(element).__name__ in {"csr_matrix", "csc_matrix", "csr_array", "csc_array"} and (
        type(element).__module__.startswith("scipy.")
    )


def _equal_arrays(one: NDArray[Any], other: NDArray[Any]) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype.names is not None:
        return all(_equal_arrays(one[name], other[name]) for name in one.dtype.names)
    if one.dtype.kind == "O":
        return all(map(equal_elements, one.ravel().tolist(), other.ravel().tolist()))
    if one.dtype.kind in "fc":
        return bool(np.array_equal(one, other, equal_nan=True))
    return bool(np.array_equal(one, other, equal_nan=one.dtype.kind in "mM"))


def _equal_sparse(one: Any, other: Any) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    one, other = (matrix.sorted_indices() for matrix in (one, other))
    return (
        np.array_equal(one.indptr, other.indptr)
        and np.array_equal(one.indices, other.indices)
        and _equal_arrays(one.data, other.data)
    )


def _equal_pandas(one: Any, other: Any) -> bool:
    import pandas as pd

    if isinstance(one, pd.DataFrame):
        return (
            one.shape == other.shape
            and _equal_pandas(one.columns, other.columns)
            and _equal_labels(one.index, other.index)
            and all(
                _equal_columns(one.iloc[:, at].array, other.iloc[:, at].array)
                for at in range(one.shape[1])
            )
        )
    if isinstance(one, pd.Series):
        return (
            equal_elements(one.name, other.name)
            and _equal_labels(one.index, other.index)
            and _equal_columns(one.array, other.array)
        )
    if isinstance(one, pd.Index):
        return _equal_labels(one, other)
    if isinstance(one, pd.api.extensions.ExtensionArray):
        return _equal_columns(one, other)
    if isinstance(one, pd.Timestamp | pd.Timedelta | pd.Period | pd.Interval):
        return bool(one == other)
    # The missing values of pandas are single objects.
    return one is other and any(one is missing for missing in (pd.NA, pd.NaT))


def _equal_labels(one: Any, other: Any) -> bool:
    """Whether two indices are the same; numbers that are counted are as those that are listed."""
    if not equal_elements(list(one.names), list(other.names)) or one.nlevels != other.nlevels:
        return False
    if one.nlevels > 1:
        return _equal_arrays(np.asarray(one), np.asarray(other))
    return _equal_columns(one.array, other.array)


def _equal_columns(one: Any, other: Any) -> bool:
    """Whether two of pandas' arrays are of one type, and hold the same and miss the same."""
    import pandas as pd

    if type(one) is not type(other) or len(one) != len(other):
        return False
    if isinstance(one, pd.Categorical):
        # Types of categories without an order are equal in any order.
        return (
            one.ordered == other.ordered
            and _equal_labels(one.categories, other.categories)
            and np.array_equal(one.codes, other.codes)
        )
    if one.dtype != other.dtype:
        return False
    if isinstance(one, pd.arrays.NumpyExtensionArray) or one.dtype.kind in "mM":
        return _equal_arrays(np.asarray(one), np.asarray(other))
    # What is missing is told from NaN, which pandas' own comparison does not.
    ours, theirs = (array.to_numpy(object, na_value=None) for array in (one, other))
    return _equal_arrays(ours, theirs)
