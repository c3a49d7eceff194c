"""Draw cells, and draw counts within cells, by a seed and the ids of cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.sparse.ranges import indptr_from_counts
from slaf.sparse.reduce import row_sums
from slaf.transforms.base import UnfitValue, ValueStep
from slaf.transforms.cell_keys import cell_keys, mixed
from slaf.transforms.normalize import check_not_negative

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa
    from numpy.typing import NDArray

    from slaf.sparse.batch import Batch

__all__ = ["DownsampleCounts", "drawn"]

# An odd number: of different counts of a cell, other numbers.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)

# Counts of a cell that are numbered at a time, and the most that a cell may have.
_PIECE = 1 << 20
_MOST = 1 << 28


def drawn(keys: NDArray[np.uint64], n: int) -> NDArray[np.int64]:
    """The positions of the `n` cells with the smallest numbers, in order.

    Of cells with one id, which have one number, the first are drawn.
    """
    return np.sort(np.argsort(keys, kind="stable")[:n])


@dataclass(frozen=True)
class DownsampleCounts(ValueStep):
    """Counts of each cell, drawn without replacement until it has no more than so many.

    Attributes
    ----------
    counts_per_cell
        The most counts; a cell that has no more is unchanged.
    seed
        Another seed draws others.
    """

    counts_per_cell: int = 0
    seed: int = 0

    def dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """The type does not change."""
        return dtype

    def keys(self, ids: Callable[[], pa.ChunkedArray], prefix: str) -> NDArray[np.uint64]:
        """A number for each cell, of the seed and its id."""
        return cell_keys(ids(), self.seed, prefix)

    def apply(self, batch: Batch, dtype: np.dtype[Any], keys: NDArray[np.uint64]) -> NDArray[Any]:
        """The counts that are drawn."""
        del dtype
        whole = _whole(batch)
        totals, starts = row_sums(batch.counts, whole), indptr_from_counts(batch.counts)
        drawn: NDArray[Any] = batch.values.copy()
        for row in np.flatnonzero(totals > self.counts_per_cell).tolist():
            start, stop = int(starts[row]), int(starts[row + 1])
            if totals[row] > _MOST:
                reason = f"in a cell with {totals[row]:,} counts; cells of more than {_MOST:,} "
                raise UnfitValue(start, f"{reason}are not downsampled: leave it out")
            drawn[start:stop] = _draw(whole[start:stop], self.counts_per_cell, keys[row])
        return drawn


def _draw(counts: NDArray[np.int64], n: int, key: np.uint64) -> NDArray[np.int64]:
    """Draw `n` of these counts, each with the same chance."""
    ends = np.cumsum(counts)
    total = int(ends[-1])
    if not n:
        return np.zeros_like(counts)
    smallest = np.empty(0, np.uint64)
    for start in range(0, total, _PIECE):
        numbers = np.concatenate([smallest, _numbers(key, start, min(start + _PIECE, total))])
        smallest = np.partition(numbers, n - 1)[:n] if len(numbers) > n else numbers
    largest = smallest.max()
    kept = [np.zeros(0, np.int64)]
    for start in range(0, total, _PIECE):
        numbers = _numbers(key, start, min(start + _PIECE, total))
        kept.append(np.flatnonzero(numbers <= largest) + start)
    of_genes = np.searchsorted(ends, np.concatenate(kept), side="right")
    return np.bincount(of_genes, minlength=len(counts))


def _numbers(key: np.uint64, start: int, stop: int) -> NDArray[np.uint64]:
    return mixed(key + np.arange(start + 1, stop + 1, dtype=np.uint64) * _GOLDEN)


def _whole(batch: Batch) -> NDArray[np.int64]:
    """The values as whole numbers.

    Raises
    ------
    UnfitValue
        If one is none, or negative.
    """
    check_not_negative(batch)
    values = batch.values
    fits = np.ones(len(values), np.bool_)
    if values.dtype.kind == "f":
        fits = (values == np.floor(values)) & (values <= _MOST)
    elif values.dtype.itemsize > 4:  # noqa: PLR2004 - smaller ones fit int64, and their sums
        fits = values <= _MOST
    if not fits.all():
        reason = f"but only counts, whole numbers up to {_MOST:,}, are drawn; choose their layer"
        raise UnfitValue(int(np.argmin(fits)), reason)
    return values.astype(np.int64)
