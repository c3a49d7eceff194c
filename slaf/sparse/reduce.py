"""Sums, counts and ranges of batches: of whole numbers exact, of fractions in order of cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar

import numpy as np

from slaf.kernels import kernels
from slaf.sparse.casting import exact_cast
from slaf.sparse.ranges import indptr_from_counts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import NDArray

    from slaf.sparse.batch import Batch

    Integers = NDArray[np.int64]

__all__ = [
    "Accumulator",
    "Count",
    "Extreme",
    "Slots",
    "SquaredDeviations",
    "Sum",
    "accumulate",
    "as_floats",
    "divide",
    "row_sums",
    "variance_of_whole",
]

# Whole numbers from here on are added as Python's integers.
_INT64 = 1 << 63
# The limit up to which float64 holds every whole number.
_EXACT = 1 << 53

K = TypeVar("K")
Which: TypeAlias = "NDArray[np.int64] | Literal['one', 'each']"


@dataclass(frozen=True, slots=True)
class Slots:
    """The numbers of a result: one for each gene, for each cell, for each gene of a group, or one.

    Attributes
    ----------
    shape
        The number of slots of cells, and of genes.
    cells, genes
        The slot of each cell, or gene, −1 for one that is left out; "one" for all, or "each" for
        one of its own.
    """

    shape: tuple[int, int]
    cells: Which = "one"
    genes: Which = "one"

    @classmethod
    def of_axis(cls, axis: int | None, shape: tuple[int, int]) -> Slots:
        """The slots of a sum over an axis of a matrix; None for all of it."""
        if axis is None:
            return cls((1, 1))
        if axis == 0:
            return cls((1, shape[1]), genes="each")
        return cls((shape[0], 1), cells="each")

    @property
    def size(self) -> int:
        """The number of slots."""
        return self.shape[0] * self.shape[1]

    @property
    def are_of_cells(self) -> bool:
        """True if the entries of a cell share a slot, and those of all cells do not."""
        return isinstance(self.genes, str) and self.genes == "one" and not self._is_for_all_cells

    @property
    def _is_for_all_cells(self) -> bool:
        return isinstance(self.cells, str) and self.cells == "one"

    def of_cells(self, batch: Batch, sums: NDArray[Any]) -> tuple[Integers, NDArray[Any]]:
        """The slot of each cell of a batch, and its sum; of the cells that have one."""
        slots = self._of_rows(batch) * self.shape[1]
        return _without_negative(slots, slots, sums)

    def of(self, batch: Batch, values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """The slot of each entry of a batch, and its value; of the entries that have one."""
        slots = self._of_genes(batch)
        if self._is_for_all_cells:
            return _without_negative(slots, slots, values)
        rows = np.repeat(self._of_rows(batch), batch.counts)
        # A gene or a cell without a slot makes its entry negative.
        return _without_negative(np.minimum(rows, slots), rows * self.shape[1] + slots, values)

    def _of_rows(self, batch: Batch) -> Integers:
        if isinstance(self.cells, str):
            return np.arange(batch.rows.start, batch.rows.stop)
        return self.cells[batch.rows.start : batch.rows.stop]

    def _of_genes(self, batch: Batch) -> NDArray[Any]:
        if not isinstance(self.genes, str):
            return self.genes[batch.genes]
        return batch.genes if self.genes == "each" else np.zeros(batch.nnz, np.int64)


class Accumulator(Protocol):
    """A statistic to which batches of entries are added."""

    def add(self, batch: Batch, values: NDArray[Any]) -> None:
        """Add the entries of a batch, with values of int64, of Python's integers, or of float64."""


def accumulate(
    read: Callable[[], Iterable[Batch]], make: Callable[[bool], Mapping[K, Accumulator]]
) -> tuple[Mapping[K, Any], bool]:
    """Add all batches to accumulators.

    The batches are read once if all values are whole numbers of 64 bits, or the first is none. If a
    later one is none, they are read again, and all are added as float64: so the result depends on
    the values and the order of the cells only, not on the batches.

    Parameters
    ----------
    read
        Reads the batches, in the order of cells.
    make
        Makes the accumulators by name, of whole numbers or of fractions.

    Returns
    -------
    tuple
        The accumulators, and whether all values are whole numbers.
    """
    accumulators = make(True)  # noqa: FBT003 - of whole numbers
    for batch in read():
        whole = _as_whole(batch.values)
        if whole is None:
            break
        for each in accumulators.values():
            each.add(batch, whole)
    else:
        return accumulators, True
    accumulators = make(False)  # noqa: FBT003 - of fractions
    with np.errstate(invalid="ignore", over="ignore"):
        for batch in read():
            floats = batch.values.astype(np.float64)
            for each in accumulators.values():
                each.add(batch, floats)
    return accumulators, False


