"""Read rows of a table by their positions, from its data files."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from lance.file import LanceFileReader

from slaf.runtime.forks import check_not_forked
from slaf.sparse.ranges import RowRange, split_by_nnz
from slaf.tables.errors import read_errors
from slaf.tables.fragments import Fragment
from slaf.tables.read import take_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from slaf.storage.location import Location
    from slaf.tables.read import LanceTable

__all__ = ["DataFile", "FileRows", "TableRows"]


# Rows in a batch, and batches that Lance decodes ahead of the one in use. Larger or more of them
# take more memory at once, which is not in the cache of a processor: half as much CPU again.
_BATCH_ROWS = 1 << 17
_READAHEAD = 2

# Ranges with small gaps between them that start in one window are read as one range, gaps
# included, if they have many rows and are dense: that costs less than taking the rows.
_SMALL_GAP = 1 << 15
_WINDOW = 1 << 22
_MANY_ROWS = 1 << 13
_DENSE = 1 / 6

# Ranges of a batch that are slices of it, which are not copied.
_SLICES = 16

# File readers that a thread keeps open.
_MOST_OPEN = 64

# Rows of a range that is read from a bucket by the table, which keeps what it has read about the
# pages of its files; a file reader asks for that in every range again, before it asks for rows.
# A longer range would take the table more memory than a window.
_SHORT = 1 << 20


@dataclass(frozen=True, slots=True)
class DataFile:
    """A data file of a table.

    Attributes
    ----------
    name
        Relative to the dataset.
    rows
        How many it holds.
    """

    name: str
    rows: int


class FileRows:
    """Read rows of data files by their positions, in any number of threads.

    Parameters
    ----------
    location
        The dataset.
    schema
        The columns of the files.
    files
        The files with the rows, in order.
    """

    def __init__(self, location: Location, schema: pa.Schema, files: Sequence[DataFile]) -> None:
        self.schema = schema
        self._location = location
        self._files = files
        self._ends = np.cumsum([file.rows for file in files], dtype=np.int64)
        self._thread = threading.local()

    def empty(self, columns: Sequence[str]) -> pa.RecordBatch:
        """Make a batch of columns without rows."""
        return pa.RecordBatch.from_pylist([], schema=self._fields(columns))

    def read(self, ranges: NDArray[np.int64], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Read rows in order, in batches of bounded size.

        Parameters
        ----------
        ranges
            Start and stop of each range of rows, in two columns; ascending, without overlaps.
        columns
            The columns to read.

        Raises
        ------
        DamagedDataset
            If they cannot be read.
        """
        check_not_forked()
        ranges = ranges[ranges[:, 0] < ranges[:, 1]]
        bounds = _group_bounds(ranges)
        spans = ranges[bounds[1:] - 1, 1] - ranges[bounds[:-1], 0]
        n_rows = np.diff(_offsets(ranges)[bounds])
        n_read = 0
        for group in np.flatnonzero(n_rows >= np.maximum(_MANY_ROWS, _DENSE * spans)).tolist():
            first, last = bounds[group : group + 2].tolist()
            yield from self._take(ranges[n_read:first], columns)
            yield from self._read_with_gaps(ranges[first:last], columns)
            n_read = last
        yield from self._take(ranges[n_read:], columns)

    def _take(self, ranges: NDArray[np.int64], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Read ranges with few rows."""
        for at in range(len(ranges)):
            yield from self._read_with_gaps(ranges[at : at + 1], columns)

    def _read_with_gaps(
        self, ranges: NDArray[np.int64], columns: Sequence[str]
    ) -> Iterator[pa.RecordBatch]:
        """Read some ranges with the gaps between them, and yield the rows of the ranges."""
        begin, stop = int(ranges[0, 0]), int(ranges[-1, 1])
        batches = self._read_range(RowRange(begin, stop), columns)
        if len(ranges) == 1:
            yield from batches
            return
        for batch in batches:
            end = begin + batch.num_rows
            first = np.searchsorted(ranges[:, 1], begin, side="right")
            last = np.searchsorted(ranges[:, 0], end)
            within = np.clip(ranges[first:last], begin, end) - begin
            if len(within) <= _SLICES:
                yield from (batch.slice(start, stop - start) for start, stop in within.tolist())
            else:
                yield batch.take(pa.array(_positions(within)))
            begin = end

    def _read_range(self, rows: RowRange, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        first = int(np.searchsorted(self._ends, rows.start, side="right"))
        for index, file in enumerate(self._files[first:], first):
            begin = int(self._ends[index]) - file.rows
            within = rows.overlap(RowRange(begin, begin + file.rows))
            if not len(within):
                return
            yield from self._read_file(index, within.shifted(-begin), columns)

    def _read_file(
        self, index: int, rows: RowRange, columns: Sequence[str]
    ) -> Iterator[pa.RecordBatch]:
        types = self._fields(columns).types
        # Lance fetches the bytes of all of a range ahead: a window bounds them.
        for window in rows.split(_WINDOW):
            with self._read_errors(self._location.uri(self._files[index].name), window):
                batches = self._file_reader(index, columns).read_range(
                    window.start, len(window), batch_size=_BATCH_ROWS, batch_readahead=_READAHEAD
                )
                for batch in batches.to_batches():
                    if batch.schema.types != types:
                        raise ValueError(f"its columns are {batch.schema.types}, not {types}")
                    yield batch

    def _file_reader(self, index: int, columns: Sequence[str]) -> LanceFileReader:
        """Reader of a file for this thread; Lance refuses concurrent calls of one reader."""
        readers: dict[Any, LanceFileReader] = self._thread.__dict__.setdefault("readers", {})
        key = index, *columns
        if key not in readers:
            if len(readers) >= _MOST_OPEN:
                del readers[next(iter(readers))]
            readers[key] = LanceFileReader(
                self._location.uri(self._files[index].name),
                storage_options=self._location.storage_options,
                columns=list(columns),
            )
        return readers[key]

    def _fields(self, columns: Sequence[str]) -> pa.Schema:
        return pa.schema([self.schema.field(column) for column in columns])

    def _read_errors(
        self, uri: str, rows: RowRange, table: LanceTable | None = None
    ) -> AbstractContextManager[None]:
        return read_errors(uri, f"rows {rows.start:,} to {rows.stop:,} cannot be read", table)


class TableRows(FileRows):
    """Read rows of a table at its version, short ranges by `take` of Lance.

    Parameters
    ----------
    location
        The dataset.
    folder
        The directory of the table, relative to the dataset.
    table
        The table.
    """

    def __init__(self, location: Location, folder: str, table: LanceTable) -> None:
        self._fragments = table.get_fragments()
        fragments = [Fragment(one.metadata.to_json()) for one in self._fragments]
        # Rows that others deleted, or columns that they added, can be read by Lance only.
        self._is_plain = all(fragment.is_one_file for fragment in fragments)
        files = [
            DataFile(f"{folder}/{one.paths[0]}", one.rows) for one in fragments if self._is_plain
        ]
        super().__init__(location, table.schema, files)
        self._table = table

    @property
    def n_rows(self) -> int:
        """Number of rows in the table."""
        return self._table.count_rows()

    def _take(self, ranges: NDArray[np.int64], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        for first, last in split_by_nnz(_offsets(ranges), _BATCH_ROWS):
            yield from take_rows(self._table, _positions(ranges[first:last]), columns).to_batches()

    def _read_range(self, rows: RowRange, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        if self._is_plain:
            yield from super()._read_range(rows, columns)
            return
        yield from self._scan(rows, columns)

    def _read_file(
        self, index: int, rows: RowRange, columns: Sequence[str]
    ) -> Iterator[pa.RecordBatch]:
        if self._location.is_remote and len(rows) <= _SHORT:
            yield from self._scan(rows, columns, fragments=[self._fragments[index]])
        else:
            yield from super()._read_file(index, rows, columns)

    def _scan(
        self, rows: RowRange, columns: Sequence[str], **options: Any
    ) -> Iterator[pa.RecordBatch]:
        """Read a range of rows by Lance's scanner of the table, or of some fragments of it."""
        with self._read_errors(self._table.uri, rows):
            yield from self._table.scanner(
                columns=list(columns),
                offset=rows.start,
                limit=len(rows),
                batch_size=_BATCH_ROWS,
                scan_in_order=True,
                **options,
            ).to_batches()

    def _read_errors(
        self, uri: str, rows: RowRange, table: LanceTable | None = None
    ) -> AbstractContextManager[None]:
        return super()._read_errors(uri, rows, self._table if table is None else table)


def _group_bounds(ranges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Group ranges that are close to each other: start of each group, and end of the last."""
    if not len(ranges):
        return np.zeros(1, np.int64)
    starts, stops = ranges.T
    is_apart = (starts[1:] - stops[:-1] > _SMALL_GAP) | (np.diff(starts // _WINDOW) > 0)
    return np.concatenate([[0], np.flatnonzero(is_apart) + 1, [len(ranges)]])


def _offsets(ranges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of rows in the ranges before each range, and in all."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(ranges[:, 1] - ranges[:, 0])])


def _positions(ranges: NDArray[np.int64]) -> NDArray[np.int64]:
    """All positions in some ranges."""
    offsets = _offsets(ranges)
    positions = np.repeat(ranges[:, 0] - offsets[:-1], np.diff(offsets))
    positions += np.arange(len(positions))
    return positions
