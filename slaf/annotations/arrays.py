"""The elements of obsm, varm, obsp and varp as Arrow columns, and back as they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from slaf.annotations.columns import safe_name
from slaf.annotations.equality import is_sparse
from slaf.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import scipy.sparse as sp
    from numpy.typing import NDArray

__all__ = [
    "PAIR_COLUMNS",
    "ElementSpec",
    "arrays_to_columns",
    "column_to_array",
    "pairs_to_table",
    "table_to_matrix",
]

PAIR_COLUMNS: Final = {
    "cellsxcells": ("cell_integer_id_i", "cell_integer_id_j"),
    "genesxgenes": ("gene_integer_id_i", "gene_integer_id_j"),
}
_ARRAY: Final = "array"
_SHIFT: Final = np.uint64(32)


class ElementSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An element of obsm, varm, obsp or varp, as far as its column does not describe it.

    Attributes
    ----------
    key
        The user's name for it.
    name
        The column that holds it; None where it is kept in the file of elements instead.
    kind
        "array", or the class of a sparse matrix.
    dtype
        Its numeric type, as numpy writes it.
    width
        Its columns; None of an array of one dimension, and of what is in the file of elements.
    """

    key: str
    name: str | None = None
    kind: str = ""
    dtype: str = ""
    width: int | None = None


def arrays_to_columns(
    elements: Mapping[str, Any],
    n_rows: int,
    taken: Iterable[str],
    missing: Callable[[str], NDArray[np.bool_] | None] = lambda _key: None,
) -> tuple[dict[str, pa.Array], list[ElementSpec]]:
    """The elements that are numeric arrays, each as a column of lists of one length.

    Parameters
    ----------
    elements
        An obsm or a varm.
    n_rows
        The rows that each must have.
    taken
        Names of columns that are there already.
    missing
        Gives the rows that an element has no values for, which become null.

    Returns
    -------
    dict, list
        The columns by name, and the form of every element, in order.
    """
    used = {name.casefold() for name in taken}
    columns: dict[str, pa.Array] = {}
    forms: list[ElementSpec] = []
    for key, element in elements.items():
        _check_rows(key, element, n_rows)
        if not _fits_a_column(element):
            forms.append(ElementSpec(key))
            continue
        name = safe_name(key, used)
        used.add(name.casefold())
        width = element.shape[1] if element.ndim > 1 else None
        columns[name] = _lists(element, width or 1, missing(key))
        forms.append(ElementSpec(key, name, _ARRAY, str(element.dtype), width))
    return columns, forms


def column_to_array(column: pa.ChunkedArray, form: ElementSpec) -> NDArray[Any]:
    """The array that a column holds: what `from_arrays` was given; NaN in rows that are null."""
    # What is null is not among these.
    pieces = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    dtype = np.dtype(form.dtype)
    flat = np.concatenate([np.empty(0, dtype.newbyteorder("=")), *pieces])
    shape = () if form.width is None else (form.width,)
    there = flat.astype(dtype, copy=False).reshape((-1, *shape))
    if not column.null_count:
        return there
    whole = np.full((len(column), *shape), np.nan, dtype)
    whole[column.is_valid().to_numpy()] = there
    return whole


def pairs_to_table(
    elements: Mapping[str, Any], n: int, ids: tuple[str, str]
) -> tuple[pa.Table | None, list[ElementSpec]]:
    """The elements that are numeric matrices, all in one table with a row for each pair.

    A pair is in the table if one of the matrices stores a value for it, be it zero; where
    another does not, that one's is null.

    Parameters
    ----------
    elements
        An obsp or a varp.
    n
        The rows and columns that each must have.
    ids
        The names of the two columns that say which pair it is.

    Returns
    -------
    Table or None, list
        The pairs, in order, and the form of every element; None if there is no such element.
    """
    used = {name.casefold() for name in ids}
    forms: list[ElementSpec] = []
    found: dict[str, tuple[NDArray[np.uint64], NDArray[Any]]] = {}
    for key, element in elements.items():
        if getattr(element, "shape", None) != (n, n):
            msg = f"{key!r} has the shape {getattr(element, 'shape', None)}, not {n:,} × {n:,}"
            raise InputError(msg)
        entries = _entries(element)
        if entries is None:
            forms.append(ElementSpec(key))
            continue
        name = safe_name(key, used)
        used.add(name.casefold())
        found[name] = entries
        kind = type(element).__name__ if is_sparse(element) else _ARRAY
        forms.append(ElementSpec(key, name, kind, str(element.dtype), n))
    return (_pairs(found, ids) if found else None), forms


