"""obs and var of several inputs as one table.

Columns are matched by the user's names. Values are missing where an input has no such column.
Types are promoted only to types that hold every value exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import structs

from slaf.annotations.columns import (
    Column,
    categories_of,
    column_of,
    index_name_of,
    pandas_type,
    table_with_metadata,
)
from slaf.annotations.text import OBJECTS, TEXT
from slaf.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["columns_not_in_all", "concat_rows", "outer_join_genes"]


@dataclass(frozen=True, slots=True)
class _ColumnType:
    """Pandas and Arrow type of a column, in one input or in several.

    Attributes
    ----------
    label
        The name in errors of an input with the type.
    column
        The column of the user's frame.
    type
        The Arrow type of its values; for categories, of the categories.
    categories
        All categories in their order; None for other columns.
    blank
        Whether no value determines the type: no category, or every value missing.
    """

    label: str
    column: Column
    type: pa.DataType
    categories: pa.Array | None
    blank: bool

    @property
    def stored_type(self) -> pa.DataType:
        """The Arrow type of the values, or of the codes of categories."""
        return self.type if self.categories is None else pa.int32()

    def __str__(self) -> str:
        if self.categories is None:
            return TEXT if self.column.dtype == OBJECTS else self.column.dtype
        order = "ordered " if self.column.ordered else ""
        first = ", ".join(map(str, self.categories[:4].to_pylist()))
        more = ", …" if len(self.categories) > 4 else ""  # noqa: PLR2004 - as in `first`
        return f"{order}categories [{first}{more}] of {self.column.categories}"


@dataclass(frozen=True, slots=True)
class _InputColumn:
    """A column of one input.

    Attributes
    ----------
    label
        The name of the input in errors.
    column
        The column of the user's frame.
    array
        Its values.
    """

    label: str
    column: Column
    array: pa.ChunkedArray

    @property
    def type(self) -> _ColumnType:
        """Its type."""
        dtype = self.array.type
        if pa.types.is_dictionary(dtype):
            categories = categories_of(self.array, self.column.values)
            blank = not len(categories)
            return _ColumnType(self.label, self.column, dtype.value_type, categories, blank=blank)
        blank = self.array.null_count == len(self.array) or _holds_only_nan(self.array)
        return _ColumnType(self.label, self.column, dtype, None, blank=blank)


def concat_rows(tables: Sequence[pa.Table], labels: Sequence[str]) -> pa.Table:
    """The cells of several inputs in order, with the columns of all inputs.

    Parameters
    ----------
    tables
        As `slaf.annotations.columns.table_with_metadata` makes them: the index first.
    labels
        The names of the inputs in errors.

    Raises
    ------
    InputError
        If a column has types without a common one.
    """

    def concat(_: str | None, values: list[pa.ChunkedArray]) -> pa.ChunkedArray:
        return pa.chunked_array(
            [chunk for array in values for chunk in array.chunks], values[0].type
        )

    return _combine(tables, labels, concat)


def outer_join_genes(
    first: pa.Table,
    second: pa.Table,
    positions: NDArray[np.int64],
    n_genes: int,
    labels: tuple[str, str],
) -> tuple[pa.Table, tuple[str, ...]]:
    """The genes of two tables by position, with the columns of both.

    For each gene and column, the first value that is not missing counts.

    Parameters
    ----------
    first, second
        As `slaf.annotations.columns.table_with_metadata` makes them: the index first. The genes
        of the first are the first ones of the result.
    positions
        For each gene of the second its position in the result; −1 for genes to leave out.
    n_genes
        Genes in the result.
    labels
        The names of both in errors.

    Returns
    -------
    table
        All genes.
    disagreeing
        The columns that have different values for a gene of both.

    Raises
    ------
    InputError
        If a column has types without a common one.
    """
    rows = np.full((2, n_genes), -1, np.int64)
    rows[0, : first.num_rows] = np.arange(first.num_rows)
    kept = positions >= 0
    rows[1, positions[kept]] = np.flatnonzero(kept)
    row_indices = [pa.array(indices, mask=indices < 0) for indices in rows]
    disagreeing = []

    def join(original: str | None, values: list[pa.ChunkedArray]) -> pa.ChunkedArray:
        left, right = (array.take(at) for array, at in zip(values, row_indices, strict=True))
        if original is not None and _disagree(left, right):
            disagreeing.append(original)
        return pc.coalesce(left, right)

    return _combine((first, second), labels, join), tuple(disagreeing)


def columns_not_in_all(tables: Sequence[pa.Table]) -> tuple[str, ...]:
    """The columns that only some of the tables have."""
    columns = [_columns(table) for table in tables]
    names = dict.fromkeys(name for of_table in columns for name in of_table if name is not None)
    return tuple(name for name in names if any(name not in of_table for of_table in columns))


def _combine(
    tables: Sequence[pa.Table],
    labels: Sequence[str],
    combine: Callable[[str | None, list[pa.ChunkedArray]], pa.ChunkedArray],
) -> pa.Table:
    """A table with the columns of all tables.

    Parameters
    ----------
    tables, labels
        As for `concat_rows`.
    combine
        Makes one array of the values of all tables, given the name of the column; for
        categories, of the codes.
    """
    columns_by_table = list(map(_columns, tables, labels))
    arrays, columns = [], []
    for original in dict.fromkeys(name for of_table in columns_by_table for name in of_table):
        inputs = [of_table.get(original) for of_table in columns_by_table]
        having = [column for column in inputs if column is not None]
        common = reduce(_promote, [column.type for column in having])
        values = [
            pa.chunked_array([pa.nulls(table.num_rows, common.stored_type)])
            if column is None
            else _cast_exactly(column, common, having)
            for column, table in zip(inputs, tables, strict=True)
        ]
        array, column = _with_missing_values(combine(original, values), common)
        arrays.append(array)
        columns.append(column)
    return table_with_metadata(arrays, columns, index_name_of(tables[0]))


def _columns(table: pa.Table, label: str = "") -> dict[str | None, _InputColumn]:
    """The columns of a table by the user's names; None is the index."""
    columns = [structs.replace(column_of(field), name=field.name) for field in table.schema]
    return {
        column.original: _InputColumn(label, column, array)
        for column, array in zip(columns, table.columns, strict=True)
    }


