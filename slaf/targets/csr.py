"""A matrix as compressed sparse rows or columns: three arrays, written as they grow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from slaf.runtime.prefetch import prefetch
from slaf.sparse.casting import exact_cast
from slaf.sparse.external_sort import Coo, ExternalSort
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


# Batches that wait while the one before them is packed.
_AHEAD = 2
_LARGEST_INT32 = np.iinfo(np.int32).max


class AppendableArray(Protocol):
    """An array of one dimension in a file, written from its start to its end."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its values."""

    def append(self, values: NDArray[Any]) -> None:
        """Write the next values."""

    def finish(self) -> None:
        """Write what is left: there are no more values."""


def write_compressed(
    matrix: Matrix,
    indices: AppendableArray,
    data: AppendableArray,
    options: WriteOptions,
    seen: Progress,
) -> NDArray[np.int64]:
    """Write a matrix in the layout that was chosen.

    Parameters
    ----------
    matrix
        Read once, ahead of what is written.
    indices, data
        Take its minor positions and its values.
    options
        The layout, and what sorting may take.
    seen
        Told of each batch.

    Returns
    -------
    numpy.ndarray
        The offsets of its cells, or of its genes, and after the last the number of nonzeros.
    """
    counts = [np.zeros(1, np.int64)]
    for batch in prefetch(_in_layout(matrix, options, seen), _AHEAD):
        counts.append(batch.counts)
        indices.append(batch.genes.astype(indices.dtype))
        data.append(exact_cast(batch.values, data.dtype))
    indices.finish()
    data.finish()
    return np.cumsum(np.concatenate(counts))


def index_type(largest: int) -> np.dtype[Any]:
    """The type of positions or offsets up to this one: scipy's choice."""
    return np.dtype(np.int32 if largest <= _LARGEST_INT32 else np.int64)


def progress_total(contents: Contents, layout: Layout) -> int:
    """How many cells, and genes that are written after them, `watched` and others tell of."""
    sorted_genes = layout == "csc"
    shapes = [matrix.shape for matrix in contents.matrices.values()]
    return sum(n_cells + n_genes * sorted_genes for n_cells, n_genes in shapes)


def with_progress(matrix: Matrix, seen: Progress) -> Iterator[Batch]:
    """The batches of a matrix, of each of which whoever watches is told."""
    for batch in matrix.batches():
        yield batch
        seen.advance(len(batch.rows), batch.nnz)


def _in_layout(matrix: Matrix, options: WriteOptions, seen: Progress) -> Iterator[Batch]:
    if options.layout == "csr":
        yield from with_progress(matrix, seen)
        return
    by_gene = _transposed(matrix, options, seen)
    for batch in by_gene.batches(RowRange(0, matrix.shape[1])):
        yield batch
        seen.advance(len(batch.rows), 0)


def _transposed(matrix: Matrix, options: WriteOptions, seen: Progress) -> ExternalSort:
    """The matrix by ranges of genes: cells and genes change places."""

    def entries(size: int) -> Iterator[Coo]:
        for batch in prefetch(with_progress(matrix, seen), 1):
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
