"""SQL and filters over tables, by DuckDB: numbers do not wrap, and a missing value is null."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from slaf.dataset.comparisons import check_comparisons, nodes
from slaf.dataset.query_errors import explained
from slaf.errors import QueryError, SlafError
from slaf.runtime.forks import check_not_forked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import duckdb
    import polars as pl
    from numpy.typing import NDArray

    from slaf.annotations.columns import ColumnSet
    from slaf.dataset.comparisons import Kind

__all__ = ["ALIASES", "QueryTable", "is_condition", "run_query", "where"]

# Nothing but the registered tables can be read, and nothing is written.
_CLOSED: Final[dict[str, str | int | float | list[str]]] = {
    "enable_external_access": False,
    "python_enable_replacements": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "temp_directory": "",
}
# A condition on lines of its own: a comment in it ends with it.
_SELECT: Final = "SELECT (\n{}\n) AS condition FROM {}"
# A condition as DuckDB takes it for one row at a time: sums and counts are refused.
_WHERE: Final = "SELECT 1 FROM {} WHERE (\n{}\n)"
_VIEW: Final = "CREATE VIEW {} AS SELECT {} FROM {}"
# Other names of tables.
ALIASES: Final = {"obs": "cells", "var": "genes"}
_BACKTICKS: Final = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?P<name>[^`]*)`""")


@dataclass(frozen=True, slots=True)
class QueryTable:
    """A table that SQL reads.

    Attributes
    ----------
    schema
        Its columns.
    read
        Reads some columns, as often as it is called.
    nan_is_missing
        Whether NaN is a missing value, as in obs and var; else it is a value.
    columns
        The user's columns, as obs and var have them; None for other tables.
    """

    schema: pa.Schema
    read: Callable[[list[str]], pa.RecordBatchReader]
    nan_is_missing: bool = True
    columns: ColumnSet | None = None

    def names(self) -> list[str]:
        """The names by which a query may call its columns."""
        return [*self.schema.names, *self._further()]

    def _further(self) -> dict[str, str]:
        """Original names that differ from all stored names."""
        used = {name.casefold() for name in self.schema.names}
        columns = () if self.columns is None else self.columns.columns
        originals = {each.original: each.name for each in columns if each.original is not None}
        return {name: stored for name, stored in originals.items() if name.casefold() not in used}

    def is_ordered(self, stored: str) -> bool:
        """True for a column of ordered categories."""
        columns = () if self.columns is None else self.columns.columns
        return any(each.name == stored and each.ordered for each in columns)

    def chosen(self, mentioned: frozenset[str] | None) -> dict[str, str]:
        """The mentioned columns, or all, or else one: their names in SQL and their stored names."""
        further = self._further()
        names = {name: name for name in self.schema.names}
        if mentioned is not None:
            names = {n: s for n, s in (names | further).items() if n.casefold() in mentioned}
        return names or {self.schema.names[0]: self.schema.names[0]}

    def expression(self, stored: str) -> str:
        """A column in the type that queries compute with."""
        column, dtype = quoted(stored), _value_type(self.schema.field(stored).type)
        if pa.types.is_floating(dtype):
            wide = column if self.nan_is_missing else f"CAST({column} AS DOUBLE)"
            missing = f"CASE WHEN isnan({column}) THEN NULL ELSE {wide} END"
            return missing if self.nan_is_missing else wide
        if pa.types.is_uint64(dtype):
            return f"CAST({column} AS HUGEINT)"
        return f"CAST({column} AS BIGINT)" if pa.types.is_integer(dtype) else column


class _Stream:
    """Columns of a table as an Arrow stream, which DuckDB opens for each scan."""

    def __init__(self, table: QueryTable, columns: Sequence[str]) -> None:
        self._table = table
        self._columns = list(dict.fromkeys(columns))
        self.error: SlafError | None = None

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        schema = _of_names(self._table.schema, self._columns)
        schema = pa.schema([pa.field(f.name, _readable(f.type)) for f in schema])
        reader = pa.RecordBatchReader.from_batches(schema, self._batches(schema))
        return reader.__arrow_c_stream__(requested_schema)

    def _batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self._table.read(self._columns):
                columns = [
                    column.cast(dtype)
                    for column, dtype in zip(batch.columns, schema.types, strict=True)
                ]
                yield pa.RecordBatch.from_arrays(columns, schema=schema)
        except SlafError as error:
            # Of an error in a stream DuckDB keeps a text only.
            self.error = error
            raise


