"""Plain elements on HDF5, written and read as anndata does: text, numbers, arrays, tables.

anndata, whose import takes longer than many runs, is needed only for what is not plain.
https://anndata.readthedocs.io/en/stable/fileformat-prose.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from slaf.annotations.plain_columns import Categories, Nullable, PlainTable, plain_column

if TYPE_CHECKING:
    from collections.abc import Mapping

    import h5py
    import pandas as pd
    from numpy.typing import NDArray

    from slaf.annotations.plain_columns import PlainColumn

__all__ = ["NotPlainError", "is_plain", "read_plain", "write_plain"]

_DICT: Final = ("dict", "0.1.0")
_TEXT: Final = ("string", "0.2.0")
_NUMBER: Final = ("numeric-scalar", "0.2.0")
_NOTHING: Final = ("null", "0.1.0")
_ARRAY: Final = ("array", "0.2.0")
_TEXTS: Final = ("string-array", "0.2.0")
_TABLE: Final = ("dataframe", "0.2.0")
_CATEGORICAL: Final = ("categorical", "0.2.0")
_NULLABLE_INTEGER: Final = ("nullable-integer", "0.1.0")
_NULLABLE_BOOLEAN: Final = ("nullable-boolean", "0.1.0")

# Arrays of longer numbers are on few machines and in no zarr.
_WIDEST: Final = 8
_LARGEST: Final = 2**63 - 1
# Names that HDF5, or anndata, has other uses for.
_NO_KEYS: Final = frozenset({"", ".", "..", "_index"})


class NotPlainError(Exception):
    """An element that anndata is to read."""


def is_plain(element: Any) -> bool:
    r"""True for an element that `write_plain` writes.

    Examples
    --------
    >>> is_plain({"pca": {"variance": np.ones(3), "mask": None, "solver": "arpack"}})
    True
    >>> is_plain(1j) or is_plain(["a"]) or is_plain("a\0")
    False
    """
    if isinstance(element, dict):
        return all(_is_key(key) and is_plain(value) for key, value in element.items())
    if _is_table(element):
        # Names may be of any type, and repeated.
        if not all(map(_is_key, element.columns)) or not element.columns.is_unique:
            return False
        element = _of_pandas(element)
    if isinstance(element, PlainTable):
        names = [*element.columns, *([] if element.index is None else [element.index])]
        are_names = all(map(_is_key, names)) and len(set(names)) == len(names)
        return are_names and all(map(_is_plain_column, (element.ids, *element.columns.values())))
    if isinstance(element, str):
        return type(element) is str and _is_storable(element)
    return element is None or _is_plain_number(element) or _is_plain_array(element)


def write_plain(
    group: h5py.Group, name: str, element: Any, array_options: Mapping[str, Any] | None = None
) -> None:
    """Write an element that is plain.

    Parameters
    ----------
    group
        The group to write to.
    name
        The name of the element, which is not there yet.
    element
        One of which `is_plain` holds.
    array_options
        Keywords of h5py for arrays.
    """
    options = dict(array_options or {})
    if isinstance(element, dict):
        inner = group.create_group(name)
        for key, value in element.items():
            write_plain(inner, key, value, options)
        _mark(inner, _DICT)
    elif isinstance(element, PlainTable) or _is_table(element):
        table = element if isinstance(element, PlainTable) else _of_pandas(element)
        _write_table(group, name, table, options)
    elif isinstance(element, np.ndarray) and element.ndim:
        _write_array(group, name, element, options)
    else:
        _write_scalar(group, name, element)


def read_plain(element: h5py.Group | h5py.Dataset) -> Any:
    """An element as anndata reads it, if it is plain and no table.

    Raises
    ------
    NotPlainError
        If it is another one.
    """
    import h5py

    marks = [element.attrs.get(f"encoding-{mark}") for mark in ("type", "version")]
    encoding = tuple(mark if isinstance(mark, str) else "" for mark in marks)
    if encoding == _DICT:
        return {name: read_plain(element[name]) for name in element}
    if encoding == _NOTHING:
        return None
    if isinstance(element, h5py.Dataset) and element.shape is not None:
        if encoding in {_TEXT, _TEXTS} and h5py.check_string_dtype(element.dtype) is not None:
            return element.asstr()[()]
        is_enumeration = h5py.check_enum_dtype(element.dtype) is not None
        if encoding in {_NUMBER, _ARRAY} and element.dtype.kind in "biuf" and not is_enumeration:
            return element[()].item() if encoding == _NUMBER else element[()]
    raise NotPlainError


def _write_table(group: h5py.Group, name: str, table: PlainTable, options: dict[str, Any]) -> None:
    written = group.create_group(name)
    written.attrs["column-order"] = list(table.columns)
    index = "_index" if table.index is None else table.index
    written.attrs["_index"] = index
    _write_column(written, index, table.ids, options)
    for column, values in table.columns.items():
        _write_column(written, column, values, options)
    _mark(written, _TABLE)


def _of_pandas(frame: pd.DataFrame) -> PlainTable:
    """The arrays below the columns and the index, which anndata writes."""
    index: Any = frame.index
    columns = {str(name): plain_column(one._values) for name, one in frame.items()}  # noqa: SLF001
    return PlainTable(index.name, plain_column(index._values), columns)  # noqa: SLF001


def _write_column(
    table: h5py.Group, name: str, values: PlainColumn, options: dict[str, Any]
) -> None:
    if isinstance(values, Categories):
        group = table.create_group(name)
        group.attrs["ordered"] = values.ordered
        _write_array(group, "codes", values.codes, options)
        _write_array(group, "categories", values.categories, options)
        _mark(group, _CATEGORICAL)
    elif isinstance(values, Nullable):
        group = table.create_group(name)
        _write_array(group, "values", values.values, options)
        _write_array(group, "mask", values.mask, options)
        is_boolean = values.values.dtype.kind == "b"
        _mark(group, _NULLABLE_BOOLEAN if is_boolean else _NULLABLE_INTEGER)
    else:
        _write_array(table, name, values, options)


def _write_array(
    group: h5py.Group, name: str, values: NDArray[Any], options: dict[str, Any]
) -> None:
    import h5py

    is_text = values.dtype.kind == "O"
    dtype = h5py.string_dtype() if is_text else values.dtype
    data = group.create_dataset(name, data=values, shape=values.shape, dtype=dtype, **options)
    _mark(data, _TEXTS if is_text else _ARRAY)


def _write_scalar(group: h5py.Group, name: str, value: Any) -> None:
    import h5py

    if value is None:
        _mark(group.create_dataset(name, data=h5py.Empty("f")), _NOTHING)
    elif isinstance(value, str):
        _mark(group.create_dataset(name, data=value, dtype=h5py.string_dtype()), _TEXT)
    else:
        _mark(group.create_dataset(name, data=np.array(value)), _NUMBER)


def _mark(node: h5py.Group | h5py.Dataset, encoding: tuple[str, str]) -> None:
    node.attrs["encoding-type"], node.attrs["encoding-version"] = encoding


def _is_table(element: Any) -> bool:
    """True for a table of pandas, which is not imported for other elements."""
    return type(element).__name__ == "DataFrame"


def _is_plain_column(values: PlainColumn) -> bool:
    if isinstance(values, Categories):
        return _is_plain_array(values.categories)
    return isinstance(values, Nullable) or (_is_plain_array(values) and values.ndim == 1)


def _is_plain_number(value: Any) -> bool:
    if isinstance(value, np.generic):
        return _is_plain_type(value.dtype)
    return type(value) in {bool, float} or (type(value) is int and abs(value) <= _LARGEST)


def _is_plain_type(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "biuf" and dtype.itemsize <= _WIDEST


def _is_plain_array(values: Any) -> bool:
    if type(values) is not np.ndarray or not values.ndim:
        return False
    if values.dtype.kind == "O":
        return set(map(type, values.flat)) <= {str} and _is_storable("".join(values.flat))
    return _is_plain_type(values.dtype)


def _is_key(name: Any) -> bool:
    return type(name) is str and _is_storable(name) and "/" not in name and name not in _NO_KEYS


def _is_storable(text: str) -> bool:
    """True for a text that HDF5 can hold: in UTF-8 and without NUL."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False
