"""The obs and var of AnnData as Arrow tables and back, with nothing lost on the way.

A pandas DataFrame says things that Arrow has no word for: whether a categorical is ordered,
whether integers without a missing value are nullable, which strings are objects. A `Column`
goes with each Arrow column and says them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from msgspec.structs import replace

from slaf.annotations.columns import STRING, Column, table_with_metadata
from slaf.errors import DamagedDataset, InputError

if TYPE_CHECKING:
    import pandas as pd

    from slaf.annotations.columns import ColumnSet

__all__ = ["from_frame", "to_frame"]

_NUMPY_KINDS = "biufmM"


def from_frame(frame: pd.DataFrame, id_name: str) -> pa.Table:
    """An Arrow table of the frame: its index as `id_name`, then its columns under their names.

    Parameters
    ----------
    frame
        An obs or a var.
    id_name
        "cell_id" or "gene_id".

    Raises
    ------
    InputError
        If a column holds what no table can give back: Python objects of several types,
        complex numbers, intervals; or two columns have one name.
    """
    names = list(frame.columns)
    _check_names(names)
    ids, index = _from_index(frame.index, id_name)
    arrays, columns = [ids], [index]
    for name in names:
        try:
            array, column = _from_series(frame[name], name)
        except InputError as error:
            error.add_note(f"in column {name!r}")
            raise
        except (pa.ArrowException, UnicodeError) as error:
            msg = f"column {name!r} cannot be stored ({error}); leave it out, or write it otherwise"
            raise InputError(msg) from error
        arrays.append(array)
        columns.append(column)
    return table_with_metadata(arrays, columns, _index_name(frame))


def to_frame(table: pa.Table, described: ColumnSet) -> pd.DataFrame:
    """The user's frame: what `from_frame` was given.

    Parameters
    ----------
    table
        A table that holds at least these columns.
    described
        What they were.
    """
    import pandas as pd

    index, *rest = described.columns
    ids = pd.Index(table.column(index.name).to_pylist(), dtype=_index_type(index))
    series = {}
    for column in rest:
        values = _to_values(table.column(column.name), column)
        # With its type, or pandas 3 would take objects for strings.
        series[column.original] = pd.Series(values, index=ids, dtype=values.dtype)
    frame = pd.DataFrame(series, index=ids)
    if not rest:
        # As anndata reads a table of no columns; pandas would number them.
        frame.columns = pd.Index([], dtype=object)
    frame.index.name = described.index_name
    return frame


def _check_names(names: list[Any]) -> None:
    other = [name for name in names if not isinstance(name, str)]
    if other:
        msg = f"the column {other[0]!r} is called by a {type(other[0]).__name__}; make it a string"
        raise InputError(msg)
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        msg = f"two columns are called {', '.join(map(repr, twice))}; rename one of them"
        raise InputError(msg)


def _from_index(index: pd.Index[Any], id_name: str) -> tuple[pa.Array, Column]:
    import pandas as pd

    labels = pd.Series(index)
    missing = np.flatnonzero(labels.isna())
    if len(missing):
        msg = f"row {missing[0]} has no {id_name}; give every row an id"
        raise InputError(msg)
    try:
        ids = pa.array([str(value) for value in index], pa.string())
    except UnicodeError as error:
        msg = f"a {id_name} is not text that can be stored ({error})"
        raise InputError(msg) from error
    return ids, Column(id_name, None, _pandas_type(labels), missing=_missing(labels))


def _from_series(series: pd.Series[Any], name: str) -> tuple[pa.Array, Column]:
    import pandas as pd

    dtype = series.dtype
    column = Column(name, name, _pandas_type(series))
    if isinstance(dtype, pd.CategoricalDtype):
        return _from_categorical(series, column)
    if isinstance(dtype, pd.StringDtype):
        values = pa.array(np.asarray(series.array.to_numpy(object, na_value=None)), pa.string())
        return values, replace(column, missing=_missing(series))
    if dtype.kind == "O":
        return _from_objects(series, column)
    if isinstance(dtype, np.dtype) and dtype.kind in _NUMPY_KINDS:
        values = series.to_numpy()
        native = values.astype(values.dtype.newbyteorder("="), copy=False)
        return pa.array(native, from_pandas=False), column
    if isinstance(dtype, pd.DatetimeTZDtype) or hasattr(dtype, "numpy_dtype"):
        return pa.array(series.array), column
    msg = (
        f"holds values of type {dtype}, which cannot be stored; leave the column out, or make it "
        "strings or numbers"
    )
    raise InputError(msg)


def _from_categorical(series: pd.Series[Any], column: Column) -> tuple[pa.Array, Column]:
    import pandas as pd

    categories = series.cat.categories
    # With its type, or pandas 3 would take objects for strings.
    values, described = _from_series(pd.Series(categories, dtype=categories.dtype), column.name)
    if pa.types.is_timestamp(values.type) or pa.types.is_duration(values.type):
        msg = "holds categories that are times, which cannot be stored; make them strings"
        raise InputError(msg)
    codes = series.cat.codes.to_numpy()
    indices = pa.array(codes.astype(np.int32), mask=codes < 0)
    array = pa.DictionaryArray.from_arrays(indices, values, ordered=bool(series.cat.ordered))
    return array, replace(
        column,
        dtype="category",
        ordered=bool(series.cat.ordered),
        categories=described.dtype,
        missing=described.missing,
        values=None if (codes >= 0).any() else values.to_pylist(),
    )


def _from_objects(series: pd.Series[Any], column: Column) -> tuple[pa.Array, Column]:
    values = series.to_list()
    kinds = {type(value) for value in values}
    missing = {kind for kind in kinds if kind is type(None) or kind is float}
    if float in missing and not all(value != value for value in values if type(value) is float):  # noqa: PLR0124
        missing = set()
    if kinds - missing == {bool} and not missing:
        return pa.array(values, pa.bool_()), replace(column, missing="None")
    if not kinds - missing <= {str, np.str_} or len(missing) > 1:
        found = ", ".join(sorted(kind.__name__ for kind in kinds))
        msg = f"holds Python objects ({found}); make them all strings, numbers or booleans"
        raise InputError(msg)
    strings = [value if isinstance(value, str) else None for value in values]
    return pa.array(strings, pa.string()), replace(
        column, missing="nan" if float in missing else "None"
    )


def _index_name(frame: pd.DataFrame) -> str | None:
    name = frame.index.name
    return None if name is None else str(name)


def _pandas_type(series: pd.Series[Any]) -> str:
    import pandas as pd

    dtype = series.dtype
    if isinstance(dtype, pd.StringDtype):
        return f"string[{dtype.storage}]"
    # The order of bytes is the machine's that wrote them, and no part of the type.
    return str(dtype.newbyteorder("=") if isinstance(dtype, np.dtype) else dtype)


def _missing(series: pd.Series[Any]) -> str | None:
    """What pandas' string types have for a missing string; None for other types."""
    import pandas as pd

    if not isinstance(series.dtype, pd.StringDtype):
        return None
    return "NA" if series.dtype.na_value is pd.NA else "nan"