class Sum:
    """The sums of the values of each slot, or of their squares.

    Parameters
    ----------
    slots
        The slots.
    is_whole
        Whether all values are whole numbers, whose sums are exact.
    squared
        Whether to sum the squares.
    """

    def __init__(self, slots: Slots, *, is_whole: bool, squared: bool = False) -> None:
        self._slots = slots
        self._is_whole = is_whole
        self._squared = squared
        self._sums: NDArray[Any] = np.zeros(slots.size, np.int64 if is_whole else np.float64)
        self._large: NDArray[Any] | None = None
        self._bound = 0

    def add(self, batch: Batch, values: NDArray[Any]) -> None:
        """Add the entries of a batch."""
        # Whole numbers may be added in any order: those of a cell first.
        by_cell = self._is_whole and self._slots.are_of_cells
        keys = np.zeros(0, np.int64)
        if not by_cell:
            keys, values = self._slots.of(batch, values)
        if not self._is_whole:
            np.add.at(self._sums, keys, values * values if self._squared else values)
            return
        largest = _largest(values) ** (2 if self._squared else 1)
        if self._squared:
            values = (values if largest < _INT64 else values.astype(object)) ** 2
        most = largest * len(values)
        if by_cell:
            keys, values = self._slots.of_cells(batch, row_sums(batch.counts, values))
        if not self._has_room(most):
            np.add.at(self._python_integers(), keys, values.astype(object))
        elif most < _EXACT and len(self._sums) <= len(keys):
            # float64 holds these sums, and adding them one by one takes several times as long.
            self._sums += np.bincount(keys, values, len(self._sums)).astype(np.int64)
        else:
            np.add.at(self._sums, keys, values)

    @property
    def result(self) -> NDArray[Any]:
        """The sums: float64, or int64, or Python's integers where one is larger."""
        if self._large is None:
            return self._sums
        sums: NDArray[Any] = self._large + self._sums
        fits = all(-_INT64 <= one < _INT64 for one in sums)
        return sums.astype(np.int64) if fits else sums

    def _has_room(self, more: int) -> bool:
        """Whether int64 holds the sums with so much more."""
        self._bound += more
        if self._bound < _INT64:
            return True
        self._bound = _largest(self._sums) + more
        if self._bound < _INT64:
            return True
        large = self._python_integers()
        large += self._sums
        self._sums[:] = 0
        self._bound = more if more < _INT64 else 0
        return more < _INT64

    def _python_integers(self) -> NDArray[Any]:
        if self._large is None:
            self._large = np.zeros(self._slots.size, object)
        return self._large


class Count:
    """The number of entries of each slot: NaN is one, zero is none.

    Parameters
    ----------
    slots
        The slots.
    positive
        Whether only values above zero count.
    """

    def __init__(self, slots: Slots, *, positive: bool = False) -> None:
        self._slots = slots
        self._positive = positive
        self.result = np.zeros(slots.size, np.int64)

    def add(self, batch: Batch, values: NDArray[Any]) -> None:
        """Count the entries of a batch."""
        if self._slots.are_of_cells:
            keys, counts = self._slots.of_cells(batch, self._of_each_cell(batch, values))
            np.add.at(self.result, keys, counts)
            return
        keys, values = self._slots.of(batch, values)
        if not self._takes_all(values):
            keys = keys[values > 0]
        if len(self.result) <= len(keys):
            self.result += np.bincount(keys, minlength=len(self.result))
        else:
            np.add.at(self.result, keys, 1)

    def _of_each_cell(self, batch: Batch, values: NDArray[Any]) -> NDArray[np.int64]:
        if self._takes_all(values):
            return batch.counts
        return row_sums(batch.counts, (values > 0).astype(np.int64))

    def _takes_all(self, values: NDArray[Any]) -> bool:
        # No entry is zero, and no NaN is the least.
        return not self._positive or values.dtype.kind == "u" or values.min(initial=1) > 0


class Extreme:
    """The least or the greatest value of each slot, zeros that are not stored included.

    Parameters
    ----------
    slots
        The slots.
    n
        The number of cells and genes of each slot, stored or not.
    dtype
        The type of the matrix.
    name
        "min" or "max".
    """

    def __init__(
        self, slots: Slots, n: Integers, dtype: np.dtype[Any], name: Literal["min", "max"]
    ) -> None:
        self._slots = slots
        self._counts = Count(slots)
        self._n = n
        is_min = name == "min"
        self._ufunc: np.ufunc = np.minimum if is_min else np.maximum
        wide: np.dtype[Any] = np.dtype({"f": "f8", "i": "i8"}.get(dtype.kind, "u8"))
        limits = (-np.inf, np.inf)
        if wide.kind != "f":
            limits = (np.iinfo(wide).min, np.iinfo(wide).max)
        self._found = np.full(slots.size, limits[is_min], wide)

    def add(self, batch: Batch, values: NDArray[Any]) -> None:
        """Compare the entries of a batch."""
        self._counts.add(batch, values)
        keys, values = self._slots.of(batch, values)
        self._ufunc.at(self._found, keys, exact_cast(values, self._found.dtype))

    @property
    def result(self) -> NDArray[Any]:
        """The values, in 64 bits; NaN where one is."""
        with_zeros = self._counts.result < self._n
        found = self._found
        found[with_zeros] = self._ufunc(found[with_zeros], found.dtype.type(0))
        return found


