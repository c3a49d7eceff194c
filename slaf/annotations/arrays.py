"""Arrays and matrices of obsm, varm, obsp and varp to Arrow columns and back."""

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
    "ElementSpec",
    "arrays_to_columns",
    "column_to_array",
    "is_numeric",
    "pairs_to_table",
    "sparse_from_sorted",
    "stored_entries",
    "table_to_matrix",
]

_ARRAY: Final = "array"
_SHIFT: Final = np.uint64(32)


class ElementSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Name, class and type of an element, to restore it from its Arrow column.

    Attributes
    ----------
    key
        The user's name.
    name
        The Arrow column; None if the element is in the HDF5 file of elements instead.
    kind
        "array", or the class of a sparse matrix.
    dtype
        The numeric type, as numpy writes it.
    width
        The number of columns; None for an array of one dimension, and without a column.
    """

    key: str
    name: str | None = None
    kind: str = ""
    dtype: str = ""
    width: int | None = None


def arrays_to_columns(
    elements: Mapping[str, Any],
    n_rows: int,
    reserved: Iterable[str],
    rows_without_values: Callable[[str], NDArray[np.bool_] | None] = lambda _key: None,
) -> tuple[dict[str, pa.Array], list[ElementSpec]]:
    """Numeric arrays as Arrow columns of lists of one length, and the spec of every element.

    Parameters
    ----------
    elements
        An obsm or a varm.
    n_rows
        The number of rows that each element must have.
    reserved
        Names of the table's other columns.
    rows_without_values
        The rows of an element, by its key, that become null.

    Returns
    -------
    dict, list
        The columns by name; the specs in the order of the elements.

    Raises
    ------
    InputError
        If an element has another number of rows.
    """
    used = {name.casefold() for name in reserved}
    columns: dict[str, pa.Array] = {}
    specs: list[ElementSpec] = []
    for key, element in elements.items():
        _check_rows(key, element, n_rows)
        if not _fits_a_column(element):
            specs.append(ElementSpec(key))
            continue
        name = safe_name(key, used)
        width = element.shape[1] if element.ndim > 1 else None
        columns[name] = _list_column(element, width or 1, rows_without_values(key))
        specs.append(ElementSpec(key, name, _ARRAY, str(element.dtype), width))
    return columns, specs


def column_to_array(column: pa.ChunkedArray, spec: ElementSpec) -> NDArray[Any]:
    """The array that `arrays_to_columns` stored in a column; NaN in rows that are null."""
    # `flatten` leaves out the rows that are null.
    chunks = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    dtype = np.dtype(spec.dtype)
    flat = np.concatenate([np.empty(0, dtype.newbyteorder("=")), *chunks])
    row_shape = () if spec.width is None else (spec.width,)
    valid_rows = flat.astype(dtype, copy=False).reshape((-1, *row_shape))
    if not column.null_count:
        return valid_rows
    array = np.full((len(column), *row_shape), np.nan, dtype)
    array[column.is_valid().to_numpy()] = valid_rows
    return array


def pairs_to_table(
    elements: Mapping[str, Any], n: int, ids: tuple[str, str]
) -> tuple[pa.Table | None, list[ElementSpec]]:
    """Numeric matrices as one table with a row for each pair, and the spec of every element.

    The table has the pairs for which any matrix stores a value, be it zero; the columns of the
    other matrices are null there.

    Parameters
    ----------
    elements
        An obsp or a varp.
    n
        The number of rows and columns that each element must have.
    ids
        The names of the two columns of positions.

    Returns
    -------
    Table or None, list
        The pairs in order, None without a numeric matrix; the specs in the order of the elements.

    Raises
    ------
    InputError
        If an element has another shape.
    """
    used = {name.casefold() for name in ids}
    specs: list[ElementSpec] = []
    entries: dict[str, tuple[NDArray[np.uint64], NDArray[Any]]] = {}
    for key, element in elements.items():
        if getattr(element, "shape", None) != (n, n):
            msg = f"{key!r} has the shape {getattr(element, 'shape', None)}, not {n:,} × {n:,}"
            raise InputError(msg)
        keys_and_values = _sorted_entries(element)
        if keys_and_values is None:
            specs.append(ElementSpec(key))
            continue
        name = safe_name(key, used)
        entries[name] = keys_and_values
        kind = type(element).__name__ if is_sparse(element) else _ARRAY
        specs.append(ElementSpec(key, name, kind, str(element.dtype), n))
    return (_pair_table(entries, ids) if entries else None), specs


def table_to_matrix(
    table: pa.Table, ids: tuple[str, str], spec: ElementSpec
) -> NDArray[Any] | sp.csr_matrix | sp.csc_matrix:
    """The matrix that `pairs_to_table` stored in a column of a table.

    Parameters
    ----------
    table
        The pairs in order, with this column.
    ids
        The names of the two columns of positions.
    spec
        The spec of the matrix.
    """
    column = table.column(spec.name)
    valid = column.is_valid().to_numpy()
    rows, columns = (table.column(name).to_numpy()[valid] for name in ids)
    dtype = np.dtype(spec.dtype)
    values = column.drop_null().to_numpy().astype(dtype, copy=False)
    n = spec.width or 0
    if spec.kind == _ARRAY:
        dense = np.zeros((n, n), dtype)
        dense[rows, columns] = values
        return dense
    matrix: sp.csr_matrix | sp.csc_matrix = sparse_from_sorted(
        rows, columns.astype(np.int32), values, (n, n), spec.kind
    )
    return matrix


def is_numeric(dtype: np.dtype[Any]) -> bool:
    """Whether Arrow has the type: booleans, integers and floats of at most 64 bits."""
    return dtype.kind in "biuf" and dtype.itemsize <= 8  # noqa: PLR2004 - 64 bits


def stored_entries(matrix: Any) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Rows, ascending, columns and values of a matrix; of a dense one all but positive zeros."""
    if is_sparse(matrix):
        coo = matrix.tocsr().tocoo()
        return coo.row, coo.col, coo.data
    stored = matrix != 0
    if matrix.dtype.kind == "f":
        stored |= np.signbit(matrix)
    rows, columns = np.nonzero(stored)
    return rows, columns, matrix[rows, columns]


