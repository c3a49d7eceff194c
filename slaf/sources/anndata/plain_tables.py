"""obs and var of plain columns, from HDF5 or zarr to Arrow: without anndata and pandas.

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
from slaf.sources.hdf5.file import decode_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slaf.sources.anndata.groups import Groups

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

# The errors of h5py, zarr and Arrow for an element that is damaged.
_READING_ERRORS: Final = (OSError, RuntimeError, LookupError, TypeError, ValueError, AttributeError)


class _NotPlainError(Exception):
    """Something that anndata is to read."""


def read_plain_table(groups: Groups, path: str, id_name: str) -> pa.Table | None:
    """The table that `from_frame` makes of what anndata reads; None if not all of it is plain.

    Parameters
    ----------
    groups
        The stored AnnData.
    path
        The path of an obs or a var, checked.
    id_name
        "cell_id" or "gene_id".
    """
    try:
        return _read(groups, path, id_name)
    except (_NotPlainError, DamagedInput, *_READING_ERRORS):
        return None
    finally:
        groups.close_members(path)


def _read(groups: Groups, path: str, id_name: str) -> pa.Table:
    _expect(_encoding(groups, path) == _TABLE)
    index, names = groups.attribute(path, "_index"), list(groups.attribute(path, "column-order"))
    # A path that begins with a slash is that of another group.
    _expect(all(isinstance(name, str) and name[:1] != "/" for name in (index, *names)))
    _expect(len(set(names)) == len(names))
    ids = f"{path}/{index}"
    _expect(_encoding(groups, ids) == _STRINGS)
    arrays, columns = [_strings(groups, ids)], [Column(id_name, None, TEXT)]
    # pandas 3 does not know of a table without rows that its ids are text.
    _expect(len(arrays[0]))
    for name in names:
        array, column = _column(groups, f"{path}/{name}", Column(name, name, TEXT))
        _expect(len(array) == len(arrays[0]))
        arrays.append(array)
        columns.append(column)
    return table_with_metadata(arrays, columns, None if index == "_index" else index)


def _column(groups: Groups, path: str, column: Column) -> tuple[pa.Array, Column]:
    encoding = _encoding(groups, path)
    if encoding == _CATEGORICAL:
        return _categorical(groups, path, column)
    if encoding in _NULLABLE:
        return _nullable(groups, path, column, _NULLABLE[encoding])
    return _values(groups, path, column)


def _values(groups: Groups, path: str, column: Column) -> tuple[pa.Array, Column]:
    if _encoding(groups, path) == _STRINGS:
        return _strings(groups, path), replace(column, missing="None")
    _expect(_encoding(groups, path) == _NUMBERS)
    values = _numbers(groups, path, "biuf")
    return pa.array(values, from_pandas=False), replace(column, dtype=str(values.dtype))


def _categorical(groups: Groups, path: str, column: Column) -> tuple[pa.Array, Column]:
    categories, of_values = _values(groups, f"{path}/categories", column)
    # Others have types of their own in an index of pandas.
    _expect(pa.types.is_string(categories.type) or pa.types.is_integer(categories.type))
    codes = _numbers(groups, f"{path}/codes", "iu")
    _expect(len(categories.unique()) == len(categories))
    # Before they are cast: as int64 the largest unsigned number would be -1, a missing value.
    _expect(not len(codes) or -1 <= int(codes.min()) <= int(codes.max()) < len(categories))
    ordered = groups.attribute(path, "ordered")
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


def _nullable(groups: Groups, path: str, column: Column, kinds: str) -> tuple[pa.Array, Column]:
    values = _numbers(groups, f"{path}/values", kinds)
    mask = _numbers(groups, f"{path}/mask", "b")
    # The types of pandas begin with capitals: Int64, UInt8; but boolean.
    name = str(values.dtype)
    name = "boolean" if kinds == "b" else name.replace("uint", "UInt").replace("int", "Int")
    return pa.array(values, mask=mask), replace(column, dtype=name)


def _numbers(groups: Groups, path: str, kinds: str) -> NDArray[Any]:
    values = groups.read_numbers(path)
    if values is None or values.dtype.kind not in kinds:
        raise _NotPlainError
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _strings(groups: Groups, path: str) -> pa.Array:
    texts = groups.read_strings(path)
    if texts is None:
        raise _NotPlainError
    return texts


def _encoding(groups: Groups, path: str) -> tuple[str | None, str | None]:
    kind, of_version = (groups.attribute(path, f"encoding-{name}") for name in ("type", "version"))
    return decode_text(kind), decode_text(of_version)


def _expect(is_plain: object) -> None:
    if not is_plain:
        raise _NotPlainError
