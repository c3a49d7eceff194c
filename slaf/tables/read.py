"""Reading Lance tables at a pinned version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lance
import numpy as np

from slaf.errors import DamagedDataset

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from slaf.arrays import RowRange
    from slaf.storage import Location

__all__ = [
    "data_files",
    "index_names",
    "newest_version",
    "open_table",
    "read_table",
    "rows_of",
    "scan",
    "take_rows",
]

_SCAN_ROWS = 1 << 20
# From here on a scan of a range costs less than asking for its rows one by one.
_LONG_RANGE = 1 << 16
_MOST_SHORT = 512


def open_table(location: Location, name: str, version: int) -> lance.LanceDataset:
    """A table as of a version.

    Raises
    ------
    DamagedDataset
        If the table, or that version of it, is not there.
    """
    try:
        return lance.dataset(location.uri(name), version=version)
    except (OSError, ValueError) as error:
        msg = f"{location}: version {version} of {name} cannot be opened ({error})"
        raise DamagedDataset(msg) from error


def newest_version(location: Location, name: str) -> int:
    """The newest version of a table.

    Raises
    ------
    DamagedDataset
        If the table is not there.
    """
    try:
        return int(lance.dataset(location.uri(name)).version)
    except (OSError, ValueError) as error:
        msg = f"{location}: {name} cannot be opened ({error})"
        raise DamagedDataset(msg) from error


def read_table(table: lance.LanceDataset, columns: Sequence[str] | None = None) -> pa.Table:
    """All rows of a table that fits in memory; of all columns, or of these.

    Raises
    ------
    DamagedDataset
        If they cannot be read.
    """
    try:
        return table.to_table(None if columns is None else list(columns))
    except (OSError, ValueError) as error:
        msg = f"{table.uri}: cannot be read ({error})"
        raise DamagedDataset(msg) from error


def take_rows(
    table: lance.LanceDataset, offsets: NDArray[np.int64], columns: Sequence[str]
) -> pa.Table:
    """The rows at these offsets, in this order.

    Raises
    ------
    DamagedDataset
        If they cannot be read.
    """
    try:
        # A list: pylance converts an Arrow array three times slower.
        return table.take(offsets.tolist(), columns=list(columns))
    except (OSError, ValueError) as error:
        msg = f"{table.uri}: {len(offsets):,} rows cannot be read ({error})"
        raise DamagedDataset(msg) from error


def index_names(table: lance.LanceDataset) -> set[str]:
    """The columns that have an index."""
    return {column for found in table.describe_indices() for column in found.field_names}


def data_files(table: lance.LanceDataset) -> Iterator[tuple[str, int | None]]:
    """The files that hold a table's rows, below its directory, and the bytes each must have."""
    for fragment in table.get_fragments():
        for file in fragment.data_files():
            yield f"data/{file.path}", file.file_size_bytes


def scan(
    table: lance.LanceDataset,
    rows: RowRange,
    columns: Sequence[str],
    where: str | None = None,
) -> Iterator[pa.RecordBatch]:
    """Rows at these offsets, in order, in batches.

    Raises
    ------
    DamagedDataset
        If they cannot be read.
    """
    if not len(rows):
        return
    scanner = table.scanner(
        columns=list(columns),
        offset=rows.start,
        limit=len(rows),
        filter=where,
        batch_size=_SCAN_ROWS,
        scan_in_order=True,
    )
    try:
        yield from scanner.to_batches()
    except (OSError, ValueError) as error:
        msg = f"{table.uri}: rows {rows.start:,} to {rows.stop:,} cannot be read ({error})"
        raise DamagedDataset(msg) from error


def rows_of(
    table: lance.LanceDataset, ranges: Sequence[RowRange], columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """The rows of several ranges, one after the other, in batches.

    Long ranges are read as such; of many short ones, neighbours are asked for together.

    Raises
    ------
    DamagedDataset
        If they cannot be read.
    """
    short: list[RowRange] = []
    for rows in ranges:
        if len(rows) >= _LONG_RANGE:
            yield from _take(table, short, columns)
            short = []
            yield from scan(table, rows, columns)
            continue
        short.append(rows)
        if len(short) >= _MOST_SHORT:
            yield from _take(table, short, columns)
            short = []
    yield from _take(table, short, columns)


def _take(
    table: lance.LanceDataset, ranges: Sequence[RowRange], columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    offsets = np.concatenate([np.empty(0, np.int64), *(np.arange(r.start, r.stop) for r in ranges)])
    if len(offsets):
        yield from take_rows(table, offsets, columns).to_batches()
