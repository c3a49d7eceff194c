"""Tables of plain columns, as anndata writes them: text, numbers, categories, nullable numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

from slaf.annotations.columns import categories_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slaf.annotations.columns import Column, ColumnSet

__all__ = ["Categories", "Nullable", "PlainColumn", "PlainTable", "plain_column", "plain_table"]


class Categories(NamedTuple):
    """A column of categories: −1 is the code of a missing value."""

    codes: NDArray[Any]
    categories: NDArray[Any]
    ordered: bool


class Nullable(NamedTuple):
    """A column of whole numbers or booleans, 0 where the mask says that a value is missing."""

    values: NDArray[Any]
    mask: NDArray[np.bool_]


PlainColumn: TypeAlias = "NDArray[Any] | Categories | Nullable"


@dataclass(frozen=True, slots=True)
class PlainTable:
    """A table of plain columns.

    Attributes
    ----------
    index
        The name of the index; None without one.
    ids
        The index.
    columns
        The other columns, by name.
    """

    index: str | None
    ids: PlainColumn
    columns: dict[str, PlainColumn]


def plain_column(values: Any) -> PlainColumn:
    """The array of a column of pandas."""
    kind = type(values).__name__
    if kind == "Categorical":
        return Categories(values.codes, values.categories.to_numpy(), bool(values.ordered))
    # Not nullable text: releases of anndata give it different marks.
    if kind in {"IntegerArray", "BooleanArray"}:
        return Nullable(values.to_numpy(values.dtype.numpy_dtype, na_value=0), values.isna())
    array: NDArray[Any] = values
    return array


def plain_table(table: pa.Table, column_set: ColumnSet) -> PlainTable | None:
    """The table that `slaf.annotations.dataframes.to_frame` makes, if pandas is not needed for it.

    Parameters
    ----------
    table
        A table that holds at least these columns.
    column_set
        The columns of the frame.
    """
    ids, *arrays = (_of_arrow(table.column(one.name), one) for one in column_set.columns)
    if ids is None or any(one is None for one in arrays):
        return None
    names = [str(column.original) for column in column_set.columns[1:]]
    columns = {name: one for name, one in zip(names, arrays, strict=True) if one is not None}
    return PlainTable(column_set.index_name, ids, columns)


def _of_arrow(values: pa.ChunkedArray, column: Column) -> PlainColumn | None:
    if column.dtype == "category":
        return _categories(values, column)
    if column.dtype == "boolean" or column.dtype.lstrip("U").startswith("Int"):
        mask = values.is_null().to_numpy()
        empty = pa.scalar(0, pa.int8()).cast(values.type)
        return Nullable(values.fill_null(empty).to_numpy(), mask)
    return _array(values, column.dtype)


def _categories(values: pa.ChunkedArray, column: Column) -> Categories | None:
    found = pa.chunked_array([categories_of(values, column.values)])
    categories = _array(found, column.categories or "object")
    # Others have types of their own in an index of pandas.
    if categories is None or categories.dtype.kind not in "iuO":
        return None
    codes = values.unify_dictionaries().combine_chunks().indices.fill_null(-1).to_numpy()
    if len(found.unique()) < len(found) or not codes.min(initial=0) >= -1:
        return None
    # The types that pandas takes for so many.
    types = (np.int8, np.int16, np.int32)
    fits = [one for one in types if len(categories) < np.iinfo(one).max]
    return Categories(codes.astype(fits[0] if fits else np.int64), categories, column.ordered)


def _array(values: pa.ChunkedArray, dtype: str) -> NDArray[Any] | None:
    """Text, or numbers of a type of numpy, none of which are missing."""
    if values.null_count:
        return None
    if dtype == "object":
        return values.to_numpy().astype(object) if pa.types.is_string(values.type) else None
    is_number = pa.types.is_primitive(values.type) and not pa.types.is_temporal(values.type)
    array: NDArray[Any] = values.to_numpy() if is_number else np.empty(0)
    return array if is_number and str(array.dtype) == dtype else None
