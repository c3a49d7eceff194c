"""Runs of equal depth: from blocks, per base, added, and summed in intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from slaf.sparse.ranges import RowRange

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Runs", "add_runs", "merge_sums", "sum_in_bins", "sum_in_intervals", "sweep"]

# Runs that are cut into bins at once.
_PIECE = 1 << 16


class Runs(NamedTuple):
    """Runs of bases of one depth, which is not zero: ascending, apart, as long as they can be.

    Attributes
    ----------
    start, length, depth
        The first base, the number of bases, and the number of blocks that cover each.
    """

    start: NDArray[np.uint32]
    length: NDArray[np.uint32]
    depth: NDArray[np.uint32]

    @property
    def stop(self) -> NDArray[np.int64]:
        """The base after the last."""
        return self.start.astype(np.int64) + self.length

    def within(self, start: int, stop: int) -> Runs:
        """The parts in a range of bases, counted from its first."""
        low, high = np.maximum(self.start, start), np.minimum(self.stop, stop)
        at = np.flatnonzero(low < high)
        low = low[at]
        return Runs(
            (low - start).astype(np.uint32), (high[at] - low).astype(np.uint32), self.depth[at]
        )

    def dense(self, n_bases: int) -> NDArray[np.uint32]:
        """The depth of each of so many bases."""
        ends = np.append(0, self.stop)
        lengths = np.empty(2 * len(self.start) + 1, np.int64)
        lengths[0::2] = np.append(self.start, n_bases) - ends
        lengths[1::2] = self.length
        depth = np.zeros(len(lengths), np.uint32)
        depth[1::2] = self.depth
        return np.repeat(depth, lengths)


def add_runs(runs: Sequence[Runs]) -> Runs:
    """The runs of the sums of depth, as of both strands."""
    if len(runs) == 1:
        return runs[0]
    positions = np.unique(np.concatenate([*(one.start for one in runs), *(o.stop for o in runs)]))
    depth = np.zeros(len(positions), np.int64)
    for one in runs:
        steps = np.zeros(len(positions), np.int64)
        steps[np.searchsorted(positions, one.start)] += one.depth
        steps[np.searchsorted(positions, one.stop)] -= one.depth
        depth += np.cumsum(steps)
    return _from_depth(positions, depth)


def sweep(starts: NDArray[np.int32], ends: NDArray[np.int32]) -> Runs:
    """The runs of some blocks ``[start, end)``, in any order.

    Takes memory by the number of blocks, not by the length of the contig.

    Examples
    --------
    >>> import numpy
    >>> runs = sweep(numpy.array([0, 2], "i4"), numpy.array([4, 6], "i4"))
    >>> [column.tolist() for column in runs]
    [[0, 2, 4], [2, 2, 2], [1, 2, 1]]
    """
    starts, ends = np.sort(starts), np.sort(ends)
    # Two sorted arrays one after the other are merged by a stable sort.
    positions = np.sort(np.concatenate([starts, ends]), kind="stable")
    positions = positions[np.diff(positions, prepend=-1) != 0]
    started = np.searchsorted(starts, positions, side="right")
    depth = started - np.searchsorted(ends, positions, side="right")
    return _from_depth(positions, depth)


def _from_depth(positions: NDArray[Any], depth: NDArray[np.int64]) -> Runs:
    """The runs of a depth that holds from each position to the next, and is zero at last."""
    # Where one block ends and another starts, the depth goes on.
    changed = np.flatnonzero(np.diff(depth, prepend=0))
    positions, depth = positions[changed], depth[changed]
    covered = np.flatnonzero(depth)
    start = positions[covered]
    return Runs(
        start.astype(np.uint32),
        (positions[covered + 1] - start).astype(np.uint32),
        depth[covered].astype(np.uint32),
    )


def sum_in_intervals(
    runs: Runs, starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The sum of the depth of all bases in each of some intervals, which may overlap."""
    return _sum_before(runs, ends) - _sum_before(runs, starts)


def _sum_before(runs: Runs, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """The sum of the depth of all bases before each position."""
    if not len(runs.start):
        return np.zeros(len(positions), np.int64)
    areas = np.cumsum(runs.length * runs.depth.astype(np.int64))
    at = np.searchsorted(runs.start, positions, side="right") - 1
    inside = np.minimum(positions - runs.start[at], runs.length[at])
    last = areas[at] - (runs.length[at] - inside) * runs.depth[at].astype(np.int64)
    return np.where(at < 0, 0, last)


def sum_in_bins(runs: Runs, bin_size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The sums of depth in bins of equal size, where they are not zero.

    Returns
    -------
    tuple
        Bins, counted from the first of the contig, ascending; and their sums.
    """
    pieces = [
        _sum_piece(Runs(*(column[piece.start : piece.stop] for column in runs)), bin_size)
        for piece in RowRange(0, len(runs.start)).split(_PIECE)
    ]
    # A bin may have runs of two pieces.
    return merge_sums(pieces)


def merge_sums(
    pieces: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One ascending list of bins and sums of several."""
    empty = np.empty(0, np.int64)
    bins = np.concatenate([empty, *(bins for bins, _ in pieces)])
    sums = np.concatenate([empty, *(sums for _, sums in pieces)])
    order = np.argsort(bins, kind="stable")
    bins, sums = bins[order], sums[order]
    is_new = np.flatnonzero(np.diff(bins, prepend=-1))
    return (bins[is_new], np.add.reduceat(sums, is_new)) if len(bins) else (bins, sums)


def _sum_piece(runs: Runs, bin_size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    start, depth = runs.start.astype(np.int64), runs.depth.astype(np.int64)
    stop = start + runs.length
    first = start // bin_size
    n_bins = (stop - 1) // bin_size - first + 1
    run = np.repeat(np.arange(len(start)), n_bins)
    bins = np.arange(len(run)) - np.repeat(np.cumsum(n_bins) - n_bins, n_bins) + first[run]
    low = np.maximum(start[run], bins * bin_size)
    high = np.minimum(stop[run], (bins + 1) * bin_size)
    is_new = np.flatnonzero(np.diff(bins, prepend=-1))
    return bins[is_new], np.add.reduceat((high - low) * depth[run], is_new)
