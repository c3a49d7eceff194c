"""The matrix of an input whose entries come in another order than the cells'."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from slaf.sparse.external_sort import Coo, ExternalSort
from slaf.sparse.ranges import estimate_indptr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from slaf.options import ReadOptions
    from slaf.sources.base import MatrixSize

__all__ = ["UnsortedMatrix"]


class UnsortedMatrix(ExternalSort):
    """A matrix by ranges of cells, made of entries that an input has in any order.

    Parameters
    ----------
    shape
        Cells and genes.
    dtype
        The type of the values.
    extent
        How many entries there are, or at most.
    entries
        Gives all entries in pieces of at most the size it is called with.
    options
        The budget in bytes, and the scratch directory.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        dtype: np.dtype[Any],
        extent: MatrixSize,
        entries: Callable[[int], Iterator[Coo]],
        options: ReadOptions,
    ) -> None:
        super().__init__(
            shape,
            dtype,
            extent.entries,
            entries,
            memory=options.memory_budget,
            readers=options.readers,
            scratch=options.scratch,
        )
        self._extent = extent

    def extent(self) -> MatrixSize:
        """What was declared, and the scratch and the memory that it takes."""
        least, most = self.scratch_bytes()
        memory = self.memory_bytes()
        return replace(self._extent, least_scratch=least, scratch=most, memory=memory)

    def sample_values(self) -> NDArray[Any]:
        """The first values as they come."""
        return self.first_values()

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:
        """Entries before cells 0, step, 2 * step, …, and n_cells: as if spread evenly."""
        return estimate_indptr(self.shape[0], step, self.n_entries)
