"""Names and pandas types of obs and var columns in Arrow and Lance tables.

Between a source and a dataset, the metadata of an Arrow field holds a `Column` as JSON under
`slaf`; in a dataset, config.json does.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec.structs import replace

from slaf.annotations.lazy_table import LazyTable
from slaf.annotations.text import TEXT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from slaf.annotations.lazy_table import AnyTable
    from slaf.sparse.ranges import RowRange

__all__ = [
    "Column",
    "ColumnSet",
    "arrow_table",
    "categories_of",
    "column_of",
    "fill_columns",
    "find_names",
    "from_lance",
    "index_name_of",
    "pandas_type",
    "replace_ids",
    "safe_name",
    "table_with_metadata",
    "to_lance",
    "with_categories",
    "with_constants",
    "without_columns",
]

_KEY = b"slaf"
_INDEX_KEY = b"slaf_index"

# Lance refuses these column names, or cannot read them back.
_FORBIDDEN_NAMES = frozenset(
    {
        "",
        "*",
        "_rowid",
        "_rowaddr",
        "_rowoffset",
        "_row_created_at_version",
        "_row_last_updated_at_version",
    }
)
_FORBIDDEN_CHARACTERS = str.maketrans(dict.fromkeys(".`\0", "_"))


class Column(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Name and pandas type of a column of the user's frame.

    Attributes
    ----------
    name
        The name in the Lance table.
    original
        The user's name; None for the index.
    dtype
        The pandas type, as pandas writes it; "object" for text in the type that pandas itself gives
        it, and "O" for Python objects where it gives text another one.
    ordered
        Whether the categories have an order.
    categories
        The pandas type of the categories, if there are any.
    missing
        The marker of missing strings: "None", "nan" or "NA".
    values
        The categories, if every row is missing: Lance stores none then.
    """

    name: str
    original: str | None
    dtype: str
    ordered: bool = False
    categories: str | None = None
    missing: str | None = None
    values: list[Any] | None = None


class ColumnSet(msgspec.Struct, frozen=True):
    """Columns of the user's obs or var, the index first."""

    columns: Annotated[tuple[Column, ...], msgspec.Meta(min_length=1)]
    index_name: str | None = None


def table_with_metadata(
    arrays: Sequence[pa.Array], columns: Sequence[Column], index_name: str | None
) -> pa.Table:
    """A table with a `Column` in the metadata of each field.

    Parameters
    ----------
    arrays, columns
        The index first.
    index_name
        The name of the index.
    """
    fields = [
        pa.field(column.name, array.type, metadata={_KEY: json.dumps(msgspec.to_builtins(column))})
        for column, array in zip(columns, arrays, strict=True)
    ]
    metadata = {_INDEX_KEY: json.dumps(index_name).encode()}
    return pa.table(list(arrays), schema=pa.schema(fields, metadata=metadata))


def arrow_table(
    id_name: str, ids: Any, columns: Mapping[str, Any], index_name: str | None = None
) -> pa.Table:
    """A table with metadata of Arrow arrays that never were pandas columns.

    Parameters
    ----------
    id_name, ids
        The index: "cell_id" or "gene_id", and strings.
    columns
        The other columns by name; one may have the name of the index.
    index_name
        The user's name of the index, if it has one.
    """
    arrays = [_normalized(array) for array in (ids, *columns.values())]
    # The columns of a table are chunked arrays.
    arrays = pa.Table.from_arrays(arrays, [id_name, *columns]).columns
    index = Column(id_name, None, TEXT)
    return table_with_metadata(arrays, [index, *map(_column, columns, arrays[1:])], index_name)


