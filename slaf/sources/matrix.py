"""Matrices of cells × genes, read by ranges of cells: the interface, and views of another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

from slaf.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray

    from slaf.sparse.batch import Batch
    from slaf.sparse.ranges import RowRange

__all__ = [
    "LabelledMatrix",
    "Matrix",
    "MatrixSize",
    "MatrixView",
    "check_numeric",
    "positive_counts",
]


@dataclass(frozen=True, slots=True)
class MatrixSize:
    """The size of a matrix, without reading its values.

    Attributes
    ----------
    layout
        Its layout in the input, for messages: "CSR", "CSC", "dense".
    entries
        Stored entries, zeros and repeated ones included.
    exact
        Whether `entries` is exact; else it is an estimate.
    least_scratch, scratch
        Bytes of scratch that sorting by cell takes: at least (if all values are small), and at
        most.
    memory
        Bytes of memory that sorting takes.
    """

    layout: str
    entries: int
    exact: bool = True
    least_scratch: int = 0
    scratch: int = 0
    memory: int = 0

    @classmethod
    def of_all(cls, sizes: Iterable[MatrixSize]) -> Self:
        """The size of several matrices together, sorted one at a time."""
        sizes = list(sizes)
        return cls(
            " and ".join(dict.fromkeys(size.layout for size in sizes)),
            sum(size.entries for size in sizes),
            exact=all(size.exact for size in sizes),
            least_scratch=max((size.least_scratch for size in sizes), default=0),
            scratch=max((size.scratch for size in sizes), default=0),
            memory=max((size.memory for size in sizes), default=0),
        )


class Matrix(Protocol):
    """A matrix of cells × genes, read by ranges of cells."""

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and genes."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numeric type of the values."""

    @property
    def size(self) -> MatrixSize:
        """The number of entries, and what sorting them takes."""

    def sample_values(self) -> NDArray[Any]:
        """Some of the first stored values, in any order: cheap, for a first guess."""

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:
        """Entries before cells 0, step, 2 * step, …, and n_cells: exact, or an estimate."""

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order: `batches([a, b))` and `batches([b, c))` make `batches([a, c))`."""


class MatrixView:
    """Another matrix, unchanged: the base class of matrices that change something of one.

    Parameters
    ----------
    matrix
        The other matrix.
    """

    def __init__(self, matrix: Matrix) -> None:
        self._matrix = matrix

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and genes."""
        return self._matrix.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numeric type of the values."""
        return self._matrix.dtype

    @property
    def size(self) -> MatrixSize:
        """The number of entries, and what sorting them takes."""
        return self._matrix.size

    def sample_values(self) -> NDArray[Any]:
        """Some of the first stored values."""
        return self._matrix.sample_values()

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:
        """Entries before cells 0, step, 2 * step, …, and n_cells."""
        return self._matrix.indptr_estimate(step)

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order."""
        return self._matrix.batches(rows)


class LabelledMatrix(MatrixView):
    """A matrix whose errors name its location.

    Parameters
    ----------
    matrix
        The matrix.
    errors
        Makes the context in which values are read.
    """

    def __init__(self, matrix: Matrix, errors: Callable[[], AbstractContextManager[None]]) -> None:
        super().__init__(matrix)
        self._errors = errors

    def sample_values(self) -> NDArray[Any]:
        """Some of the first stored values."""
        with self._errors():
            return self._matrix.sample_values()

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:
        """Entries before cells 0, step, 2 * step, …, and n_cells."""
        with self._errors():
            return self._matrix.indptr_estimate(step)

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order."""
        with self._errors():
            yield from self._matrix.batches(rows)


def positive_counts(matrix: Matrix, axis: int) -> NDArray[np.int64] | None:
    """The numbers of values above zero, where no value must be read for them; else None.

    Parameters
    ----------
    matrix
        The matrix.
    axis
        The axis that vanishes: 1 for the numbers of cells, 0 for those of genes.
    """
    known = getattr(matrix, "positive_counts", None)
    counts: NDArray[np.int64] | None = None if known is None else known(axis)
    return counts


def check_numeric(dtype: np.dtype[Any], label: str) -> None:
    """Refuse anything but numbers of at most 64 bits.

    Raises
    ------
    InputError
        If it is anything else.
    """
    if dtype.kind not in "biuf" or dtype.itemsize > 8:  # noqa: PLR2004 - 64 bits
        msg = (
            f"{label} holds values of type {dtype}, which no table holds exactly; write "
            "them as integers or floats of at most 64 bits"
        )
        raise InputError(msg)
