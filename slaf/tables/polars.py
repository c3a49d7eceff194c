"""Read Lance tables as Polars LazyFrames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
from polars.io.plugins import register_io_source

if TYPE_CHECKING:
    from collections.abc import Iterator

    import lance

__all__ = ["as_64bit", "lazy_frame", "without_dictionaries"]

_SCAN_ROWS = 1 << 20

# Polars adds 32 bits in 32 bits, multiplies 16 in 16, and reports no overflow.
_NARROW = frozenset({pl.UInt8, pl.UInt16, pl.UInt32, pl.Int8, pl.Int16, pl.Int32})
_IDS = frozenset({"cell_integer_id", "gene_integer_id"})


def lazy_frame(table: lance.LanceDataset) -> pl.LazyFrame:
    """Make a LazyFrame that reads only the columns of a query, when it is collected.

    Categorical columns have the type of their categories.
    """
    fields = [pa.field(f.name, _plain_type(f.type)) for f in table.schema]
    schema = pl.DataFrame(pa.schema(fields).empty_table()).schema

    def read(
        columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _size: int | None
    ) -> Iterator[pl.DataFrame]:
        # A count needs no column, but Lance counts rows of one.
        names = table.schema.names if columns is None else columns or table.schema.names[:1]
        limit = n_rows if predicate is None else None
        for batch in table.scanner(columns=names, limit=limit, batch_size=_SCAN_ROWS).to_batches():
            frame = pl.DataFrame(without_dictionaries(pa.Table.from_batches([batch])))
            yield frame if predicate is None else frame.filter(predicate)

    return register_io_source(read, schema=schema)


def as_64bit(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Cast numbers to 64 bits, so that sums do not overflow; ids keep their types."""
    wide: dict[str, pl.DataType] = {}
    for name, dtype in frame.collect_schema().items():
        if dtype == pl.Float32:
            wide[name] = pl.Float64()
        elif dtype in _NARROW and name not in _IDS:
            wide[name] = pl.Int64()
    return frame.with_columns(pl.col(name).cast(dtype) for name, dtype in wide.items())


def without_dictionaries(table: pa.Table) -> pa.Table:
    """Replace every dictionary column by a column of its values."""
    fields = [pa.field(f.name, _plain_type(f.type)) for f in table.schema]
    columns = [column.cast(field.type) for column, field in zip(table.columns, fields, strict=True)]
    return pa.table(columns, schema=pa.schema(fields))


def _plain_type(dtype: pa.DataType) -> pa.DataType:
    return dtype.value_type if pa.types.is_dictionary(dtype) else dtype