def to_lance(table: AnyTable, reserved: Sequence[str]) -> tuple[pa.Table, ColumnSet]:
    """A table as Lance can store it, and its columns.

    Parameters
    ----------
    table
        The index first, as `table_with_metadata` makes it. What becomes of a lazy one is lazy.
    reserved
        The format's own column names.
    """
    if isinstance(table, LazyTable):
        _, column_set = to_lance(table.first_row, reserved)
        return table.mapped(lambda rows, _: to_lance(rows, reserved)[0], "stored"), column_set
    used = {name.casefold() for name in (*reserved, table.schema.names[0])}
    columns: list[Column] = []
    fields: list[pa.Field] = []
    for position, field in enumerate(table.schema):
        name = safe_name(field.name, used) if position else field.name
        column = with_categories(column_of(field), table.column(position))
        columns.append(replace(column, name=name))
        fields.append(pa.field(name, _without_order(field.type)))
    return _recast(table, fields), ColumnSet(tuple(columns), index_name_of(table))


def with_categories(column: Column, array: pa.ChunkedArray) -> Column:
    """A column with its categories if it has no values: Lance stores no categories then."""
    if column.categories is None:
        return column
    is_empty = array.null_count == len(array)
    values = categories_of(array, column.values).to_pylist() if is_empty else None
    return replace(column, values=values)


def fill_columns(
    table: pa.Table,
    originals: Iterable[str | None],
    measured: Mapping[RowRange, Mapping[str, Sequence[Any]]],
) -> pa.Table:
    """The table with other values in some rows of columns.

    Parameters
    ----------
    table
        The table.
    originals
        The user's names of its columns.
    measured
        The values by the user's name of their column, which must not be missing, for each range of
        rows.
    """
    for at, name in enumerate(originals):
        changes = {rows: own[name] for rows, own in measured.items() if name and name in own}
        if changes:
            values = table.column(at).to_numpy().copy()
            for rows, own in changes.items():
                values[rows.start : rows.stop] = own
            field = table.schema.field(at)
            table = table.set_column(at, field, pa.array(values, field.type))
    return table