def run_query(tables: Mapping[str, QueryTable], sql: str) -> pl.DataFrame:
    """The result of a query.

    Parameters
    ----------
    tables
        The tables by name; `obs` and `var` are further names of `cells` and `genes`.
    sql
        One statement in the dialect of DuckDB.

    Raises
    ------
    QueryError
        If it cannot be run, or is no query.
    """
    import polars as pl

    sql = _in_double_quotes(sql)
    with _connection() as connection:
        tree = _parsed(connection, sql, tables)
        _check(tree, tables)
        streams = _register(connection, tables, _mentioned(tree))
        with _query_errors(sql, tables, streams):
            relation = connection.sql(sql)
            types, table = list(map(str, relation.types)), relation.to_arrow_table()
    columns = [_plain(column, dtype) for column, dtype in zip(table.columns, types, strict=True)]
    frame = pl.DataFrame(pa.table(columns, names=list(map(str, range(len(columns))))))
    names = _unique(table.column_names)
    frame.columns = names
    wide = [name for name, dtype in zip(names, types, strict=True) if dtype == "HUGEINT"]
    return frame.with_columns(_narrowed(frame[name]) for name in wide)


def where(name: str, table: QueryTable, condition: str) -> NDArray[np.int64]:
    """The positions of the rows for which a condition is true.

    Raises
    ------
    QueryError
        If it is not a condition on the table.
    """
    condition, tables = _in_double_quotes(condition), {name: table}
    if not condition.strip():
        msg = "it is empty; write a condition, as in n_counts > 1000"
        raise QueryError(msg)
    with _connection() as connection:
        tree = _parsed(connection, _SELECT.format(condition, name), tables, condition)
        _check(tree, tables)
        # The rows of a stream are in order: the condition itself is the result.
        streams = _register(connection, tables, _mentioned(tree))
        with _query_errors(condition, tables, streams):
            connection.sql(_WHERE.format(name, condition))
            relation = connection.sql(_SELECT.format(condition, name))
            if list(map(str, relation.types)) != ["BOOLEAN"]:
                msg = f"it has values of type {relation.types[0]}, and is not true or false"
                raise QueryError(msg)
            found = relation.to_arrow_table().column(0)
    return np.flatnonzero(found.fill_null(False).to_numpy()).astype(np.int64)  # noqa: FBT003


def is_condition(name: str, table: QueryTable, text: str) -> bool:
    """Whether a text that mentions a column is a condition on a table."""
    if not any(column.casefold() in text.casefold() for column in table.names()):
        return False
    empty = QueryTable(
        table.schema,
        lambda names: _of_names(table.schema, names).empty_table().to_reader(),
        columns=table.columns,
    )
    try:
        where(name, empty, text)
    except QueryError:
        return False
    return True


def quoted(name: str) -> str:
    """A name in double quotes, as SQL has names."""
    return '"' + name.replace('"', '""') + '"'


# ----------------------------------------------------------------------------------- the statement


def _in_double_quotes(sql: str) -> str:
    """A statement whose names in backticks are in double quotes."""

    def replaced(match: re.Match[str]) -> str:
        name = match["name"]
        return match[0] if name is None else quoted(name)

    return _BACKTICKS.sub(replaced, sql)


def _parsed(
    connection: duckdb.DuckDBPyConnection,
    sql: str,
    tables: Mapping[str, QueryTable],
    given: str | None = None,
) -> dict[str, Any] | None:
    """The syntax tree of a query; None where DuckDB has none for it.

    Parameters
    ----------
    given
        The condition that the query was made of.

    Raises
    ------
    QueryError
        If it is not one query.
    """
    with _query_errors(given or sql, tables):
        statements = connection.extract_statements(sql)
    if len(statements) != 1:
        msg = f"it has {len(statements)} statements; write one SELECT"
        raise QueryError(msg)
    kind = str(statements[0].type).rsplit(".", 1)[-1]
    if kind not in {"SELECT", "EXPLAIN"}:
        msg = f"{kind} is no query: nothing is changed by SQL; SELECT something"
        raise QueryError(msg)
    answers = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
    tree: dict[str, Any] = json.loads(answers[0][0])
    return None if tree["error"] else tree


def _mentioned(tree: dict[str, Any] | None) -> frozenset[str] | None:
    """The names that may be columns, in lower case; None for all columns."""
    names: set[str] = set()
    tables: set[str] = set()
    for node in nodes(tree):
        if node.get("class") == "STAR" or node.get("ref_type") == "NATURAL":
            return None
        names.update(name.casefold() for name in node.get("column_names", ()))
        names.update(name.casefold() for name in node.get("using_columns", ()))
        if node.get("type") == "BASE_TABLE":
            tables |= {node["table_name"].casefold(), node.get("alias", "").casefold()}
    # A table as a value is a structure of all of its columns.
    whole = any(
        len(node["column_names"]) == 1 and node["column_names"][0].casefold() in tables
        for node in nodes(tree)
        if node.get("column_names")
    )
    return None if tree is None or whole else frozenset(names)