def _promote(left: _ColumnType, right: _ColumnType) -> _ColumnType:
    """The type that holds the values of both."""
    common = _common_type(left, right)
    if common is None:
        msg = (
            f"column {left.column.original!r} is of {left} in {left.label}, but of {right} in "
            f"{right.label}, which no column can hold as they are; make them alike, or rename one"
        )
        raise InputError(msg)
    return common


def _common_type(left: _ColumnType, right: _ColumnType) -> _ColumnType | None:
    if left.blank or right.blank:
        return right if left.blank and not right.blank else left
    if left.categories is not None and right.categories is not None:
        return _common_categories(left, right)
    left, right = _type_of_values(left), _type_of_values(right)
    if _is_number(left.type) and _is_number(right.type):
        return _common_number(left, right)
    if left.type == right.type:
        if left.column.dtype == right.column.dtype or pa.types.is_string(left.type):
            return left
        dtype = pandas_type(left.type, nullable=_is_nullable(left) or _is_nullable(right))
        return replace(left, column=structs.replace(left.column, dtype=dtype))
    return _common_time(left, right)


def _common_categories(left: _ColumnType, right: _ColumnType) -> _ColumnType | None:
    values = _common_type(_type_of_values(left), _type_of_values(right))
    lists = [side.categories for side in (left, right) if side.categories is not None]
    if values is None or left.column.ordered != right.column.ordered:
        return None
    try:
        lists = [categories.cast(values.type).to_pylist() for categories in lists]
    except pa.ArrowInvalid:
        return None
    union = list(dict.fromkeys([category for categories in lists for category in categories]))
    if left.column.ordered:
        # The order of both is certain only if one list holds the other in the same order.
        union = max(lists, key=len)
        if any([c for c in union if c in set(categories)] != categories for categories in lists):
            return None
    column = structs.replace(left.column, categories=values.column.dtype, values=None)
    return replace(left, column=column, type=values.type, categories=pa.array(union, values.type))


def _type_of_values(column_type: _ColumnType) -> _ColumnType:
    """The type of the categories as values; other types unchanged."""
    if column_type.categories is None:
        return column_type
    column = Column(
        column_type.column.name,
        column_type.column.original,
        column_type.column.categories or "object",
        missing=column_type.column.missing,
    )
    return replace(column_type, column=column, categories=None)


def _common_number(left: _ColumnType, right: _ColumnType) -> _ColumnType:
    types = [np.dtype(side.type.to_pandas_dtype()) for side in (left, right)]
    common = np.result_type(*types)
    if common.kind == "f" and all(dtype.kind in "iu" for dtype in types):
        # Signed and unsigned 64 bits: the cast finds values that int64 does not hold.
        common = np.dtype(np.int64)
    dtype = pa.from_numpy_dtype(common)
    name = pandas_type(dtype, nullable=_is_nullable(left) or _is_nullable(right))
    return replace(left, column=structs.replace(left.column, dtype=name), type=dtype)


