"""Tables whose rows are made whenever they are read, some at a time: they take no memory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import pyarrow as pa

from slaf.sparse.ranges import RowRange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

__all__ = [
    "PIECE_ROWS",
    "AnyColumn",
    "AnyTable",
    "LazyColumn",
    "LazyTable",
    "equal_tables",
    "id_column",
]

# The rows that are made at a time, and make a page of a column: as many as are read at once, for of
# several pages Lance would concatenate the equal categories.
PIECE_ROWS: Final = 1 << 16


@dataclass(frozen=True)
class LazyTable:
    """A table that follows from little, as the bins of contigs do.

    Attributes
    ----------
    num_rows
        The number of its rows.
    content
        Text from which its rows follow: tables of equal content are equal.
    make
        Makes the rows at some positions, of one schema: none of their values are missing, and
        columns of categories have all of them.
    """

    num_rows: int
    content: str
    make: Callable[[NDArray[np.int64]], pa.Table] = field(compare=False, repr=False)

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns."""
        return self.first_row.schema

    @property
    def first_row(self) -> pa.Table:
        """The first row; nothing of a table without rows."""
        return self.rows(RowRange(0, min(self.num_rows, 1)))

    @property
    def column_names(self) -> list[str]:
        """The names of the columns."""
        return list(self.schema.names)

    @property
    def nbytes(self) -> int:
        """The memory that all rows would take, as far as the first tell."""
        first = min(self.num_rows, PIECE_ROWS)
        return int(self.rows(RowRange(0, first)).nbytes * self.num_rows / max(first, 1))

    def rows(self, rows: RowRange) -> pa.Table:
        """Some neighbouring rows."""
        return self.make(np.arange(rows.start, rows.stop))

    def pieces(self) -> Iterator[pa.Table]:
        """All rows, some at a time, in order; one piece without rows if there are none."""
        for start in range(0, max(self.num_rows, 1), PIECE_ROWS):
            yield self.rows(RowRange(start, min(start + PIECE_ROWS, self.num_rows)))

    def whole(self) -> pa.Table:
        """All rows."""
        return pa.concat_tables(self.pieces())

    def column(self, index: int) -> LazyColumn:
        """A column."""
        return LazyColumn(self, index)

    def mapped(
        self, change: Callable[[pa.Table, NDArray[np.int64]], pa.Table], name: str
    ) -> LazyTable:
        """The table whose rows are changed when they are made.

        Parameters
        ----------
        change
            The changed rows, of the rows and their positions.
        name
            Text that tells this change from others.
        """
        make = self.make
        content = f"{self.content} {name}"
        return replace(self, content=content, make=lambda at: change(make(at), at))


@dataclass(frozen=True, slots=True)
class LazyColumn:
    """A column of a table whose rows are made when they are read."""

    table: LazyTable
    index: int

    def __len__(self) -> int:
        return self.table.num_rows

    def take(self, positions: NDArray[np.int64]) -> pa.ChunkedArray:
        """The values at some positions."""
        return self.table.make(positions).column(self.index)

    def to_array(self) -> pa.Array:
        """All values."""
        pieces = (piece.column(self.index) for piece in self.table.pieces())
        return pa.concat_arrays([chunk for piece in pieces for chunk in piece.chunks])


# A table, or a column of one, in memory or not.
AnyTable: TypeAlias = pa.Table | LazyTable
AnyColumn: TypeAlias = pa.Array | LazyColumn


def id_column(table: AnyTable) -> AnyColumn:
    """The ids of the rows of a table, its first column."""
    ids = table.column(0)
    if isinstance(ids, pa.ChunkedArray):
        # A single chunk is not combined: that would be a copy.
        return ids.chunk(0) if ids.num_chunks == 1 else ids.combine_chunks()
    return ids


def equal_tables(one: AnyTable, other: AnyTable) -> bool:
    """True for two tables with the same rows and metadata."""
    if isinstance(one, LazyTable):
        return one == other if isinstance(other, LazyTable) else _equals_lazy(other, one)
    if isinstance(other, LazyTable):
        return _equals_lazy(one, other)
    return bool(one.equals(other, check_metadata=True))


def _equals_lazy(table: pa.Table, lazy: LazyTable) -> bool:
    if table.num_rows != lazy.num_rows or table.column_names != lazy.column_names:
        return False
    slices = (table.slice(at, PIECE_ROWS) for at in range(0, max(table.num_rows, 1), PIECE_ROWS))
    return all(map(_equal_rows, slices, lazy.pieces()))


def _equal_rows(one: pa.Table, other: pa.Table) -> bool:
    # Chunks and unused categories do not matter to what is stored, but metadata do.
    one, other = (each.unify_dictionaries().combine_chunks() for each in (one, other))
    return bool(one.equals(other, check_metadata=True))
