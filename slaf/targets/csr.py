"""Matrices as CSR or CSC arrays, written as a stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.runtime.prefetch import prefetch
from slaf.sparse.buckets import Coo
from slaf.sparse.casting import exact_cast, is_lossless
from slaf.sparse.external_sort import ExternalSort
from slaf.sparse.ranges import RowRange

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from slaf.options import Layout
    from slaf.runtime.progress import Progress
    from slaf.sparse.batch import Batch
    from slaf.targets.base import WriteOptions
    from slaf.targets.contents import Contents, Matrix

__all__ = ["AppendableArray", "index_type", "progress_total", "with_progress", "write_compressed"]


# Batches that are read ahead of the one that is written.
_AHEAD = 2
_LARGEST_INT32 = np.iinfo(np.int32).max


class AppendableArray(ABC):
    """A one-dimensional array in a file, written from start to end in whole blocks.

    Parameters
    ----------
    dtype
        The type of the values.
    block_size
        The number of values in a block.
    """

    def __init__(self, dtype: np.dtype[Any], block_size: int) -> None:
        self.dtype = dtype
        self._block_size = block_size
        self._block = np.empty(0, dtype)
        self._filled = 0

    def append(self, values: NDArray[Any]) -> None:
        """Add values, which the type of the array holds."""
        at = 0
        while at < len(values):
            if not self._filled:
                self._block = np.empty(self._block_size, self.dtype)
            part = values[at : at + self._block_size - self._filled]
            self._block[self._filled : self._filled + len(part)] = part
            at, self._filled = at + len(part), self._filled + len(part)
            if self._filled == self._block_size:
                self._flush()

    def finish(self) -> None:
        """Write the values that remain."""
        if self._filled:
            self._flush()

    def _flush(self) -> None:
        block, self._filled = self._block[: self._filled], 0
        self._write(block)

    @abstractmethod
    def _write(self, block: NDArray[Any]) -> None:
        """Write a block; only the last one may be incomplete."""


def write_compressed(
    matrix: Matrix,
    indices: AppendableArray,
    data: AppendableArray,
    options: WriteOptions,
    progress: Progress,
) -> NDArray[np.int64]:
    """Write indices and data of a matrix, and return its indptr.

    Parameters
    ----------
    matrix
        Read once, ahead of the writing.
    indices, data
        The arrays of minor positions and of values.
    options
        The layout, and the resources for sorting.
    progress
        Advanced with each batch.

    Returns
    -------
    numpy.ndarray
        The offset of each cell, or gene, and at the end the number of nonzeros.
    """
    counts = [np.zeros(1, np.int64)]
    for batch in prefetch(_in_layout(matrix, options, progress), _AHEAD):
        counts.append(batch.counts)
        indices.append(batch.genes)
        lossless = is_lossless(batch.values.dtype, data.dtype)
        data.append(batch.values if lossless else exact_cast(batch.values, data.dtype))
    indices.finish()
    data.finish()
    return np.cumsum(np.concatenate(counts))


def index_type(largest: int) -> np.dtype[Any]:
    """The type of positions or offsets, as scipy chooses it by the largest."""
    return np.dtype(np.int32 if largest <= _LARGEST_INT32 else np.int64)


def progress_total(contents: Contents, layout: Layout) -> int:
    """The number of cells, and for CSC of genes, of all matrices."""
    sorted_genes = layout == "csc"
    shapes = [matrix.shape for matrix in contents.matrices.values()]
    return sum(n_cells + n_genes * sorted_genes for n_cells, n_genes in shapes)


def with_progress(matrix: Matrix, progress: Progress) -> Iterator[Batch]:
    """Batches of a matrix; progress advances after each."""
    for batch in matrix.batches():
        yield batch
        progress.advance(len(batch.rows), batch.nnz)


def _in_layout(matrix: Matrix, options: WriteOptions, progress: Progress) -> Iterator[Batch]:
    if options.layout == "csr":
        yield from with_progress(matrix, progress)
        return
    by_gene = _transposed(matrix, options, progress)
    for batch in by_gene.batches(RowRange(0, matrix.shape[1])):
        yield batch
        progress.advance(len(batch.rows), 0)


def _transposed(matrix: Matrix, options: WriteOptions, progress: Progress) -> ExternalSort:
    """The transposed matrix, sorted by gene."""

    def entries(size: int) -> Iterator[Coo]:
        for batch in prefetch(with_progress(matrix, progress), 1):
            cells = batch.cells()
            for part in RowRange(0, batch.nnz).split(size):
                span = slice(part.start, part.stop)
                values = exact_cast(batch.values[span], matrix.dtype)
                yield Coo(batch.genes[span], cells[span], values)

    n_cells, n_genes = matrix.shape
    return ExternalSort(
        (n_genes, n_cells),
        matrix.dtype,
        matrix.n_entries,
        entries,
        memory=options.memory,
        scratch=options.scratch,
    )
