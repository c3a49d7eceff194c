"""CSR and CSC matrices, in arrays or HDF5 datasets, as a Matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from slaf.errors import DamagedInput
from slaf.kernels import kernels
from slaf.sources.chunked import ChunkedArray
from slaf.sources.matrix import MatrixSize
from slaf.sources.unsorted import UnsortedMatrix
from slaf.sparse.batch import BATCH_NONZEROS, Batch, batch_from_pieces
from slaf.sparse.buckets import Coo
from slaf.sparse.casting import pooled_empty, to_int64
from slaf.sparse.ranges import RowRange, split_by_nnz

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from slaf.options import ReadOptions

__all__ = ["ArrayLike", "CompressedRows", "compressed_columns"]

_SAMPLED_VALUES = 1 << 16

# Offsets read at a time: half a megabyte.
_OFFSETS = 1 << 16


# The types of counts: most matrices hold nothing else, whatever their own type is.
_COUNTS = (np.dtype(np.uint16), np.dtype(np.uint32))


class ArrayLike(Protocol):
    """An array of one dimension that can be sliced: of numpy or HDF5."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its elements."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: slice) -> Any: ...


class CompressedRows:
    """A matrix in compressed sparse rows (CSR), cells × genes.

    Parameters
    ----------
    indptr
        Offsets of the cells, n_cells + 1 of them.
    indices, data
        Gene positions and values; in any order within a cell, and repeated or not.
    shape
        Cells and genes.

    Raises
    ------
    DamagedInput
        If the lengths contradict each other.
    """

    def __init__(
        self, indptr: ArrayLike, indices: ArrayLike, data: ArrayLike, shape: tuple[int, int]
    ) -> None:
        _check(indptr, indices, data, shape[0], "cells")
        self._indptr = indptr
        self._indices = indices
        self._data = data
        self.shape = shape
        self.dtype = data.dtype
        self.size = MatrixSize("CSR", len(data))
        self._narrow = [each for each in _COUNTS if each.itemsize < self.dtype.itemsize]

    def sample_values(self) -> NDArray[Any]:
        """The first stored values."""
        return np.asarray(self._data[:_SAMPLED_VALUES])

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:
        """Entries before cells 0, step, 2 * step, …, and n_cells: exact."""
        starts = to_int64(np.asarray(self._indptr[: self.shape[0] : step]))
        return np.append(starts, len(self._data))

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order."""
        for span in rows.split(_OFFSETS):
            indptr = to_int64(np.asarray(self._indptr[span.start : span.stop + 1]))
            _check_offsets(indptr, span, len(self._data))
            for first, last in split_by_nnz(indptr, BATCH_NONZEROS):
                low, high = int(indptr[first]), int(indptr[last])
                yield batch_from_pieces(
                    RowRange(span.start + first, span.start + last),
                    np.diff(indptr[first : last + 1]),
                    _pieces(self._indices, low, high),
                    self._read_values(low, high),
                    self.shape[1],
                )

    def _read_values(self, start: int, stop: int) -> NDArray[Any]:
        """Values in the narrowest type that held all values so far, or in that of the file."""
        while self._narrow:
            dtype, *wider = self._narrow
            values, at = pooled_empty(stop - start, dtype), 0
            for piece in _pieces(self._data, start, stop):
                if not kernels().cast(piece, values[at : at + len(piece)]):
                    break
                at += len(piece)
            else:
                return values
            self._narrow = wider
        return np.asarray(self._data[start:stop])


def compressed_columns(
    indptr: ArrayLike,
    indices: ArrayLike,
    data: ArrayLike,
    shape: tuple[int, int],
    options: ReadOptions,
) -> UnsortedMatrix:
    """A matrix in compressed sparse columns (CSC), cells × genes, sorted by cell.

    `indptr` holds the offsets of the genes, `indices` the positions of cells.
    """
    n_genes = shape[1]
    _check(indptr, indices, data, n_genes, "genes")
    offsets = to_int64(np.asarray(indptr[:]))
    _check_offsets(offsets, RowRange(0, n_genes), len(data))

    def entries(size: int) -> Iterator[Coo]:
        for start in range(0, len(data), size):
            stop = min(start + size, len(data))
            within = np.clip(offsets, start, stop)
            yield Coo(
                cells=np.asarray(indices[start:stop]),
                genes=np.repeat(np.arange(n_genes, dtype=np.uint32), np.diff(within)),
                values=np.asarray(data[start:stop]),
            )

    return UnsortedMatrix(shape, data.dtype, MatrixSize("CSC", len(data)), entries, options)


def _pieces(array: ArrayLike, start: int, stop: int) -> Iterator[NDArray[Any]]:
    """A part of an array, in the pieces that it is decoded in."""
    if isinstance(array, ChunkedArray):
        return array.pieces(start, stop)
    return iter([np.asarray(array[start:stop])])


def _check(
    indptr: ArrayLike, indices: ArrayLike, data: ArrayLike, n_major: int, major: str
) -> None:
    if len(indptr) != n_major + 1:
        msg = (
            f"indptr has {len(indptr):,} offsets, but a matrix of {n_major:,} {major} "
            f"needs {n_major + 1:,}"
        )
        raise DamagedInput(msg)
    if len(indices) != len(data):
        msg = f"there are {len(indices):,} indices but {len(data):,} values"
        raise DamagedInput(msg)
    first, last = (
        int(to_int64(np.asarray(indptr[at]))[0]) for at in (slice(0, 1), slice(n_major, None))
    )
    if (first, last) != (0, len(data)):
        msg = f"indptr goes from {first:,} to {last:,}, but there are {len(data):,} values"
        raise DamagedInput(msg)


def _check_offsets(indptr: NDArray[np.int64], rows: RowRange, nnz: int) -> None:
    steps = np.diff(indptr)
    wrong = (steps < 0) | (indptr[1:] > nnz) | (indptr[:-1] < 0)
    if wrong.any():
        at = int(np.argmax(wrong))
        msg = (
            f"indptr goes from {indptr[at]:,} to {indptr[at + 1]:,} at position {rows.start + at}; "
            f"offsets must ascend from 0 to the {nnz:,} values there are"
        )
        raise DamagedInput(msg)
