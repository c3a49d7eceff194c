"""Compare two elements of a slot by key, column, row and entry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.annotations.equality import equal_elements, is_sparse

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from slaf.verification.report import DifferenceLog

__all__ = ["compare_elements", "compare_keys"]

_NOTHING = "nothing"
_MAX_LENGTH = 80


def compare_elements(
    kind: str, where: str, expected: Any, stored: Any, differences: DifferenceLog
) -> None:
    """Note every value in which two elements differ, or a difference of type, shape or keys.

    Parameters
    ----------
    kind
        The kind of the differences: the slot.
    where
        The path of the elements, as ``uns['colours']``.
    expected, stored
        The elements, as anndata has them in memory.
    differences
        Collects differences.
    """
    if equal_elements(expected, stored):
        return
    n_before = differences.counts[kind]
    both_mappings = isinstance(expected, Mapping) and isinstance(stored, Mapping)
    if type(expected) is not type(stored) and not both_mappings:
        types = _describe_with_type(expected), _describe_with_type(stored)
        differences.note(kind, f"type of {where}", *types)
    else:
        _compare(kind, where, expected, stored, differences)
    if differences.counts[kind] == n_before:
        differences.note(kind, where, _describe(expected), _describe(stored))


def compare_keys(
    kind: str,
    where: str,
    expected: Mapping[str, Any],
    stored: Mapping[str, Any],
    differences: DifferenceLog,
) -> list[str]:
    """Note keys that only one of two mappings has; returns the keys of both."""
    for key in expected:
        if key not in stored:
            differences.note(kind, f"{where}[{key!r}]", _describe(expected[key]), _NOTHING)
    for key in stored:
        if key not in expected:
            differences.note(kind, f"{where}[{key!r}]", _NOTHING, _describe(stored[key]))
    return [key for key in expected if key in stored]


def _compare(kind: str, where: str, expected: Any, stored: Any, differences: DifferenceLog) -> None:
    """Compare elements of one type that are not equal."""
    import pandas as pd

    if isinstance(expected, Mapping):
        for key in compare_keys(kind, where, expected, stored, differences):
            compare_elements(kind, f"{where}[{key!r}]", expected[key], stored[key], differences)
    elif isinstance(expected, np.ndarray) or is_sparse(expected):
        _compare_arrays(kind, where, expected, stored, differences)
    elif isinstance(expected, pd.DataFrame):
        _compare_dataframes(kind, where, expected, stored, differences)
    elif isinstance(expected, list | tuple) and len(expected) == len(stored):
        for index, pair in enumerate(zip(expected, stored, strict=True)):
            compare_elements(kind, f"{where}[{index}]", *pair, differences)


def _compare_arrays(
    kind: str, where: str, expected: Any, stored: Any, differences: DifferenceLog
) -> None:
    for attribute in ("dtype", "shape"):
        pair = getattr(expected, attribute), getattr(stored, attribute)
        if pair[0] != pair[1]:
            differences.note(kind, f"{attribute} of {where}", *pair)
            return
    if is_sparse(expected):
        _compare_sparse(kind, where, expected, stored, differences)
    elif expected.dtype.names is not None:
        for name in expected.dtype.names:
            compare_elements(kind, f"{where}[{name!r}]", expected[name], stored[name], differences)
    else:
        indices = np.argwhere(_unequal(expected, stored))

        def describe(n: int) -> tuple[str, object, object]:
            index = tuple(indices[n])
            label = f"{where}[{', '.join(map(str, index))}]"
            return label, _short_repr(expected[index]), _short_repr(stored[index])

        differences.note_all(kind, len(indices), describe)


def _compare_sparse(
    kind: str, where: str, expected: Any, stored: Any, differences: DifferenceLog
) -> None:
    """Compare entries of sparse matrices of one shape and type, explicit zeros included."""
    pair = _entries(expected), _entries(stored)
    if pair[0] is None or pair[1] is None:
        # Of repeated entries it is not defined which is compared with which.
        return
    keys = np.union1d(pair[0][0], pair[1][0])
    (is_expected, expected_values), (is_stored, stored_values) = (
        _spread(entries, keys) for entries in (pair[0], pair[1])
    )
    unequal = (is_expected != is_stored) | _unequal(expected_values, stored_values)
    positions = np.flatnonzero(unequal)

    def describe(n: int) -> tuple[str, object, object]:
        at = positions[n]
        row, column = divmod(int(keys[at]), expected.shape[1])
        return (
            f"{where}[{row}, {column}]",
            _short_repr(expected_values[at]) if is_expected[at] else _NOTHING,
            _short_repr(stored_values[at]) if is_stored[at] else _NOTHING,
        )

    differences.note_all(kind, len(positions), describe)


def _entries(matrix: Any) -> tuple[NDArray[np.int64], NDArray[Any]] | None:
    """Positions of the entries in the flattened matrix, ascending, and values; None if repeated."""
    entries = matrix.tocoo()
    keys = entries.row.astype(np.int64) * matrix.shape[1] + entries.col
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    return None if (keys[1:] == keys[:-1]).any() else (keys, entries.data[order])


def _spread(
    entries: tuple[NDArray[np.int64], NDArray[Any]], keys: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """Whether there is an entry at each of the keys, and its value."""
    is_entry, values = np.zeros(len(keys), np.bool_), np.zeros(len(keys), entries[1].dtype)
    indices = np.searchsorted(keys, entries[0])
    is_entry[indices], values[indices] = True, entries[1]
    return is_entry, values


def _compare_dataframes(
    kind: str, where: str, expected: pd.DataFrame, stored: pd.DataFrame, differences: DifferenceLog
) -> None:
    names = list(expected.columns), list(stored.columns)
    differences.compare(kind, f"columns of {where}", *names)
    differences.compare(kind, f"rows of {where}", len(expected), len(stored))
    index_names = expected.index.name, stored.index.name
    differences.compare(kind, f"name of the index of {where}", *index_names)
    if len(expected) != len(stored):
        return
    columns: list[tuple[str, Any, Any]] = [("index", expected.index, stored.index)]
    columns += [
        (f"column {name!r}", expected[name], stored[name])
        for name in dict.fromkeys(names[0])
        if names[0].count(name) == names[1].count(name) == 1
    ]
    for title, column, other in columns:
        if not equal_elements(column.array, other.array):
            _compare_columns(kind, f"{title} of {where}", column, other, differences)


def _compare_columns(
    kind: str, where: str, expected: Any, stored: Any, differences: DifferenceLog
) -> None:
    if not _same_type(expected.dtype, stored.dtype):
        types = _describe_type(expected.dtype), _describe_type(stored.dtype)
        differences.note(kind, f"type of {where}", *types)
        return
    # Arrays of objects distinguish missing values from NaN.
    values, others = (_objects(column.array) for column in (expected, stored))
    rows = np.flatnonzero(_unequal(values, others))

    def describe(n: int) -> tuple[str, object, object]:
        row = rows[n]
        return f"{where}, row {row}", _short_repr(values[row]), _short_repr(others[row])

    differences.note_all(kind, len(rows), describe)


def _same_type(first: Any, second: Any) -> bool:
    if hasattr(first, "categories") and hasattr(second, "categories"):
        # pandas calls unordered categories equal in any order.
        return bool(first.ordered == second.ordered) and equal_elements(
            first.categories, second.categories
        )
    return bool(first == second)


def _describe_type(dtype: Any) -> str:
    """Describe a type; of categories, their values and whether they are ordered."""
    if not hasattr(dtype, "categories"):
        return str(dtype) if isinstance(dtype, np.dtype) else repr(dtype)
    order = "ordered " if dtype.ordered else ""
    categories = _shortened(repr(dtype.categories.tolist()))
    return f"{order}categories {categories} ({dtype.categories.dtype})"


def _objects(array: Any) -> NDArray[Any]:
    import pandas as pd

    if isinstance(array, pd.arrays.NumpyExtensionArray):
        objects: NDArray[Any] = np.asarray(array).astype(object)
        return objects
    return np.asarray(array.astype(object), dtype=object)


def _unequal(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.bool_]:
    """Where two arrays of one type and shape differ; NaN equals NaN."""
    if first.dtype.kind == "O":
        pairs = zip(first.ravel().tolist(), second.ravel().tolist(), strict=True)
        flat = np.fromiter(
            (not equal_elements(*pair) for pair in pairs), np.bool_, count=first.size
        )
        return flat.reshape(first.shape)
    unequal: NDArray[np.bool_] = first != second
    if first.dtype.kind in "fcmM":
        unequal &= ~((first != first) & (second != second))  # noqa: PLR0124 - NaN
    return unequal


def _describe(element: Any) -> str:
    """Describe an element by type, shape and dtype, a single value by itself."""
    if isinstance(element, Mapping):
        return f"a mapping of {len(element):,} keys"
    if isinstance(element, list | tuple):
        return _shortened(repr(element))
    attributes = [getattr(element, name, None) for name in ("shape", "dtype")]
    if attributes == [None, None] or isinstance(element, np.generic):
        return _short_repr(element)
    return " ".join([type(element).__name__, *(str(a) for a in attributes if a is not None)])


def _describe_with_type(element: Any) -> str:
    name, description = type(element).__name__, _describe(element)
    return description if description.startswith(name) else f"{name} {description}"


def _short_repr(value: Any) -> str:
    """A value as Python writes it, which distinguishes text, numbers and missing values."""
    plain = value.item() if isinstance(value, np.number | np.bool_) else value
    return _shortened(repr(plain))


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]} …"
