"""Equality of two AnnData elements in values, types and missing values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["equal_elements", "is_awkward", "is_sparse"]


def equal_elements(left: Any, right: Any) -> bool:  # noqa: PLR0911 - one for each kind of element
    """Whether two elements have the same type and the same values, NaN included.

    The class of a mapping and the order of entries in a sparse matrix do not count. Elements of
    unknown types are never equal.

    Examples
    --------
    >>> equal_elements({"a": np.array([1.0, np.nan])}, {"a": np.array([1.0, np.nan])})
    True
    >>> equal_elements(1, 1.0), equal_elements(np.float32(1), np.float64(1))
    (False, False)
    """
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return set(left) == set(right) and all(
            equal_elements(left[key], right[key]) for key in left
        )
    if type(left) is not type(right):
        return False
    if isinstance(left, np.ndarray):
        return _equal_arrays(left, right)
    if is_sparse(left):
        return _equal_sparse(left, right)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(equal_elements, left, right))
    if left is None or isinstance(left, str | bytes | bool | int | float | complex | np.generic):
        return bool(left == right or (left != left and right != right))  # noqa: PLR0124 - NaN
    return _equal_awkward(left, right) if is_awkward(left) else _equal_pandas(left, right)


def is_awkward(element: Any) -> bool:
    """Whether an element is an awkward array."""
    return type(element).__name__ == "Array" and type(element).__module__.startswith("awkward.")


def _equal_awkward(left: Any, right: Any) -> bool:
    import awkward

    # Files keep types and values, not how a library lays them out in memory.
    return bool(awkward.array_equal(left, right, equal_nan=True, same_content_types=False))


def is_sparse(element: Any) -> bool:
    """Whether an element is a CSR or CSC matrix or array of scipy."""
    return type(element).__name__ in {"csr_matrix", "csc_matrix", "csr_array", "csc_array"} and (
        type(element).__module__.startswith("scipy.")
    )


def _equal_arrays(left: NDArray[Any], right: NDArray[Any]) -> bool:
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    if left.dtype.names is not None:
        return all(_equal_arrays(left[name], right[name]) for name in left.dtype.names)
    if left.dtype.kind == "O":
        return all(map(equal_elements, left.ravel().tolist(), right.ravel().tolist()))
    return bool(np.array_equal(left, right, equal_nan=left.dtype.kind in "fcmM"))


def _equal_sparse(left: Any, right: Any) -> bool:
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    left, right = (matrix.sorted_indices() for matrix in (left, right))
    return (
        np.array_equal(left.indptr, right.indptr)
        and np.array_equal(left.indices, right.indices)
        and _equal_arrays(left.data, right.data)
    )


def _equal_pandas(left: Any, right: Any) -> bool:
    import pandas as pd

    if isinstance(left, pd.DataFrame):
        return (
            left.shape == right.shape
            and _equal_pandas(left.columns, right.columns)
            and _equal_labels(left.index, right.index)
            and all(
                _equal_columns(left.iloc[:, at].array, right.iloc[:, at].array)
                for at in range(left.shape[1])
            )
        )
    if isinstance(left, pd.Series):
        return (
            equal_elements(left.name, right.name)
            and _equal_labels(left.index, right.index)
            and _equal_columns(left.array, right.array)
        )
    if isinstance(left, pd.Index):
        return _equal_labels(left, right)
    if isinstance(left, pd.api.extensions.ExtensionArray):
        return _equal_columns(left, right)
    if isinstance(left, pd.Timestamp | pd.Timedelta | pd.Period | pd.Interval):
        return bool(left == right)
    # The missing values of pandas are single objects.
    return left is right and any(left is missing for missing in (pd.NA, pd.NaT))


def _equal_labels(left: Any, right: Any) -> bool:
    """Whether two indices are equal; a range equals the list of its numbers."""
    if not equal_elements(list(left.names), list(right.names)) or left.nlevels != right.nlevels:
        return False
    if left.nlevels > 1:
        return _equal_arrays(np.asarray(left), np.asarray(right))
    return _equal_columns(left.array, right.array)


def _equal_columns(left: Any, right: Any) -> bool:
    """Whether two arrays of pandas have the same type, values and missing values."""
    import pandas as pd

    if type(left) is not type(right) or len(left) != len(right):
        return False
    if isinstance(left, pd.Categorical):
        # For pandas, types of unordered categories are equal in any order.
        return (
            left.ordered == right.ordered
            and _equal_labels(left.categories, right.categories)
            and np.array_equal(left.codes, right.codes)
        )
    if left.dtype != right.dtype:
        return False
    if isinstance(left, pd.arrays.NumpyExtensionArray) or left.dtype.kind in "mM":
        return _equal_arrays(np.asarray(left), np.asarray(right))
    # pandas' own comparison does not tell NaN from missing values.
    objects = (array.to_numpy(object, na_value=None) for array in (left, right))
    return _equal_arrays(*objects)
