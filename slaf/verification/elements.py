"""Find where two elements of a slot differ: in which key, column, row or entry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.annotations.equality import equal_elements, is_sparse

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from slaf.verification.report import DifferenceLog

__all__ = ["compare_elements", "compare_names"]

_NOTHING = "nothing"
_LONGEST = 80


def compare_elements(
    kind: str, where: str, expected: Any, found: Any, findings: DifferenceLog
) -> None:
    """Note every value in which two elements differ, or what else it is.

    Parameters
    ----------
    kind
        Of the differences: the slot.
    where
        The place of the elements in it.
    expected, found
        As anndata has them in memory.
    findings
        Takes the differences.
    """
    if equal_elements(expected, found):
        return
    before = findings.counts[kind]
    if type(expected) is not type(found) and not _are(Mapping, expected, found):
        findings.note(kind, f"type of {where}", _typed(expected), _typed(found))
    else:
        _compare(kind, where, expected, found, findings)
    if findings.counts[kind] == before:
        findings.note(kind, where, _told(expected), _told(found))


def compare_names(
    kind: str,
    where: str,
    expected: Mapping[str, Any],
    found: Mapping[str, Any],
    findings: DifferenceLog,
) -> list[str]:
    """Note the keys that one of two mappings has and the other has not; those of both."""
    for key in expected:
        if key not in found:
            findings.note(kind, f"{where}[{key!r}]", _told(expected[key]), _NOTHING)
    for key in found:
        if key not in expected:
            findings.note(kind, f"{where}[{key!r}]", _NOTHING, _told(found[key]))
    return [key for key in expected if key in found]


def _compare(kind: str, where: str, expected: Any, found: Any, findings: DifferenceLog) -> None:
    """Elements of one type, that are not the same."""
    import pandas as pd

    if isinstance(expected, Mapping):
        for key in compare_names(kind, where, expected, found, findings):
            compare_elements(kind, f"{where}[{key!r}]", expected[key], found[key], findings)
    elif isinstance(expected, np.ndarray) or is_sparse(expected):
        _compare_arrays(kind, where, expected, found, findings)
    elif isinstance(expected, pd.DataFrame):
        _compare_frames(kind, where, expected, found, findings)
    elif isinstance(expected, list | tuple) and len(expected) == len(found):
        for at, (one, other) in enumerate(zip(expected, found, strict=True)):
            compare_elements(kind, f"{where}[{at}]", one, other, findings)


def _compare_arrays(
    kind: str, where: str, expected: Any, found: Any, findings: DifferenceLog
) -> None:
    for what in ("dtype", "shape"):
        one, other = getattr(expected, what), getattr(found, what)
        if one != other:
            findings.note(kind, f"{what} of {where}", one, other)
            return
    if is_sparse(expected):
        _compare_entries(kind, where, expected, found, findings)
    elif expected.dtype.names is not None:
        for name in expected.dtype.names:
            compare_elements(kind, f"{where}[{name!r}]", expected[name], found[name], findings)
    else:
        places = np.argwhere(_unequal(expected, found))

        def at(n: int) -> tuple[str, object, object]:
            place = tuple(places[n])
            named = ", ".join(map(str, place))
            return f"{where}[{named}]", _shown(expected[place]), _shown(found[place])

        findings.note_all(kind, len(places), at)


def _compare_entries(
    kind: str, where: str, expected: Any, found: Any, findings: DifferenceLog
) -> None:
    """Sparse matrices of one shape and type: what one stores and the other does not, or otherwise.

    A zero that is stored is told from one that is not.
    """
    ours, theirs = _entries(expected), _entries(found)
    if ours is None or theirs is None:
        # Where a place is stored twice, there is no telling which of both is meant.
        return
    places = np.union1d(ours[0], theirs[0])
    one, other = (_spread(entries, places) for entries in (ours, theirs))
    differ = np.flatnonzero((one[0] != other[0]) | _unequal(one[1], other[1]))

    def at(n: int) -> tuple[str, object, object]:
        row, column = divmod(int(places[differ[n]]), expected.shape[1])
        ours, theirs = (
            _shown(values[differ[n]]) if there[differ[n]] else _NOTHING
            for there, values in (one, other)
        )
        return f"{where}[{row}, {column}]", ours, theirs

    findings.note_all(kind, len(differ), at)


def _entries(matrix: Any) -> tuple[NDArray[np.int64], NDArray[Any]] | None:
    """The places that are stored, ascending, and the values; None if one is stored twice."""
    entries = matrix.tocoo()
    places = entries.row.astype(np.int64) * matrix.shape[1] + entries.col
    order = np.argsort(places, kind="stable")
    places = places[order]
    return None if (places[1:] == places[:-1]).any() else (places, entries.data[order])


def _spread(
    entries: tuple[NDArray[np.int64], NDArray[Any]], places: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """At which of these places something is stored, and what."""
    there, values = np.zeros(len(places), np.bool_), np.zeros(len(places), entries[1].dtype)
    at = np.searchsorted(places, entries[0])
    there[at], values[at] = True, entries[1]
    return there, values


def _compare_frames(
    kind: str, where: str, expected: pd.DataFrame, found: pd.DataFrame, findings: DifferenceLog
) -> None:
    names = list(expected.columns), list(found.columns)
    findings.compare(kind, f"columns of {where}", *names)
    findings.compare(kind, f"rows of {where}", len(expected), len(found))
    findings.compare(kind, f"name of the index of {where}", expected.index.name, found.index.name)
    if len(expected) != len(found):
        return
    pairs: list[tuple[str, Any, Any]] = [("index", expected.index, found.index)]
    pairs += [
        (f"column {name!r}", expected[name], found[name])
        for name in dict.fromkeys(names[0])
        if names[0].count(name) == names[1].count(name) == 1
    ]
    for title, one, other in pairs:
        if not equal_elements(one.array, other.array):
            _compare_columns(kind, f"{title} of {where}", one, other, findings)


def _compare_columns(
    kind: str, where: str, expected: Any, found: Any, findings: DifferenceLog
) -> None:
    if not _same_type(expected.dtype, found.dtype):
        findings.note(kind, f"type of {where}", _type_of(expected.dtype), _type_of(found.dtype))
        return
    # As objects what is missing is told from NaN.
    one, other = (_objects(column.array) for column in (expected, found))
    places = np.flatnonzero(_unequal(one, other))
    findings.note_all(
        kind,
        len(places),
        lambda n: (f"{where}, row {places[n]}", _shown(one[places[n]]), _shown(other[places[n]])),
    )


def _same_type(one: Any, other: Any) -> bool:
    if hasattr(one, "categories") and hasattr(other, "categories"):
        # Without an order pandas takes them for equal in any order.
        return bool(one.ordered == other.ordered) and equal_elements(
            one.categories, other.categories
        )
    return bool(one == other)


def _type_of(dtype: Any) -> str:
    """A type in words; of categories, which they are and whether they have an order."""
    if not hasattr(dtype, "categories"):
        return str(dtype) if isinstance(dtype, np.dtype) else repr(dtype)
    order = "ordered " if dtype.ordered else ""
    listed = _shortened(repr(dtype.categories.tolist()))
    return f"{order}categories {listed} ({dtype.categories.dtype})"


def _objects(array: Any) -> NDArray[Any]:
    import pandas as pd

    if isinstance(array, pd.arrays.NumpyExtensionArray):
        objects: NDArray[Any] = np.asarray(array).astype(object)
        return objects
    objects = array.astype(object)
    return np.asarray(objects, dtype=object)


def _unequal(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
    """Where two arrays of one type and shape differ; every NaN is the same NaN."""
    if one.dtype.kind == "O":
        pairs = zip(one.ravel().tolist(), other.ravel().tolist(), strict=True)
        flat = np.fromiter((not equal_elements(*pair) for pair in pairs), np.bool_, count=one.size)
        return flat.reshape(one.shape)
    unequal: NDArray[np.bool_] = one != other
    if one.dtype.kind in "fcmM":
        unequal &= ~((one != one) & (other != other))  # noqa: PLR0124 - NaN
    return unequal


def _told(element: Any) -> str:
    """What an element is, in words; a single value as itself."""
    if isinstance(element, Mapping):
        return f"a mapping of {len(element):,} keys"
    if isinstance(element, list | tuple):
        return _shortened(repr(element))
    facts = [getattr(element, fact, None) for fact in ("shape", "dtype")]
    if facts == [None, None] or isinstance(element, np.generic):
        return _shown(element)
    return " ".join([type(element).__name__, *(str(fact) for fact in facts if fact is not None)])


def _typed(element: Any) -> str:
    """The same with its type."""
    name, told = type(element).__name__, _told(element)
    return told if told.startswith(name) else f"{name} {told}"


def _shown(value: Any) -> str:
    """A value as Python writes it, so that text is told from numbers and from what is missing."""
    plain = value.item() if isinstance(value, np.number | np.bool_) else value
    return _shortened(repr(plain))


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"


def _are(kind: type, *elements: Any) -> bool:
    return all(isinstance(element, kind) for element in elements)
