"""obs and var to Arrow tables and back, without loss.

A `Column` goes with each Arrow column. It holds what Arrow has no type for: pandas' types of text,
and nullable integers without a missing value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
from msgspec.structs import replace

from slaf.annotations.columns import Column, categories_of, table_with_metadata
from slaf.annotations.text import (
    OBJECTS,
    STRING,
    TEXT,
    is_text_type,
    label_of,
    text_array,
    text_index,
    text_type,
)
from slaf.errors import DamagedDataset, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from slaf.annotations.columns import ColumnSet

__all__ = ["from_arrays", "from_frame", "has_ids", "is_frame", "on_axis", "to_frame", "with_ids"]

_NUMPY_KINDS = "biufmM"
# Booleans as Python objects.
_PYTHON = "object"

_Made: TypeAlias = "tuple[pa.Array, Column]"


def from_frame(frame: pd.DataFrame, id_name: str) -> pa.Table:
    """An Arrow table of a frame: the index as `id_name`, then the columns under their names.

    Parameters
    ----------
    frame
        An obs or a var.
    id_name
        "cell_id" or "gene_id".

    Raises
    ------
    InputError
        If a column holds values that cannot be stored (Python objects of several types, complex
        numbers, intervals), or two columns have the same name.
    """
    names = list(frame.columns)
    _check_names(names)
    index = _from_index(frame.index, id_name)
    columns = [_checked(_from_series, frame[name], name) for name in names]
    index_name = frame.index.name
    return _table(index, columns, None if index_name is None else str(index_name))


def from_arrays(
    ids: list[str], columns: Mapping[str, NDArray[Any]], id_name: str, index_name: str | None = None
) -> pa.Table:
    """The table that `from_frame` makes of arrays of one dimension; pandas is not imported for it.

    Parameters
    ----------
    ids
        The index.
    columns
        The columns by name: numbers, or Python objects.
    id_name
        "cell_id" or "gene_id".
    index_name
        The name of the index.

    Raises
    ------
    InputError
        If a column holds values that cannot be stored.
    """
    index = pa.array(ids, pa.string()), Column(id_name, None, TEXT)
    made = [_checked(_from_array, values, name) for name, values in columns.items()]
    return _table(index, made, index_name)


def to_frame(table: pa.Table, column_set: ColumnSet) -> pd.DataFrame:
    """The user's frame, as `from_frame` took it.

    Parameters
    ----------
    table
        A table that holds at least these columns.
    column_set
        The columns of the frame.
    """
    import pandas as pd

    index, *rest = column_set.columns
    # An AnnData has other ids, as numbers, as text.
    dtype = index.dtype if index.dtype == OBJECTS or index.dtype.startswith(STRING) else TEXT
    labels = text_array(_objects(table.column(index.name)), dtype, index.missing)
    ids = pd.Index(labels, dtype=labels.dtype)
    series = {}
    for column in rest:
        values = _to_values(table.column(column.name), column)
        # Without the type pandas 3 infers strings from objects.
        series[column.original] = pd.Series(values, index=ids, dtype=values.dtype)
    frame = pd.DataFrame(series, index=ids)
    if not rest:
        # As anndata reads a table without columns; pandas would number them.
        frame.columns = text_index([])
    frame.index.name = column_set.index_name
    return frame


def is_frame(element: Any) -> bool:
    """Whether an element is a DataFrame; pandas is not imported for it."""
    return type(element).__name__ == "DataFrame"


def has_ids(frame: pd.DataFrame, ids: pa.ChunkedArray) -> bool:
    """Whether the index of a DataFrame, as text, is these ids in this order."""
    return len(frame) == len(ids) and list(map(str, frame.index)) == ids.to_pylist()


def on_axis(element: Any, ids: pd.Index[str]) -> Any:
    """A DataFrame with the index of its axis, if it has these ids as another type of text.

    A dataset is read by another release of pandas than the one that it was written by, and AnnData
    takes no table whose index is of another type than its axis.
    """
    if not is_frame(element) or element.index.dtype == ids.dtype:
        return element
    if list(map(str, element.index)) != list(ids):
        return element
    return element.set_axis(ids.rename(element.index.name), axis=0)


def with_ids(name: str, element: Any, own: pa.ChunkedArray, ids: pa.ChunkedArray) -> Any:
    """A table of obsm or varm with the ids of its axis as index; another element as it is.

    Parameters
    ----------
    name, element
        The element, and its name after ``--without``.
    own
        The ids of its axis in the input.
    ids
        The same in the dataset, where they may have a prefix.

    Raises
    ------
    InputError
        If its index has other ids: no AnnData can hold it.
    """
    import pandas as pd

    if not is_frame(element) or len(element) != len(own):
        return element
    if not has_ids(element, own):
        pairs = enumerate(zip(map(str, element.index), own.to_pylist(), strict=True))
        row, (label, expected) = next((at, pair) for at, pair in pairs if pair[0] != pair[1])
        msg = (
            f"{name} has the index {label!r} in row {row:,}, where the id is {expected!r}, so that "
            f"no AnnData can hold it; give it the ids, or leave it out with --without {name}"
        )
        raise InputError(msg)
    if own.equals(ids) and all(isinstance(label, str) for label in element.index):
        return element
    dtype = text_type() if label_of(element.index) is None else element.index.dtype
    index = pd.Index(ids.to_pylist(), dtype=dtype, name=element.index.name)
    return element.set_axis(index, axis=0)


def _checked(make: Callable[[Any, str], _Made], values: Any, name: str) -> _Made:
    """A column, with its name in errors."""
    try:
        return make(values, name)
    except InputError as error:
        error.add_note(f"in column {name!r}")
        raise
    except (pa.ArrowException, UnicodeError) as error:
        msg = f"column {name!r} cannot be stored ({error}); leave it out, or convert it"
        raise InputError(msg) from error


def _table(index: _Made, columns: Sequence[_Made], index_name: str | None) -> pa.Table:
    arrays, made = zip(index, *columns, strict=True)
    return table_with_metadata(arrays, made, index_name)


def _check_names(names: list[Any]) -> None:
    not_text = [name for name in names if not isinstance(name, str)]
    if not_text:
        kind = type(not_text[0]).__name__
        msg = f"the name of column {not_text[0]!r} is of type {kind}; make it a string"
        raise InputError(msg)
    if len(set(names)) < len(names):
        repeated = sorted({name for name in names if names.count(name) > 1})
        msg = f"several columns have the name {', '.join(map(repr, repeated))}; rename one of them"
        raise InputError(msg)


def _from_index(index: pd.Index[Any], id_name: str) -> _Made:
    missing = np.flatnonzero(index.isna())
    if len(missing):
        msg = f"row {missing[0]} has no {id_name}; set an id for every row"
        raise InputError(msg)
    try:
        ids = pa.array([str(value) for value in index], pa.string())
    except UnicodeError as error:
        msg = f"a {id_name} cannot be stored as text ({error})"
        raise InputError(msg) from error
    dtype, marker = _type_of(index)
    marker = marker if dtype.startswith(STRING) else None
    return ids, Column(id_name, None, dtype, missing=marker)


def _from_series(series: pd.Series[Any], name: str) -> _Made:
    import pandas as pd

    dtype = series.dtype
    type_name, marker = _type_of(series)
    column = Column(name, name, type_name, missing=marker)
    if isinstance(dtype, pd.CategoricalDtype):
        return _from_categorical(series, column)
    if isinstance(dtype, pd.StringDtype):
        return pa.array(series.array.to_numpy(object, na_value=None), pa.string()), column
    if dtype.kind == "O":
        return _from_objects(series.to_list(), column)
    if isinstance(dtype, np.dtype):
        return _from_numbers(series.to_numpy(), column)
    if isinstance(dtype, pd.DatetimeTZDtype) or hasattr(dtype, "numpy_dtype"):
        return pa.array(series.array), column
    raise _not_stored(dtype)


def _from_array(values: NDArray[Any], name: str) -> _Made:
    if values.dtype.kind == "O":
        return _from_objects(values.tolist(), Column(name, name, TEXT, missing="None"))
    return _from_numbers(values, Column(name, name, _name_of(values.dtype)))


def _from_numbers(values: NDArray[Any], column: Column) -> _Made:
    if values.dtype.kind not in _NUMPY_KINDS:
        raise _not_stored(values.dtype)
    native = values.astype(values.dtype.newbyteorder("="), copy=False)
    return pa.array(native, from_pandas=False), column


def _not_stored(dtype: Any) -> InputError:
    msg = (
        f"holds values of type {dtype}, which cannot be stored; leave the column out, or convert "
        "it to strings or numbers"
    )
    return InputError(msg)


def _from_categorical(series: pd.Series[Any], column: Column) -> _Made:
    import pandas as pd

    categories = series.cat.categories
    # Without the type pandas 3 infers strings from objects.
    values, of_values = _from_series(pd.Series(categories, dtype=categories.dtype), column.name)
    if pa.types.is_timestamp(values.type) or pa.types.is_duration(values.type):
        msg = "holds categories that are times, which cannot be stored; convert them to strings"
        raise InputError(msg)
    # pandas does not know of an empty list of categories that they are text.
    dtype = of_values.dtype if len(categories) or of_values.dtype != OBJECTS else TEXT
    codes = series.cat.codes.to_numpy()
    indices = pa.array(codes.astype(np.int32), mask=codes < 0)
    ordered = bool(series.cat.ordered)
    return pa.DictionaryArray.from_arrays(indices, values, ordered=ordered), replace(
        column,
        dtype="category",
        ordered=ordered,
        categories=dtype,
        missing=of_values.missing,
        values=None if (codes >= 0).any() else values.to_pylist(),
    )


def _from_objects(values: list[Any], column: Column) -> _Made:
    kinds = {type(value) for value in values}
    missing = {kind for kind in kinds if kind is type(None) or kind is float}
    if float in missing and not all(value != value for value in values if type(value) is float):  # noqa: PLR0124
        missing = set()
    if kinds - missing == {bool} and not missing:
        return pa.array(values, pa.bool_()), replace(column, dtype=_PYTHON)
    if not kinds - missing <= {str, np.str_} or len(missing) > 1:
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        msg = f"holds Python objects ({names}); convert all to strings, numbers or booleans"
        raise InputError(msg)
    strings = [value if isinstance(value, str) else None for value in values]
    return pa.array(strings, pa.string()), replace(
        column, missing="nan" if float in missing else "None"
    )


def _type_of(values: pd.Series[Any] | pd.Index[Any]) -> tuple[str, str | None]:
    """`dtype` and `missing` of a `Column`."""
    return label_of(values) or (_name_of(values.dtype), None)


def _name_of(dtype: Any) -> str:
    # The order of bytes is not part of the type.
    return str(dtype.newbyteorder("=") if isinstance(dtype, np.dtype) else dtype)


def _to_values(values: pa.ChunkedArray, column: Column) -> Any:
    """A column as a numpy array, or an array of pandas."""
    if column.dtype == "category":
        return _to_categorical(values, column)
    if pa.types.is_string(values.type) and is_text_type(column.dtype):
        return text_array(_objects(values), column.dtype, column.missing)
    if column.dtype == _PYTHON:
        return _objects(values)
    if pa.types.is_temporal(values.type):
        return values.to_pandas().array
    if column.dtype == "boolean" or not column.dtype.islower() or column.dtype.endswith("]"):
        return _to_extension(values, column)
    if values.null_count:
        msg = f"column {column.name!r} has missing values, which {column.dtype} cannot hold"
        raise DamagedDataset(msg)
    return values.to_numpy()


def _to_extension(values: pa.ChunkedArray, column: Column) -> Any:
    import pandas as pd

    dtype = pd.api.types.pandas_dtype(column.dtype)
    if isinstance(dtype, pd.Float32Dtype | pd.Float64Dtype):
        # From a list pandas takes NaN as missing.
        missing = values.is_null().to_numpy()
        return pd.arrays.FloatingArray(values.fill_null(0).to_numpy(), missing)
    return pd.array(values.to_pylist(), dtype=column.dtype)


def _to_categorical(values: pa.ChunkedArray, column: Column) -> Any:
    import pandas as pd

    stored = pa.chunked_array([categories_of(values, column.values)])
    categories = _to_values(stored, replace(column, dtype=column.categories or TEXT))
    is_unknown = column.categories == TEXT and not len(stored)
    # Without the type pandas 3 infers strings from objects.
    index = pd.Index(categories, dtype=object if is_unknown else categories.dtype)
    codes = values.unify_dictionaries().combine_chunks().indices.fill_null(-1).to_numpy()
    return pd.Categorical.from_codes(codes, categories=index, ordered=column.ordered)


def _objects(values: pa.ChunkedArray) -> NDArray[np.object_]:
    """Values as Python objects, None where they are missing."""
    objects: NDArray[np.object_] = values.to_numpy(zero_copy_only=False).astype(object, copy=False)
    return objects
