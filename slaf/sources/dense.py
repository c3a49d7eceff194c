"""Dense matrices, in arrays or HDF5 datasets, as a Matrix."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from slaf.kernels.reference import Tiles
from slaf.sources.chunked import ChunkedArray
from slaf.sources.matrix import MatrixSize
from slaf.sources.unsorted import UnsortedMatrix
from slaf.sparse.batch import Batch, batches_from_dense
from slaf.sparse.buckets import Coo
from slaf.sparse.ranges import RowRange

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from slaf.options import ReadOptions
    from slaf.sources.matrix import Matrix

__all__ = ["DenseArray", "DenseRows", "Transposed", "dense_matrix"]


# Elements decoded at a time, without compiled kernels with positions, masks and copies of some 30
# bytes each.
_BLOCK_ELEMENTS = 1 << 19
_SAMPLED_ELEMENTS = 1 << 16

# For cutting a matrix into parts only: assume that one element in so many is nonzero.
_SPARSITY = 4


class DenseArray(Protocol):
    """An array of two dimensions that can be sliced: of numpy or HDF5."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its elements."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells and genes."""

    def __getitem__(self, key: tuple[slice, slice]) -> Any: ...


def dense_matrix(array: DenseArray, chunks: tuple[int, int] | None, options: ReadOptions) -> Matrix:
    """A dense matrix read by ranges of cells, whatever its chunks.

    Parameters
    ----------
    array
        Cells × genes.
    chunks
        The shape of its chunks, which are decoded whole; None without chunks.
    options
        The memory: if a row of chunks does not fit, entries are read by column and sorted.
    """
    n_cells, n_genes = int(array.shape[0]), int(array.shape[1])
    rows_at_once = _rows_at_once(n_genes)
    if chunks is None or chunks[0] <= rows_at_once:
        step = rows_at_once if chunks is None else rows_at_once // chunks[0] * chunks[0]
        return DenseRows(array, step)
    if chunks[0] * n_genes * array.dtype.itemsize * options.readers <= options.memory_budget:
        return DenseRows(array, chunks[0])

    def entries(size: int) -> Iterator[Coo]:
        strip = max(size // max(n_cells, 1) // chunks[1] * chunks[1], chunks[1])
        rows = max(size // strip // chunks[0] * chunks[0], chunks[0])
        for start in range(0, n_genes, strip):
            for span in RowRange(0, n_cells).split(rows):
                block = np.asarray(array[span.start : span.stop, start : start + strip])
                cells, genes = np.nonzero(block)
                yield Coo(cells + span.start, genes + start, block[cells, genes])

    size = MatrixSize("dense", n_cells * n_genes, exact=False)
    return UnsortedMatrix((n_cells, n_genes), array.dtype, size, entries, options)


class DenseRows:
    """A dense matrix, cells × genes, read `step` cells at a time, in batches of bounded size."""

    def __init__(self, array: DenseArray, step: int) -> None:
        self._array = array
        self._step = step
        self.shape = (int(array.shape[0]), int(array.shape[1]))
        self.dtype = array.dtype

    @property
    def size(self) -> MatrixSize:
        """As many entries as if all cells had as many as the first."""
        first, n_elements = self._first_values, self.shape[0] * self.shape[1]
        density = np.count_nonzero(first) / max(len(first), 1)
        block = min(self._step, self.shape[0]) * self.shape[1] * self.dtype.itemsize
        return MatrixSize("dense", round(density * n_elements), exact=False, memory=block)

    def sample_values(self) -> NDArray[Any]:
        """The values of the first cells."""
        return self._first_values

    @cached_property
    def _first_values(self) -> NDArray[Any]:
        # Kept, for an input is described and sampled one after the other.
        rows = min(max(_SAMPLED_ELEMENTS // max(self.shape[1], 1), 1), self.shape[0])
        return np.asarray(self._array[0:rows, 0 : self.shape[1]]).ravel()

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:
        """Entries before cells 0, step, 2 * step, …, and n_cells: an estimate."""
        n_cells, n_genes = self.shape
        return np.append(np.arange(0, n_cells, step), n_cells) * n_genes // _SPARSITY

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order."""
        start, buffer = rows.start, np.empty((0, 0, 0), self.dtype)
        while start < rows.stop:
            # To the next multiple of the step, so that no chunk is decoded twice.
            stop = min((start // self._step + 1) * self._step, rows.stop)
            tiles = self._tiles(RowRange(start, stop), buffer)
            yield from batches_from_dense(start, tiles)
            buffer = tiles.values
            start = stop

    def _tiles(self, rows: RowRange, buffer: NDArray[Any]) -> Tiles:
        """Cells as they are stored: in chunks, which are not copied into one block."""
        array, shape = self._array, (len(rows), self.shape[1])
        cells, genes = slice(rows.start, rows.stop), slice(0, self.shape[1])
        if isinstance(array, Transposed) and isinstance(array.by_gene, ChunkedArray):
            chunks, gene, cell = array.by_gene.stack((genes, cells), buffer.swapaxes(-1, -2))
            return Tiles(chunks.swapaxes(1, 2), cell, gene, shape)
        if isinstance(array, ChunkedArray):
            return Tiles(*array.stack((cells, genes), buffer), shape)
        return Tiles.of(np.asarray(array[cells, genes]))


class Transposed:
    """An array of genes × cells as one of cells × genes."""

    def __init__(self, array: DenseArray) -> None:
        self.by_gene = array
        self.shape = array.shape[::-1]
        self.dtype = array.dtype

    def __getitem__(self, key: tuple[slice, slice]) -> NDArray[Any]:
        cells, genes = key
        return np.asarray(self.by_gene[genes, cells]).T


def _rows_at_once(n_genes: int) -> int:
    return max(_BLOCK_ELEMENTS // max(n_genes, 1), 1)
