"""Read Lance tables as Polars LazyFrames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from polars.io.plugins import register_io_source

from slaf.runtime.forks import check_not_forked
from slaf.tables.errors import read_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    import lance

__all__ = ["lazy_frame"]

_SCAN_ROWS = 1 << 20
_LARGEST = 2**63 - 1

# Polars adds 32 bits in 32 bits, multiplies 16 in 16, and reports no overflow.
_NARROW = frozenset({pl.UInt8, pl.UInt16, pl.UInt32, pl.Int8, pl.Int16, pl.Int32})
_WIDE = frozenset({pl.Int64, pl.UInt64})


def lazy_frame(table: lance.LanceDataset, *, nan_is_missing: bool) -> pl.LazyFrame:
    """Make a LazyFrame that reads only the columns of a query, when it is collected.

    Categorical columns have the type of their categories. Whole numbers are signed, of 64 bits; of
    128 where 64 do not hold a sum of the column.

    Parameters
    ----------
    table
        The table.
    nan_is_missing
        Whether NaN becomes null.
    """
    check_not_forked()
    plain = pa.schema([pa.field(f.name, _plain_type(f.type)) for f in table.schema])
    schema = dict(pl.DataFrame(plain.empty_table()).schema)
    for name, dtype in schema.items():
        if dtype in _NARROW or (dtype in _WIDE and _sum_fits(table, name)):
            schema[name] = pl.Int64()
        elif dtype in _WIDE:
            schema[name] = pl.Int128()
    floats = [name for name, dtype in schema.items() if nan_is_missing and dtype.is_float()]

    def read(
        columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _size: int | None
    ) -> Iterator[pl.DataFrame]:
        check_not_forked()
        # A count needs no column, but Lance counts rows of one.
        names = table.schema.names if columns is None else columns or table.schema.names[:1]
        limit = n_rows if predicate is None else None
        for batch in table.scanner(columns=names, limit=limit, batch_size=_SCAN_ROWS).to_batches():
            frame = pl.DataFrame(_without_dictionaries(pa.Table.from_batches([batch])))
            frame = frame.cast({name: schema[name] for name in names})
            frame = frame.with_columns(pl.col(n).fill_nan(None) for n in floats if n in names)
            yield frame if predicate is None else frame.filter(predicate)

    return register_io_source(read, schema=schema)


def _sum_fits(table: lance.LanceDataset, name: str) -> bool:
    """Whether 64 bits hold the sum of all values of a column, whichever rows are added."""
    largest = 0
    with read_errors(table.uri, table=table):
        for batch in table.scanner(columns=[name]).to_batches():
            extremes = pc.min_max(batch.column(0)).as_py()
            largest = max(largest, *(abs(value or 0) for value in extremes.values()))
    return largest * max(table.count_rows(), 1) <= _LARGEST


def _without_dictionaries(table: pa.Table) -> pa.Table:
    """Replace every dictionary column by a column of its values."""
    fields = [pa.field(f.name, _plain_type(f.type)) for f in table.schema]
    columns = [column.cast(field.type) for column, field in zip(table.columns, fields, strict=True)]
    return pa.table(columns, schema=pa.schema(fields))


def _plain_type(dtype: pa.DataType) -> pa.DataType:
    return dtype.value_type if pa.types.is_dictionary(dtype) else dtype