def find_names(
    names: Sequence[str], values: pa.ChunkedArray
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where some names are among values: the index of the name, and the position of the value."""
    which = pc.index_in(values.cast(pa.string()), value_set=pa.array(names, pa.string()))
    found = which.fill_null(-1).to_numpy()
    positions = np.flatnonzero(found >= 0)
    return found[positions].astype(np.int64), positions.astype(np.int64)


def from_lance(table: pa.Table, column_set: ColumnSet) -> pa.Table:
    """The user's columns of a table of a dataset, as `table_with_metadata` makes them.

    Parameters
    ----------
    table
        As `to_lance` made it; further columns are left out.
    column_set
        The user's columns.
    """
    arrays = [table.column(column.name) for column in column_set.columns]
    columns = [
        column if column.original is None else replace(column, name=column.original)
        for column in column_set.columns
    ]
    return table_with_metadata(arrays, columns, column_set.index_name)


def replace_ids(table: pa.Table, ids: Any) -> pa.Table:
    """A table with metadata, with other ids."""
    field = table.schema.field(0)
    return table.set_column(0, field, ids.cast(field.type))


def without_columns(table: pa.Table, leave_out: Callable[[str], bool]) -> pa.Table:
    """A table with metadata, without the columns whose names of the user are to be left out."""
    originals = [column_of(field).original for field in table.schema]
    return table.select(
        [at for at, name in enumerate(originals) if name is None or not leave_out(name)]
    )


def with_constants(
    table: pa.Table, columns: Mapping[str, Sequence[Any]], lengths: Sequence[int]
) -> pa.Table:
    """A table with metadata, and further columns behind its own, constant over runs of rows.

    Parameters
    ----------
    table
        The table.
    columns
        For each new column its value in each run: text, which is stored as categories, numbers or
        booleans; None where it is missing.
    lengths
        The rows of each run.
    """
    rows = pa.array(np.repeat(np.arange(len(lengths)), lengths))
    for name, values in columns.items():
        of_runs = pa.array(values)
        if not pa.types.is_primitive(of_runs.type):
            of_runs = of_runs.cast(pa.string()).dictionary_encode()
        table = with_column(table, name, pa.chunked_array([of_runs.take(rows)]))
    return table


def with_column(table: pa.Table, name: str, array: pa.ChunkedArray) -> pa.Table:
    """A table with metadata, and a further column behind its own."""
    metadata = {_KEY: json.dumps(msgspec.to_builtins(_column(name, array)))}
    return table.append_column(pa.field(name, array.type, metadata=metadata), array)


def column_of(field: pa.Field) -> Column:
    """The `Column` in the metadata of a field."""
    return _column_in(field.metadata[_KEY])


@lru_cache(maxsize=256)
def _column_in(metadata: bytes) -> Column:
    # Thousands of inputs have the same columns.
    return Column(**json.loads(metadata))


def index_name_of(table: pa.Table) -> str | None:
    """The name of the index of a table with metadata."""
    name: str | None = json.loads((table.schema.metadata or {}).get(_INDEX_KEY, b"null"))
    return name


def pandas_type(dtype: pa.DataType, *, nullable: bool) -> str:
    """The pandas type for an Arrow type."""
    if pa.types.is_string(dtype):
        return TEXT
    if not nullable or pa.types.is_temporal(dtype):
        return str(pa.array([], dtype).to_pandas().dtype)
    if pa.types.is_boolean(dtype):
        return "boolean"
    # Nullable types begin with capitals: Int64, UInt8, Float32.
    name = str(np.dtype(dtype.to_pandas_dtype()))
    return "UI" + name[2:] if name.startswith("u") else name.capitalize()


def categories_of(array: pa.ChunkedArray, values: list[Any] | None = None) -> pa.Array:
    """The categories of a column, all chunks together.

    Parameters
    ----------
    array
        The column, of a dictionary type.
    values
        `Column.values`, which take precedence.
    """
    if values:
        return pa.array(values, array.type.value_type)
    chunks = array.unify_dictionaries().chunks
    return chunks[0].dictionary if chunks else pa.array([], array.type.value_type)


def _recast(table: pa.Table, fields: list[pa.Field]) -> pa.Table:
    return pa.table(
        [column.cast(field.type) for column, field in zip(table.columns, fields, strict=True)],
        schema=pa.schema(fields),
    )


def _without_order(dtype: pa.DataType) -> pa.DataType:
    # Lance loses the flag; `Column` keeps it.
    if pa.types.is_dictionary(dtype):
        return pa.dictionary(pa.int32(), dtype.value_type)
    return dtype


def safe_name(name: str, used: set[str]) -> str:
    """A name that Lance can store and that is not in `used`, to which it is added in casefold."""
    safe = name.translate(_FORBIDDEN_CHARACTERS)
    if safe in _FORBIDDEN_NAMES or safe.casefold() in used:
        safe = f"user_{safe.lstrip('_')}"
    candidate, number = safe, 2
    while candidate.casefold() in used:
        candidate, number = f"{safe}_{number}", number + 1
    used.add(candidate.casefold())
    return candidate


def _normalized(array: Any) -> Any:
    """The array in the format's types of text and categories."""
    dtype = array.type
    if pa.types.is_dictionary(dtype):
        is_text = pa.types.is_large_string(dtype.value_type)
        values = pa.string() if is_text else dtype.value_type
        return array.cast(pa.dictionary(pa.int32(), values, ordered=dtype.ordered))
    return array.cast(pa.string()) if pa.types.is_large_string(dtype) else array


def _column(name: str, array: pa.ChunkedArray) -> Column:
    dtype = array.type
    if pa.types.is_dictionary(dtype):
        categories = pandas_type(dtype.value_type, nullable=False)
        values = categories_of(array).to_pylist() if array.null_count == len(array) else None
        return Column(name, name, "category", dtype.ordered, categories, values=values)
    return Column(name, name, pandas_type(dtype, nullable=array.null_count > 0))
