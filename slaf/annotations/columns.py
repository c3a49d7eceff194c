"""How a user's columns are named and described in a Lance table, so that they can be given back.

A table's Arrow fields carry what Arrow has no word for in their metadata under `slaf`, as JSON,
on the way from a source to the dataset; config.json keeps it from then on.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import numpy as np
import pyarrow as pa
from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "STRING",
    "Column",
    "ColumnSet",
    "arrow_table",
    "column_of",
    "from_lance",
    "index_name_of",
    "pandas_type",
    "replace_ids",
    "safe_name",
    "table_with_metadata",
    "to_lance",
]

# How a `Column` writes pandas' string types begins so: the storage behind them follows.
STRING: Final = "string["
_KEY = b"slaf"
_INDEX_KEY = b"slaf_index"

# Lance refuses these as names of columns, or cannot read them back.
_FORBIDDEN_NAMES = frozenset(
    {
        "",
        "_rowid",
        "_rowaddr",
        "_rowoffset",
        "_row_created_at_version",
        "_row_last_updated_at_version",
    }
)
_FORBIDDEN_CHARACTERS = str.maketrans(dict.fromkeys(".`\0", "_"))


class Column(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A column of a table as it was in the user's frame.

    Attributes
    ----------
    name
        The column of the Lance table.
    original
        The user's name for it; None for the index.
    dtype
        The pandas type, as pandas writes it.
    ordered
        Whether the categories have an order.
    categories
        The pandas type of the categories, where there are some.
    missing
        The value of a missing string: "None", "nan" or "NA".
    values
        The categories themselves, of a column in which no row has one: Lance stores none then.
    """

    name: str
    original: str | None
    dtype: str
    ordered: bool = False
    categories: str | None = None
    missing: str | None = None
    values: list[Any] | None = None


class ColumnSet(msgspec.Struct, frozen=True):
    """The columns of `cells` or `genes` as they were in the user's obs or var, the index first."""

    columns: Annotated[tuple[Column, ...], msgspec.Meta(min_length=1)]
    index_name: str | None = None


def table_with_metadata(
    arrays: Sequence[pa.Array], columns: Sequence[Column], index_name: str | None
) -> pa.Table:
    """A table whose fields say what their columns were.

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
    """A table of Arrow arrays that never were pandas columns.

    Parameters
    ----------
    id_name, ids
        The index: "cell_id" or "gene_id", and strings.
    columns
        The others by name, of which one may be called like the index.
    index_name
        What the index was called, if it had a name.
    """
    arrays = [_normal(array) for array in (ids, *columns.values())]
    described = [Column(id_name, None, "object")]
    described += [_of_arrow(name, array) for name, array in zip(columns, arrays[1:], strict=True)]
    return table_with_metadata(arrays, described, index_name)


def to_lance(table: pa.Table, taken: Iterable[str]) -> tuple[pa.Table, ColumnSet]:
    """A table as Lance can hold it, and what its columns were.

    Parameters
    ----------
    table
        The index first, as `described_table` makes it.
    taken
        Names that the format itself uses.
    """
    used = {name.casefold() for name in taken}
    columns: list[Column] = []
    fields: list[pa.Field] = []
    for position, field in enumerate(table.schema):
        column = column_of(field)
        name = field.name if position == 0 else safe_name(field.name, used)
        used.add(name.casefold())
        columns.append(replace(column, name=name))
        fields.append(pa.field(name, _without_order(field.type)))
    return _recast(table, fields), ColumnSet(tuple(columns), index_name_of(table))


def from_lance(table: pa.Table, described: ColumnSet) -> pa.Table:
    """The user's columns of a table of a dataset, as `described_table` makes them.

    Parameters
    ----------
    table
        As `stored` made it; it may hold other columns too.
    described
        What its columns were.
    """
    arrays = [table.column(column.name) for column in described.columns]
    columns = [
        column if column.original is None else replace(column, name=column.original)
        for column in described.columns
    ]
    return table_with_metadata(arrays, columns, described.index_name)


def replace_ids(table: pa.Table, ids: Any) -> pa.Table:
    """A described table with other ids."""
    field = table.schema.field(0)
    return table.set_column(0, field, ids.cast(field.type))


def column_of(field: pa.Field) -> Column:
    """The description of a column that a field of a table carries."""
    return msgspec.convert(json.loads(field.metadata[_KEY]), Column)


def index_name_of(table: pa.Table) -> str | None:
    """What the index of a described table was called."""
    name: str | None = json.loads((table.schema.metadata or {}).get(_INDEX_KEY, b"null"))
    return name


def pandas_type(dtype: pa.DataType, *, nullable: bool) -> str:
    """The pandas type that says the most of an Arrow type."""
    if pa.types.is_string(dtype):
        return "object"
    if not nullable or pa.types.is_temporal(dtype):
        return str(pa.array([], dtype).to_pandas().dtype)
    if pa.types.is_boolean(dtype):
        return "boolean"
    # Int64 has missing values, int64 has none; UInt8, Float32 and so on.
    name = str(np.dtype(dtype.to_pandas_dtype()))
    return "UI" + name[2:] if name.startswith("u") else name.capitalize()


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
    """The name under which Lance can hold a column, none of these that are taken (in casefold)."""
    safe = name.translate(_FORBIDDEN_CHARACTERS)
    if safe in _FORBIDDEN_NAMES or safe.casefold() in used:
        safe = f"user_{safe.lstrip('_')}"
    candidate, number = safe, 2
    while candidate.casefold() in used:
        candidate, number = f"{safe}_{number}", number + 1
    return candidate


def _normal(array: Any) -> Any:
    """The array in the types that the format stores text and categories in."""
    dtype = array.type
    if pa.types.is_dictionary(dtype):
        text = pa.types.is_large_string(dtype.value_type)
        values = pa.string() if text else dtype.value_type
        return array.cast(pa.dictionary(pa.int32(), values, ordered=dtype.ordered))
    return array.cast(pa.string()) if pa.types.is_large_string(dtype) else array


def _of_arrow(name: str, array: Any) -> Column:
    dtype = array.type
    if pa.types.is_dictionary(dtype):
        categories = pandas_type(dtype.value_type, nullable=False)
        values = _dictionary(array) if array.null_count == len(array) else None
        return Column(name, name, "category", dtype.ordered, categories, values=values)
    return Column(name, name, pandas_type(dtype, nullable=array.null_count > 0))


def _dictionary(array: Any) -> list[Any]:
    chunks = array.unify_dictionaries().chunks if hasattr(array, "chunks") else [array]
    values: list[Any] = chunks[0].dictionary.to_pylist() if chunks else []
    return values