def table_to_matrix(
    table: pa.Table, ids: tuple[str, str], form: ElementSpec
) -> NDArray[Any] | sp.csr_matrix | sp.csc_matrix:
    """The matrix that a column of pairs holds: what `from_pairs` was given.

    Parameters
    ----------
    table
        The pairs, in order, with this column.
    ids
        The names of the two columns that say which pair it is.
    form
        What it was.
    """
    import scipy.sparse as sp

    column = table.column(form.name)
    held = column.is_valid().to_numpy()
    rows, columns = (table.column(name).to_numpy()[held] for name in ids)
    dtype = np.dtype(form.dtype)
    values = column.drop_null().to_numpy().astype(dtype, copy=False)
    n = form.width or 0
    if form.kind == _ARRAY:
        dense = np.zeros((n, n), dtype)
        dense[rows, columns] = values
        return dense
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(rows, minlength=n))])
    matrix = sp.csr_matrix((values, columns.astype(np.int32), indptr), shape=(n, n))
    return getattr(sp, form.kind)(matrix)  # type: ignore[no-any-return]


def _check_rows(key: str, element: Any, n_rows: int) -> None:
    shape = getattr(element, "shape", None)
    found = shape[0] if shape else len(element)
    if found != n_rows:
        msg = f"{key!r} has {found:,} rows where {n_rows:,} are needed"
        raise InputError(msg)


def _fits_a_column(element: Any) -> bool:
    return (
        type(element) is np.ndarray
        and _is_number(element.dtype)
        and (element.ndim == 1 or (element.ndim == 2 and element.shape[1] > 0))  # noqa: PLR2004
    )


def _is_number(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "biuf" and dtype.itemsize <= 8  # noqa: PLR2004 - 64 bits


def _lists(element: NDArray[Any], width: int, missing: NDArray[np.bool_] | None) -> pa.Array:
    native = element.astype(element.dtype.newbyteorder("="), copy=False)
    values = pa.array(np.ravel(native), from_pandas=False)
    mask = None if missing is None or not missing.any() else pa.array(missing)
    return pa.FixedSizeListArray.from_arrays(values, width, mask=mask)


def _entries(element: Any) -> tuple[NDArray[np.uint64], NDArray[Any]] | None:
    """What a matrix stores: the pairs, ascending, and the values; None if no table holds it."""
    if type(element) is np.ndarray and _is_number(element.dtype):
        # Zero has a sign among floats, which is kept too.
        stored = element != 0
        if element.dtype.kind == "f":
            stored |= np.signbit(element)
        rows, columns = np.nonzero(stored)
        return _key(rows, columns), element[rows, columns]
    if not is_sparse(element) or not _is_number(element.dtype):
        return None
    entries = element.tocsr().sorted_indices().tocoo()
    keys = _key(entries.row, entries.col)
    # Where a pair is stored twice, only the file of elements tells.
    return None if (keys[1:] == keys[:-1]).any() else (keys, entries.data)


def _key(rows: NDArray[Any], columns: NDArray[Any]) -> NDArray[np.uint64]:
    return (rows.astype(np.uint64) << _SHIFT) | columns.astype(np.uint64)


def _pairs(
    found: Mapping[str, tuple[NDArray[np.uint64], NDArray[Any]]], ids: tuple[str, str]
) -> pa.Table:
    union = np.unique(np.concatenate([keys for keys, _ in found.values()]))
    columns = {
        ids[0]: pa.array((union >> _SHIFT).astype(np.uint32)),
        ids[1]: pa.array(union.astype(np.uint32)),
    }
    for name, (keys, values) in found.items():
        native = values.astype(values.dtype.newbyteorder("="), copy=False)
        whole = np.zeros(len(union), native.dtype)
        missing = np.ones(len(union), np.bool_)
        at = np.searchsorted(union, keys)
        whole[at], missing[at] = native, False
        columns[name] = pa.array(whole, mask=missing, from_pandas=False)
    return pa.table(columns)