class SquaredDeviations:
    """The sum of the squared deviations of the entries of each slot from their mean."""

    def __init__(self, slots: Slots, means: NDArray[np.float64]) -> None:
        self._slots = slots
        self._means = means
        self.result = np.zeros(slots.size)

    def add(self, batch: Batch, values: NDArray[Any]) -> None:
        """Add the entries of a batch."""
        keys, values = self._slots.of(batch, values)
        deviations = values - self._means[keys]
        np.add.at(self.result, keys, deviations * deviations)


def row_sums(counts: NDArray[np.int64], values: NDArray[Any]) -> NDArray[Any]:
    """The sum of each row: of whole numbers int64, or Python's integers where one may be larger.

    Of floats float64, added from left to right.

    Parameters
    ----------
    counts
        The number of entries in each row.
    values
        The entries.
    """
    is_small = values.dtype.kind == "f" or values.dtype.itemsize < np.dtype(np.int64).itemsize
    if is_small or _largest(values) * int(counts.max(initial=0)) < _INT64:
        return kernels().row_sums(counts, values)
    sums = np.concatenate([np.zeros(1, object), np.cumsum(values.astype(object))])
    indptr = indptr_from_counts(counts)
    totals: NDArray[Any] = sums[indptr[1:]] - sums[indptr[:-1]]
    return totals


def as_floats(numbers: NDArray[Any]) -> NDArray[np.float64]:
    """Whole numbers, or floats, as float64: each rounded once."""
    return numbers.astype(np.float64)


def divide(numerators: NDArray[Any], denominators: NDArray[Any]) -> NDArray[np.float64]:
    """Quotients of whole numbers, each rounded once; NaN where a denominator is not positive.

    Parameters
    ----------
    numerators
        Floats, or whole numbers of any size.
    denominators
        Whole numbers of any size.
    """
    quotients = np.full(len(numerators), np.nan)
    is_small = (denominators > 0) & (denominators < _EXACT)
    is_large = (denominators > 0) & ~is_small
    if numerators.dtype.kind != "f":
        # Two integers that float64 holds have the quotient of their floats; Python divides others.
        is_exact = (numerators > -_EXACT) & (numerators < _EXACT)
        is_large |= is_small & ~is_exact
        is_small = is_small & is_exact
    small, large = is_small.astype(np.bool_), is_large.astype(np.bool_)
    quotients[small] = as_floats(numerators[small]) / as_floats(denominators[small])
    pairs = zip(numerators[large].tolist(), denominators[large].tolist(), strict=True)
    quotients[large] = [one / other for one, other in pairs]
    return quotients


def variance_of_whole(
    n: Integers, sums: NDArray[Any], squares: NDArray[Any], ddof: int
) -> NDArray[np.float64]:
    """Variances of whole numbers, each rounded once.

    Parameters
    ----------
    n
        The number of values of each, zeros included.
    sums, squares
        Their sums, and the sums of their squares.
    ddof
        The number that is subtracted from `n`.
    """
    if max(_largest(n) * _largest(squares), _largest(sums) ** 2) >= _INT64:
        sums, squares = sums.astype(object), squares.astype(object)
    if _largest(n) ** 2 >= _INT64:
        n = n.astype(object)
    return divide(n * squares - sums * sums, n * np.maximum(n - ddof, 0))


def _as_whole(values: NDArray[Any]) -> NDArray[Any] | None:
    """Values as int64, or as Python's integers where one is larger; None if one is no integer."""
    if values.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            if not ((np.rint(values) == values) & (np.abs(values) < float(_INT64))).all():
                return None
    elif values.dtype == np.uint64 and _largest(values) >= _INT64:
        return values.astype(object)
    return values.astype(np.int64)


def _largest(values: NDArray[Any]) -> int:
    """The largest magnitude among whole numbers."""
    return max(int(values.max()), -int(values.min())) if len(values) else 0


def _without_negative(
    tested: NDArray[Any], keys: NDArray[Any], values: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    if tested.dtype.kind == "u":
        return keys, values
    kept = tested >= 0
    return (keys, values) if kept.all() else (keys[kept], values[kept])
