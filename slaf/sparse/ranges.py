"""Row ranges, and offsets of the rows of sparse matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "RowRange",
    "Rows",
    "as_positions",
    "estimate_indptr",
    "indptr_from_counts",
    "mask_of",
    "runs_of",
    "split_by_nnz",
]


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
        """Ranges of `size` rows, the last one of the remainder."""
        for start in range(self.start, self.stop, size):
            yield RowRange(start, min(start + size, self.stop))

    def shifted(self, by: int) -> RowRange:
        """The range moved by a number of rows, which may be negative."""
        return RowRange(self.start + by, self.stop + by)

    def overlap(self, other: RowRange) -> RowRange:
        """The rows in both ranges; an empty range if there are none."""
        start = max(self.start, other.start)
        return RowRange(start, max(start, min(self.stop, other.stop)))


# Some rows: neighbours, or their positions in any order.
Rows: TypeAlias = RowRange | NDArray[np.int64]


def as_positions(rows: Rows) -> NDArray[np.int64]:
    """The position of each of some rows."""
    return np.arange(rows.start, rows.stop) if isinstance(rows, RowRange) else rows


def indptr_from_counts(counts: NDArray[Any]) -> NDArray[np.int64]:
    """The offset of each row and the end of the last, from the entries in each row."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def split_by_nnz(indptr: NDArray[np.int64], target: int) -> Iterator[tuple[int, int]]:
    """Half-open runs of rows with about `target` entries, and at least one row."""
    first, end = 0, len(indptr) - 1
    while first < end:
        within = int(np.searchsorted(indptr, indptr[first] + target, side="right")) - 1
        last = min(max(within, first + 1), end)
        yield first, last
        first = last


def estimate_indptr(n_cells: int, step: int, entries: int) -> NDArray[np.int64]:
    """Offsets of cells 0, step, 2 * step, … and n_cells, if all cells had equally many entries."""
    cells = np.append(np.arange(0, n_cells, step), n_cells)
    indptr = (cells * (entries / max(n_cells, 1))).astype(np.int64)
    indptr[-1] = entries
    return indptr


def mask_of(ranges: Iterable[tuple[int, int]], size: int) -> NDArray[np.bool_]:
    """Whether each of so many positions is in one of some ranges ``[start, stop)``."""
    mask = np.zeros(size, np.bool_)
    for start, stop in ranges:
        mask[start:stop] = True
    return mask


def runs_of(mask: NDArray[np.bool_]) -> tuple[tuple[int, int], ...]:
    """The positions at which a mask is true, as ranges ``[start, stop)``."""
    edges = (np.flatnonzero(mask[1:] != mask[:-1]) + 1).tolist()
    if mask[:1].any():
        edges.insert(0, 0)
    if mask[-1:].any():
        edges.append(len(mask))
    return tuple(zip(edges[::2], edges[1::2], strict=True))
