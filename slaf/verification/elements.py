"""Compare two elements of a slot by key, column, row and entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.annotations.equality import equal_elements, is_sparse
from slaf.annotations.text import made_alike

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from numpy.typing import NDArray

    from slaf.verification.report import DifferenceLog

__all__ = ["ElementComparison"]

_NOTHING = "nothing"
_MAX_LENGTH = 80


@dataclass(frozen=True, slots=True)
class ElementComparison:
    """Compare elements of a slot, and note their differences.

    Attributes
    ----------
    kind
        The kind of the differences: the slot.
    differences
        Collects differences.
    """

    kind: str
    differences: DifferenceLog

    def compare(self, where: str, expected: Any, stored: Any) -> None:
        """Note every value in which two elements differ, or a difference of type, shape or keys.

        Parameters
        ----------
        where
            The path of the elements, as ``uns['colours']``.
        expected, stored
            The elements, as anndata has them in memory.
        """
        if equal_elements(expected, stored):
            return
        # Another pandas may have given text another type.
        expected, stored = made_alike(expected, stored)
        if equal_elements(expected, stored):
            return
        n_before = self.differences.counts[self.kind]
        if isinstance(expected, Mapping) and isinstance(stored, Mapping):
            for key in self.compare_keys(where, expected, stored):
                self.compare(f"{where}[{key!r}]", expected[key], stored[key])
            return
        if type(expected) is not type(stored):
            types = _describe_with_type(expected), _describe_with_type(stored)
            self._note(f"type of {where}", *types)
        else:
            self._compare_content(where, expected, stored)
        if self.differences.counts[self.kind] == n_before:
            self._note(where, _describe(expected), _describe(stored))

    def compare_keys(
        self, where: str, expected: Mapping[str, Any], stored: Mapping[str, Any]
    ) -> list[str]:
        """Note keys that only one of two mappings has; returns the keys of both."""
        for key in expected:
            if key not in stored:
                self._note(f"{where}[{key!r}]", _describe(expected[key]), _NOTHING)
        for key in stored:
            if key not in expected:
                self._note(f"{where}[{key!r}]", _NOTHING, _describe(stored[key]))
        return [key for key in expected if key in stored]

    def _note(self, where: str, expected: object, stored: object) -> None:
        self.differences.note(self.kind, where, expected, stored)

    def _compare_content(self, where: str, expected: Any, stored: Any) -> None:
        """Compare elements of one type that are not equal."""
        import pandas as pd

        if isinstance(expected, np.ndarray) or is_sparse(expected):
            self._compare_arrays(where, expected, stored)
        elif isinstance(expected, pd.DataFrame):
            self._compare_dataframes(where, expected, stored)
        elif isinstance(expected, list | tuple) and len(expected) == len(stored):
            for index, pair in enumerate(zip(expected, stored, strict=True)):
                self.compare(f"{where}[{index}]", *pair)

    def _compare_arrays(self, where: str, expected: Any, stored: Any) -> None:
        for attribute in ("dtype", "shape"):
            pair = getattr(expected, attribute), getattr(stored, attribute)
            if pair[0] != pair[1]:
                self._note(f"{attribute} of {where}", *pair)
                return
        if is_sparse(expected):
            self._compare_sparse(where, expected, stored)
        elif expected.dtype.names is not None:
            for name in expected.dtype.names:
                self.compare(f"{where}[{name!r}]", expected[name], stored[name])
        else:
            self._compare_values(
                lambda index: f"{where}[{', '.join(map(str, index))}]", expected, stored
            )

    def _compare_values(
        self,
        label: Callable[[tuple[int, ...]], str],
        expected: NDArray[Any],
        stored: NDArray[Any],
    ) -> None:
        """Compare arrays of one type and shape; `label` gives the path of an index."""
        indices = np.argwhere(_unequal(expected, stored))

        def describe(n: int) -> tuple[str, object, object]:
            index = tuple(indices[n])
            return label(index), _short_repr(expected[index]), _short_repr(stored[index])

        self.differences.note_all(self.kind, len(indices), describe)

    def _compare_sparse(self, where: str, expected: Any, stored: Any) -> None:
        """Compare entries of sparse matrices of one shape and type, explicit zeros included."""
        first, second = _entries(expected), _entries(stored)
        if first is None or second is None:
            # Of repeated entries it is not defined which is compared with which.
            return
        keys = np.union1d(first[0], second[0])
        is_expected, expected_values = _spread(first, keys)
        is_stored, stored_values = _spread(second, keys)
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

        self.differences.note_all(self.kind, len(positions), describe)

    def _compare_dataframes(self, where: str, expected: pd.DataFrame, stored: pd.DataFrame) -> None:
        names = list(expected.columns), list(stored.columns)
        for title, *pair in (
            ("columns", *names),
            ("rows", len(expected), len(stored)),
            ("name of the index", expected.index.name, stored.index.name),
        ):
            self.differences.compare(self.kind, f"{title} of {where}", *pair)
        if len(expected) != len(stored):
            return
        self._compare_columns(f"index of {where}", expected.index, stored.index)
        for name in dict.fromkeys(names[0]):
            if names[0].count(name) == names[1].count(name) == 1:
                title = f"column {name!r} of {where}"
                self._compare_columns(title, expected[name], stored[name])

    def _compare_columns(self, where: str, expected: Any, stored: Any) -> None:
        if equal_elements(expected.array, stored.array):
            return
        if not _same_type(expected.dtype, stored.dtype):
            types = _describe_type(expected.dtype), _describe_type(stored.dtype)
            self._note(f"type of {where}", *types)
            return
        # Arrays of objects distinguish missing values from NaN.
        columns = _objects(expected.array), _objects(stored.array)
        self._compare_values(lambda index: f"{where}, row {index[0]}", *columns)


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