def sparse_from_sorted(
    rows: NDArray[Any],
    columns: NDArray[Any],
    values: NDArray[Any],
    shape: tuple[int, int],
    kind: str,
) -> Any:
    """A sparse matrix of entries with ascending rows; repeated entries are kept apart.

    Parameters
    ----------
    rows, columns, values
        The entries.
    shape
        The shape of the matrix.
    kind
        The name of its class.
    """
    import scipy.sparse as sp

    # scipy's own conversion from COO adds up repeated entries.
    indptr = np.append(0, np.cumsum(np.bincount(rows, minlength=shape[0])))
    return getattr(sp, kind)(sp.csr_matrix((values, columns, indptr), shape=shape))


def _check_rows(key: str, element: Any, n_rows: int) -> None:
    shape = getattr(element, "shape", None)
    n_rows_of_element = shape[0] if shape else len(element)
    if n_rows_of_element != n_rows:
        msg = f"{key!r} has {n_rows_of_element:,} rows where {n_rows:,} are needed"
        raise InputError(msg)


def _fits_a_column(element: Any) -> bool:
    return (
        type(element) is np.ndarray
        and is_numeric(element.dtype)
        and (element.ndim == 1 or (element.ndim == 2 and element.shape[1] > 0))  # noqa: PLR2004
    )


def _list_column(element: NDArray[Any], width: int, missing: NDArray[np.bool_] | None) -> pa.Array:
    native = element.astype(element.dtype.newbyteorder("="), copy=False)
    values = pa.array(np.ravel(native), from_pandas=False)
    mask = None if missing is None or not missing.any() else pa.array(missing)
    return pa.FixedSizeListArray.from_arrays(values, width, mask=mask)


def _sorted_entries(element: Any) -> tuple[NDArray[np.uint64], NDArray[Any]] | None:
    """Pairs, ascending, and values that a matrix stores; None if a table cannot hold them."""
    sparse = is_sparse(element)
    if not (sparse or type(element) is np.ndarray) or not is_numeric(element.dtype):
        return None
    # `sorted_indices` of a CSC matrix orders its columns.
    rows, columns, values = stored_entries(element.tocsr().sorted_indices() if sparse else element)
    pairs = _pair_keys(rows, columns)
    # Only the HDF5 file of elements keeps repeated entries.
    return None if (pairs[1:] == pairs[:-1]).any() else (pairs, values)


def _pair_keys(rows: NDArray[Any], columns: NDArray[Any]) -> NDArray[np.uint64]:
    return (rows.astype(np.uint64) << _SHIFT) | columns.astype(np.uint64)


def _pair_table(
    entries: Mapping[str, tuple[NDArray[np.uint64], NDArray[Any]]], ids: tuple[str, str]
) -> pa.Table:
    union = np.unique(np.concatenate([pairs for pairs, _ in entries.values()]))
    columns = {
        ids[0]: pa.array((union >> _SHIFT).astype(np.uint32)),
        ids[1]: pa.array(union.astype(np.uint32)),
    }
    for name, (pairs, values) in entries.items():
        column = np.zeros(len(union), values.dtype.newbyteorder("="))
        missing = np.ones(len(union), np.bool_)
        positions = np.searchsorted(union, pairs)
        column[positions], missing[positions] = values, False
        columns[name] = pa.array(column, mask=missing, from_pandas=False)
    return pa.table(columns)
