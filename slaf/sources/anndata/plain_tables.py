"""obs and var of plain columns, from HDF5 to Arrow: without anndata and pandas.

What is not plain is left to anndata: every other encoding, and all that is damaged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from msgspec.structs import replace

from slaf.annotations.columns import Column, table_with_metadata
from slaf.annotations.text import TEXT
from slaf.errors import DamagedInput
from slaf.sources.hdf5.elements import attribute, close_members
from slaf.sources.hdf5.file import decode_text
from slaf.sources.hdf5.links import resolve_link

if TYPE_CHECKING:
    import h5py
    from numpy.typing import NDArray

__all__ = ["read_plain_table"]

# https://anndata.readthedocs.io/en/stable/fileformat-prose.html
_TABLE: Final = ("dataframe", "0.2.0")
_STRINGS: Final = ("string-array", "0.2.0")
_NUMBERS: Final = ("array", "0.2.0")
_CATEGORICAL: Final = ("categorical", "0.2.0")
_NULLABLE: Final = {
    ("nullable-integer", "0.1.0"): "iu",
    ("nullable-boolean", "0.1.0"): "b",
}

# What h5py and Arrow raise for an element that is damaged.
_READING_ERRORS: Final = (OSError, RuntimeError, LookupError, TypeError, ValueError, AttributeError)


class _NotPlainError(Exception):
    """Something that anndata is to read."""


def read_plain_table(table: h5py.Group | h5py.Dataset, id_name: str) -> pa.Table | None:
    """The table that `from_frame` makes of what anndata reads; None if not all of it is plain.

    Parameters
    ----------
    table
        An obs or a var, checked.
    id_name
        "cell_id" or "gene_id".
    """
    try:
        return _read(table, id_name)
    except (_NotPlainError, DamagedInput, *_READING_ERRORS):
        return None
    finally:
        close_members(table)


def _read(table: h5py.Group, id_name: str) -> pa.Table:
    _expect(_encoding(table) == _TABLE)
    index, *names = attribute(table, "_index"), *np.ravel(attribute(table, "column-order"))
    _expect(all(isinstance(name, str) for name in (index, *names)))
    _expect(len(set(names)) == len(names))
    ids = resolve_link(table, index)
    _expect(_encoding(ids) == _STRINGS)
    arrays, columns = [_strings(ids)], [Column(id_name, None, TEXT)]
    # pandas 3 does not know of a table without rows that its ids are text.
    _expect(len(arrays[0]))
    for name in names:
        array, column = _column(resolve_link(table, name), Column(name, name, TEXT))
        _expect(len(array) == len(arrays[0]))
        arrays.append(array)
        columns.append(column)
    return table_with_metadata(arrays, columns, None if index == "_index" else index)


def _column(element: Any, column: Column) -> tuple[pa.Array, Column]:
    encoding = _encoding(element)
    if encoding == _CATEGORICAL:
        return _categorical(element, column)
    if encoding in _NULLABLE:
        return _nullable(element, column, _NULLABLE[encoding])
    return _values(element, column)


def _values(element: Any, column: Column) -> tuple[pa.Array, Column]:
    if _encoding(element) == _STRINGS:
        return _strings(element), replace(column, missing="None")
    _expect(_encoding(element) == _NUMBERS)
    values = _numbers(element, "biuf")
    return pa.array(values, from_pandas=False), replace(column, dtype=str(values.dtype))


def _categorical(element: h5py.Group, column: Column) -> tuple[pa.Array, Column]:
    categories, of_values = _values(resolve_link(element, "categories"), column)
    # Others have types of their own in an index of pandas.
    _expect(pa.types.is_string(categories.type) or pa.types.is_integer(categories.type))
    codes = _numbers(resolve_link(element, "codes"), "iu")
    _expect(len(categories.unique()) == len(categories))
    # Before they are cast: as int64 the largest unsigned number would be -1, a missing value.
    _expect(not len(codes) or -1 <= int(codes.min()) <= int(codes.max()) < len(categories))
    ordered = attribute(element, "ordered")
    _expect(ordered is not None)
    indices = pa.array(codes.astype(np.int32), mask=codes < 0)
    return pa.DictionaryArray.from_arrays(indices, categories, ordered=bool(ordered)), replace(
        column,
        dtype="category",
        ordered=bool(ordered),
        categories=of_values.dtype,
        missing=of_values.missing,
        values=None if (codes >= 0).any() else categories.to_pylist(),
    )


def _nullable(element: h5py.Group, column: Column, kinds: str) -> tuple[pa.Array, Column]:
    values = _numbers(resolve_link(element, "values"), kinds)
    mask = _numbers(resolve_link(element, "mask"), "b")
    # The types of pandas begin with capitals: Int64, UInt8; but boolean.
    name = str(values.dtype)
    name = "boolean" if kinds == "b" else name.replace("uint", "UInt").replace("int", "Int")
    return pa.array(values, mask=mask), replace(column, dtype=name)


def _numbers(dataset: h5py.Dataset, kinds: str) -> NDArray[Any]:
    import h5py

    _expect(isinstance(dataset, h5py.Dataset) and len(dataset.shape or ()) == 1)
    dtype = dataset.dtype
    _expect(dtype.kind in kinds and h5py.check_enum_dtype(dtype) is None)
    values: NDArray[Any] = dataset[:]
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _strings(dataset: h5py.Dataset) -> pa.Array:
    import h5py

    _expect(isinstance(dataset, h5py.Dataset) and len(dataset.shape or ()) == 1)
    dtype = dataset.dtype
    kind = h5py.check_string_dtype(dtype)
    _expect(kind is not None and kind.length is None and kind.encoding == "utf-8")
    texts = np.empty(dataset.shape, dtype)
    if len(texts):
        # As `dataset[:]`, which takes three times as long for a short array.
        dataset.id.read(h5py.h5s.ALL, h5py.h5s.ALL, texts)
    return pa.array(texts, pa.binary()).cast(pa.string())


def _encoding(element: Any) -> tuple[str | None, str | None]:
    kind, of_version = attribute(element, "encoding-type"), attribute(element, "encoding-version")
    return decode_text(kind), decode_text(of_version)


def _expect(is_plain: object) -> None:
    if not is_plain:
        raise _NotPlainError
