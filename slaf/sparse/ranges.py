"""The rules that a batch of cells obeys, and the only casts that data goes through.

Everything here is a pure function or a frozen value: no files, no tables, no formats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RowRange", "Rows", "as_positions", "estimate_indptr", "split_by_nnz"]


@dataclass(frozen=True, slots=True, order=True)
class RowRange:
    """The half-open range of rows ``[start, stop)``."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.stop:
            msg = f"not a range of rows: [{self.start}, {self.stop})"
            raise ValueError(msg)

    def __len__(self) -> int:
        return self.stop - self.start

    def split(self, size: int) -> Iterator[RowRange]:
        """Cut into ranges of `size` rows, the last one of what is left."""
        for start in range(self.start, self.stop, size):
            yield RowRange(start, min(start + size, self.stop))

    def shifted(self, by: int) -> RowRange:
        """As many rows, so much further on; before, if it is negative."""
        return RowRange(self.start + by, self.stop + by)

    def overlap(self, other: RowRange) -> RowRange:
        """The rows that are in both; an empty range if there are none."""
        start = max(self.start, other.start)
        return RowRange(start, max(start, min(self.stop, other.stop)))


# Some rows: neighbours, or their positions in any order.
Rows: TypeAlias = RowRange | NDArray[np.int64]


def as_positions(rows: Rows) -> NDArray[np.int64]:
    """The position of each of some rows."""
    return np.arange(rows.start, rows.stop) if isinstance(rows, RowRange) else rows


def split_by_nnz(offsets: NDArray[np.int64], target: int) -> Iterator[tuple[int, int]]:
    """Cut rows, of which these are the offsets, into runs of about `target` entries.

    A run is of one row at the least, and the rows of each are half-open.
    """
    first, end = 0, len(offsets) - 1
    while first < end:
        within = int(np.searchsorted(offsets, offsets[first] + target, side="right")) - 1
        last = min(max(within, first + 1), end)
        yield first, last
        first = last


def estimate_indptr(n_cells: int, step: int, entries: int) -> NDArray[np.int64]:
    """Entries before cells 0, step, 2 * step, …, and n_cells: as if each cell had as many."""
    before = np.append(np.arange(0, n_cells, step), n_cells)
    found = (before * (entries / max(n_cells, 1))).astype(np.int64)
    found[-1] = entries
    return found
