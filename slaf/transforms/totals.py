"""Totals of cells or of genes, of one pass over a matrix, or of none where they are known."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.sources.matrix import positive_counts
from slaf.sparse.ranges import RowRange
from slaf.sparse.reduce import Count, Slots, Sum, accumulate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from slaf.sources.matrix import Matrix
    from slaf.sparse.batch import Batch
    from slaf.sparse.reduce import Accumulator

__all__ = ["Totals"]


class Totals:
    """The totals of all cells, or all genes; the matrix is read when one is asked for.

    Parameters
    ----------
    matrix
        The matrix.
    axis
        The axis that vanishes: 1 for the totals of cells, 0 for those of genes.
    masks
        For each name, which genes are summed in each cell.
    sums
        Whether sums are asked for, and not only the numbers of values.
    """

    def __init__(
        self,
        matrix: Matrix,
        axis: int,
        masks: Mapping[str, NDArray[np.bool_]] | None = None,
        *,
        sums: bool = True,
    ) -> None:
        self._matrix = matrix
        self._axis = axis
        self._sums = sums
        self._slots = {"sum": Slots.of_axis(axis, matrix.shape)} | {
            f"mask {name}": Slots((matrix.shape[0], 1), "each", np.where(mask, 0, -1))
            for name, mask in (masks or {}).items()
        }

    def __len__(self) -> int:
        return self._slots["sum"].size

    @property
    def total_counts(self) -> NDArray[Any]:
        """The sums of values, as `slaf.sparse.reduce.Sum` has them."""
        sums: NDArray[Any] = self._found["sum"].result
        return sums

    def masked(self, name: str) -> NDArray[Any]:
        """The sums of the values of each cell in the genes of a mask."""
        sums: NDArray[Any] = self._found[f"mask {name}"].result
        return sums

    @cached_property
    def n_positive(self) -> NDArray[np.int64]:
        """The numbers of values above zero."""
        # The numbers of genes take a pass over their ids, which the pass for sums makes needless.
        is_best = self._axis == 1 or not self._sums
        known = positive_counts(self._matrix, self._axis) if is_best else None
        counts: NDArray[np.int64] = self._found["n"].result if known is None else known
        return counts

    @cached_property
    def _found(self) -> Mapping[str, Any]:
        if self._sums:
            return accumulate(self._batches, self._accumulators)[0]
        counts = Count(self._slots["sum"], positive=True)
        for batch in self._batches():
            counts.add(batch, batch.values)
        return {"n": counts}

    def _batches(self) -> Iterator[Batch]:
        return self._matrix.batches(RowRange(0, self._matrix.shape[0]))

    def _accumulators(self, is_whole: bool) -> dict[str, Accumulator]:  # noqa: FBT001
        sums = {name: Sum(slots, is_whole=is_whole) for name, slots in self._slots.items()}
        return {"n": Count(self._slots["sum"], positive=True), **sums}