def _index_type(column: Column) -> Any:
    return _string_type(column) if column.dtype.startswith(STRING) else object


def _to_values(values: pa.ChunkedArray, column: Column) -> Any:
    """A column as pandas had it: a numpy array, or one of pandas' own kinds."""
    if column.dtype == "category":
        return _to_categorical(values, column)
    if column.dtype == "object":
        return np.array(_strings(values, np.nan if column.missing == "nan" else None), dtype=object)
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

    if column.dtype.startswith(STRING):
        return pd.array(_strings(values, None), dtype=_string_type(column))
    dtype = pd.api.types.pandas_dtype(column.dtype)
    if isinstance(dtype, pd.Float32Dtype | pd.Float64Dtype):
        # From a list pandas takes NaN for missing, which it is not.
        missing = values.is_null().to_numpy()
        return pd.arrays.FloatingArray(values.fill_null(0).to_numpy(), missing)
    return pd.array(values.to_pylist(), dtype=column.dtype)


def _to_categorical(values: pa.ChunkedArray, column: Column) -> Any:
    import pandas as pd

    whole = values.unify_dictionaries().combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.chunk(0) if whole.num_chunks else pa.array([], values.type)
    described = replace(column, dtype=column.categories or "object")
    dictionary = whole.dictionary
    if column.values:
        dictionary = pa.array(column.values, dictionary.type)
    # Objects are asked for by name: of strings pandas 3 would make strings.
    kind = object if described.dtype == "object" else None
    categories = pd.Index(_to_values(pa.chunked_array([dictionary]), described), dtype=kind)
    codes = whole.indices.fill_null(-1).to_numpy()
    return pd.Categorical.from_codes(codes, categories=categories, ordered=column.ordered)


def _string_type(column: Column) -> Any:
    import pandas as pd

    storage = column.dtype[len(STRING) : -1]
    if column.missing is None:
        # Written alike by pandas: these are strings of Arrow's own.
        return pd.ArrowDtype(pa.string())
    if column.missing == "nan":
        return pd.StringDtype(storage, na_value=np.nan)
    return pd.StringDtype(storage)


def _strings(values: pa.ChunkedArray, missing: Any) -> list[Any]:
    strings = values.to_pylist()
    return (
        [missing if value is None else value for value in strings] if values.null_count else strings
    )
