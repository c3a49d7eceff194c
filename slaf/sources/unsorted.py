"""Entries in any order as a Matrix, sorted by cell in scratch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from slaf.sparse.external_sort import ExternalSort
from slaf.sparse.ranges import estimate_indptr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from slaf.options import ReadOptions
    from slaf.sources.matrix import MatrixSize
    from slaf.sparse.buckets import Coo

__all__ = ["UnsortedMatrix"]


class UnsortedMatrix(ExternalSort):
    """A matrix read by ranges of cells, of entries in any order.

    Parameters
    ----------
    shape
        Cells and genes.
    dtype
        The type of the values.
    size
        The number of entries, or its upper bound.
    entries
        Reads all entries, in pieces of at most its argument.
    options
        The memory for sorting, and the scratch directory.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        dtype: np.dtype[Any],
        size: MatrixSize,
        entries: Callable[[int], Iterator[Coo]],
        options: ReadOptions,
    ) -> None:
        super().__init__(
            shape,
            dtype,
            size.entries,
            entries,
            memory=options.memory_budget,
            readers=options.readers,
            scratch=options.scratch,
        )
        least, most = self.scratch_bytes()
        memory = self.memory_bytes()
        self.size = replace(size, least_scratch=least, scratch=most, memory=memory)

    def sample_values(self) -> NDArray[Any]:
        """The first values in the order of the input."""
        return self.first_values()

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:
        """Entries before cells 0, step, 2 * step, …, and n_cells: as if spread evenly."""
        return estimate_indptr(self.shape[0], step, self.n_entries)