def _check(tree: dict[str, Any] | None, tables: Mapping[str, QueryTable]) -> None:
    """Refuse comparisons that DuckDB would answer, and not as pandas does."""

    def columns(name: str) -> Iterator[tuple[QueryTable, str]]:
        for table in tables.values():
            for known, stored in table.chosen(frozenset({name.casefold()})).items():
                if known.casefold() == name.casefold():
                    yield table, stored

    def kind_of(name: str) -> Kind | None:
        kinds = {_kind(table.schema.field(stored).type) for table, stored in columns(name)}
        return None if not kinds else kinds.pop() if len(kinds) == 1 else "other"

    check_comparisons(
        tree, kind_of, lambda name: any(t.is_ordered(stored) for t, stored in columns(name))
    )


# ---------------------------------------------------------------------------------- the connection


def _connection() -> duckdb.DuckDBPyConnection:
    import duckdb

    check_not_forked()
    return duckdb.connect(":memory:", config=_CLOSED.copy())


def _register(
    connection: duckdb.DuckDBPyConnection,
    tables: Mapping[str, QueryTable],
    mentioned: frozenset[str] | None,
) -> list[_Stream]:
    """Make the tables known to SQL; their streams."""
    streams = []
    for name, table in tables.items():
        columns = table.chosen(mentioned)
        streams.append(_Stream(table, list(columns.values())))
        connection.register(f"__{name}", streams[-1])
        listed = ", ".join(f"{table.expression(s)} AS {quoted(n)}" for n, s in columns.items())
        connection.execute(_VIEW.format(quoted(name), listed, quoted(f"__{name}")))
    for alias, name in ALIASES.items():
        if name in tables:
            connection.execute(_VIEW.format(alias, "*", name))
    connection.execute("SET lock_configuration = true")
    return streams


@contextmanager
def _query_errors(
    sql: str, tables: Mapping[str, QueryTable], streams: Sequence[_Stream] = ()
) -> Iterator[None]:
    """Errors of DuckDB as errors that say the one thing that is wrong, and what to write."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        for stream in streams:
            if stream.error is not None:
                raise stream.error from None
        aliases = {alias: tables[name] for alias, name in ALIASES.items() if name in tables}
        names = {name: table.names() for name, table in (dict(tables) | aliases).items()}
        raise QueryError(explained(str(error), sql, names)) from None


# ---------------------------------------------------------------------------------- types of Arrow


def _value_type(dtype: pa.DataType) -> pa.DataType:
    return dtype.value_type if pa.types.is_dictionary(dtype) else dtype


def _kind(dtype: pa.DataType) -> Kind:
    dtype = _value_type(dtype)
    if pa.types.is_string(dtype) or pa.types.is_large_string(dtype):
        return "text"
    if pa.types.is_boolean(dtype):
        return "boolean"
    return "number" if pa.types.is_integer(dtype) or pa.types.is_floating(dtype) else "other"


def _readable(dtype: pa.DataType) -> pa.DataType:
    """A type that DuckDB reads; of categories, that of their values."""
    dtype = _value_type(dtype)
    return pa.float32() if pa.types.is_float16(dtype) else dtype


def _of_names(schema: pa.Schema, names: Sequence[str]) -> pa.Schema:
    return pa.schema([schema.field(name) for name in names])


def _plain(column: pa.ChunkedArray, dtype: str) -> pa.ChunkedArray:
    """A column of a result in the types of the tables: no decimals, intervals as durations."""
    if dtype.startswith("DECIMAL"):
        return column.cast(pa.float64())
    if dtype == "INTERVAL":
        return _durations(column)
    return column.cast(pa.int64()) if dtype.startswith("U") and "INT" in dtype else column


def _durations(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Intervals of days and shorter as durations in nanoseconds.

    Raises
    ------
    QueryError
        If one counts months, whose lengths differ.
    """
    values = column.to_pylist()
    if any(value is not None and value.months for value in values):
        msg = "an interval of months has no fixed length; select the dates instead"
        raise QueryError(msg)
    day = 24 * 3600 * 10**9
    found = [None if v is None else v.days * day + v.nanoseconds for v in values]
    return pa.chunked_array([pa.array(found, pa.duration("ns"))])


def _narrowed(column: pl.Series) -> pl.Series:
    """A column of 128-bit integers as 64-bit ones, where these hold all values."""
    import polars as pl

    wide = column.cast(pl.Int128)
    narrow = wide.cast(pl.Int64, strict=False)
    return narrow if narrow.null_count() == wide.null_count() else wide


def _unique(names: Sequence[str]) -> list[str]:
    """Names of columns, numbered where they are repeated."""
    found: list[str] = []
    for name in names:
        number, candidate = 2, name
        while candidate in found:
            candidate, number = f"{name}_{number}", number + 1
        found.append(candidate)
    return found