def _common_time(left: _ColumnType, right: _ColumnType) -> _ColumnType | None:
    """The finer of two timestamps of one zone, or of two durations."""
    kinds = {(type(side.type), getattr(side.type, "tz", None)) for side in (left, right)}
    if len(kinds) > 1 or not isinstance(left.type, pa.TimestampType | pa.DurationType):
        return None
    finer = max(left, right, key=lambda side: ("s", "ms", "us", "ns").index(side.type.unit))
    return replace(finer, label=left.label)


def _holds_only_nan(array: pa.ChunkedArray) -> bool:
    """Whether all values are NaN, as pandas and R write a column without values."""
    if not pa.types.is_floating(array.type):
        return False
    # Arrow does not compare half floats.
    values = array.cast(pa.float32()) if pa.types.is_float16(array.type) else array
    return bool(pc.all(pc.is_nan(values)).as_py())


def _is_float(column_type: _ColumnType) -> bool:
    return column_type.categories is None and pa.types.is_floating(column_type.type)


def _is_number(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_integer(dtype) or pa.types.is_floating(dtype))


def _is_nullable(column_type: _ColumnType) -> bool:
    """Whether the pandas type has missing values: "Int64" has, "int64" has not."""
    dtype = column_type.column.dtype
    return dtype == "boolean" or not dtype.islower()


def _cast_exactly(
    column: _InputColumn, common: _ColumnType, having: Sequence[_InputColumn]
) -> pa.ChunkedArray:
    """The values of a column in the common type; for categories, the codes."""
    own = column.type
    array = column.array
    try:
        if own.blank and not (_is_float(own) and _is_float(common)):
            return pa.chunked_array([pa.nulls(len(array), common.stored_type)])
        if common.categories is not None:
            return _recoded(column, common)
        return array.cast(own.type).cast(common.type)
    except pa.ArrowInvalid as error:
        types = {other.label: other.type for other in having}
        label = next((at for at in types if str(types[at]) != str(own)), column.label)
        msg = (
            f"column {own.column.original!r} is of {own} in {column.label}, but of {types[label]} "
            f"in {label}, and {common.type}, which would hold both, does not hold every value "
            f"exactly ({error}); make them alike, or rename one"
        )
        raise InputError(msg) from error


def _recoded(column: _InputColumn, common: _ColumnType) -> pa.ChunkedArray:
    """The codes of a column's categories among the common ones."""
    own = categories_of(column.array, column.column.values).cast(common.type).to_pylist()
    union = [] if common.categories is None else common.categories.to_pylist()
    # By Python's equality, as for the union: Arrow tells zeros of both signs apart.
    codes = {category: code for code, category in enumerate(union)}
    new_codes = pa.array([codes[category] for category in own], pa.int32())
    chunks = column.array.unify_dictionaries().chunks
    return pa.chunked_array([new_codes.take(chunk.indices) for chunk in chunks], pa.int32())


def _disagree(left: pa.ChunkedArray, right: pa.ChunkedArray) -> bool:
    if pa.types.is_float16(left.type):
        # Arrow does not compare half floats.
        left, right = left.cast(pa.float32()), right.cast(pa.float32())
    differ = pc.not_equal(left, right)
    if pa.types.is_floating(left.type):
        differ = pc.and_not(differ, pc.and_(pc.is_nan(left), pc.is_nan(right)))
    return bool(pc.any(differ).as_py())


def _with_missing_values(
    values: pa.ChunkedArray, common: _ColumnType
) -> tuple[pa.Array | pa.ChunkedArray, Column]:
    """A column of all inputs in a type that has missing values if some are missing."""
    column, dtype = common.column, values.type
    if common.categories is not None:
        # One dictionary array: Lance would add up the categories of several chunks.
        array = pa.DictionaryArray.from_arrays(values.combine_chunks(), common.categories)
        all_missing = array.null_count == len(array)
        categories = common.categories.to_pylist() if all_missing else None
        return array, structs.replace(column, dtype="category", values=categories)
    if not values.null_count:
        return values, column
    if pa.types.is_float16(dtype):
        # pandas has no nullable half floats.
        values, dtype = values.cast(pa.float32()), pa.float32()
    plain = column.dtype.islower() and column.dtype not in {"object", "boolean"}
    if plain and (_is_number(dtype) or pa.types.is_boolean(dtype)):
        column = structs.replace(column, dtype=pandas_type(dtype, nullable=True))
    return values, column
