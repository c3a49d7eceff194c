"""Sums, means, variances and ranges of a matrix, by axis."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from slaf.errors import InexactValue, SelectionError
from slaf.runtime.prefetch import prefetch
from slaf.sparse.casting import exact_cast
from slaf.sparse.ranges import mask_of
from slaf.sparse.reduce import (
    Count,
    Extreme,
    Slots,
    SquaredDeviations,
    Sum,
    accumulate,
    as_floats,
    divide,
    variance_of_whole,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from slaf.sources.base import Source
    from slaf.sparse.batch import Batch

    Positions = NDArray[np.int64] | None

__all__ = [
    "Axis",
    "MatrixReductions",
    "Moments",
    "ReadableMatrix",
    "Statistic",
    "axis_number",
    "cells_measuring",
    "read_ahead",
    "warn_of_unmeasured",
]

Axis: TypeAlias = "Literal['cells', 'genes', 0, 1] | None"
Statistic: TypeAlias = Literal["sum", "mean", "variance", "min", "max", "count_nonzero"]

# Batches that are read while others are added.
_AHEAD = 2

logger = logging.getLogger(__name__)


class ReadableMatrix(ABC):
    """The part of `LazyMatrix` that its reductions read."""

    source: Source
    name: str | None
    label: str
    cells: Positions
    genes: Positions

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Cells and genes."""

    @property
    @abstractmethod
    def dtype(self) -> np.dtype[Any]:
        """The type of its values."""

    @abstractmethod
    def batches(self) -> Iterator[Batch]:
        """All cells, in order, in batches of bounded size."""


class MatrixReductions(ReadableMatrix):
    """Reductions of a lazy matrix, each in one pass in bounded memory; its base class."""

    def sum(self, axis: Axis = None) -> Any:
        """The sums of the values.

        Of a matrix of whole numbers they are exact: int64, or Python's integers if one is larger.
        Of a matrix of floats they are float64: rounded once if all values are whole, else added in
        the order of cells, and of genes within a cell.

        Parameters
        ----------
        axis
            The axis that vanishes: "cells" (or 0) for the sum of each gene, "genes" (or 1) for that
            of each cell; None for one number.

        Raises
        ------
        SelectionError
            If there is no such axis.
        """
        return _reduced(self, axis, "sum")

    def mean(self, axis: Axis = None, *, measured_only: bool = False) -> Any:
        """The means of the values, zeros that are not stored included, as float64.

        Parameters
        ----------
        axis
            As for `sum`.
        measured_only
            Whether to leave out the zeros of genes that an input of several has not measured.

        Raises
        ------
        SelectionError
            If there is no such axis.
        """
        return _reduced(self, axis, "mean", measured_only=measured_only)

    def variance(self, axis: Axis = None, *, ddof: int = 0, measured_only: bool = False) -> Any:
        """The variances of the values, zeros that are not stored included, as float64.

        Exact, and rounded once, if all values are whole; else a second pass adds the squares of
        deviations from the mean.

        Parameters
        ----------
        axis
            As for `sum`.
        ddof
            The number that is subtracted from that of values; NaN where nothing remains.
        measured_only
            As for `mean`.

        Raises
        ------
        SelectionError
            If there is no such axis.
        """
        return _reduced(self, axis, "variance", ddof=ddof, measured_only=measured_only)

    def min(self, axis: Axis = None) -> Any:
        """The least values, zeros that are not stored included, in the type of the matrix.

        Parameters
        ----------
        axis
            As for `sum`.

        Raises
        ------
        SelectionError
            If there is no such axis.
        ValueError
            If there are no values.
        """
        return _reduced(self, axis, "min")

    def max(self, axis: Axis = None) -> Any:
        """The greatest values; axis, type and errors are those of `min`."""
        return _reduced(self, axis, "max")

    def count_nonzero(self, axis: Axis = None) -> Any:
        """The numbers of values that are not zero, as int64; NaN is not zero.

        Parameters
        ----------
        axis
            As for `sum`.

        Raises
        ------
        SelectionError
            If there is no such axis.
        """
        return _reduced(self, axis, "count_nonzero")


# ------------------------------------------------------------------------------------------ moments


class Moments:
    """Statistics of the slots of a matrix, of one pass or two.

    Parameters
    ----------
    matrix
        The matrix.
    slots
        The numbers to compute.
    n
        The number of values of each slot, zeros included; of a sum nothing depends on it.
    ddof
        For variances.
    """

    def __init__(
        self, matrix: ReadableMatrix, slots: Slots, n: NDArray[np.int64], ddof: int = 0
    ) -> None:
        self._read = partial(read_ahead, matrix)
        self._dtype = matrix.dtype
        self._slots = slots
        self._n = n
        self._ddof = ddof

    def compute(self, names: tuple[Statistic, ...]) -> dict[Statistic, NDArray[Any]]:
        """Statistics by name.

        Raises
        ------
        ValueError
            If there are no values, and so no least or greatest one.
        """
        if {"min", "max"}.intersection(names) and (self._n == 0).any():
            msg = "there are no values, and so none is the least or the greatest"
            raise ValueError(msg)
        found, is_whole = accumulate(self._read, partial(self._make, names))
        return {name: self._statistic(name, found, is_whole=is_whole) for name in names}

    def _make(self, names: tuple[Statistic, ...], is_whole: bool) -> dict[str, Any]:  # noqa: FBT001
        slots, wanted = self._slots, set(names)
        parts: dict[str, Any] = {}
        if wanted & {"sum", "mean", "variance"}:
            parts["sum"] = Sum(slots, is_whole=is_whole)
        if "variance" in wanted:
            parts["squares"] = Sum(slots, is_whole=True, squared=True) if is_whole else Count(slots)
        if "count_nonzero" in wanted:
            parts["count_nonzero"] = Count(slots)
        for name in ("min", "max"):
            if name in wanted:
                parts[name] = Extreme(slots, self._n, self._dtype, name)
        return parts

    def _statistic(self, name: Statistic, of: Mapping[str, Any], *, is_whole: bool) -> NDArray[Any]:
        if name == "sum":
            sums: NDArray[Any] = of["sum"].result
            return as_floats(sums) if self._dtype.kind == "f" else sums
        if name == "mean":
            return divide(of["sum"].result, self._n)
        if name == "variance":
            if is_whole:
                sums, squares = of["sum"].result, of["squares"].result
                return variance_of_whole(self._n, sums, squares, self._ddof)
            return self._variance_of_floats(of["sum"].result, of["squares"].result)
        if name == "count_nonzero":
            counts: NDArray[np.int64] = of[name].result
            return counts
        return _narrowed(of[name].result, self._dtype)

    def _variance_of_floats(
        self, sums: NDArray[np.float64], n_entries: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        means = divide(sums, self._n)
        deviations = SquaredDeviations(self._slots, means)
        with np.errstate(invalid="ignore", over="ignore"):
            for batch in self._read():
                deviations.add(batch, batch.values.astype(np.float64))
            squares = deviations.result + (self._n - n_entries) * means * means
        return divide(squares, np.maximum(self._n - self._ddof, 0))


def _reduced(
    matrix: ReadableMatrix,
    axis: Axis,
    name: Statistic,
    *,
    ddof: int = 0,
    measured_only: bool = False,
) -> Any:
    number, shape = axis_number(axis), matrix.shape
    slots = Slots.of_axis(number, shape)
    n = np.full(slots.size, shape[0] * shape[1] // max(slots.size, 1), np.int64)
    if number is not None and not slots.size:
        return Moments(matrix, slots, n).compute((name,))[name]
    if name in {"mean", "variance"}:
        measured = _measured(matrix, number)
        if measured_only:
            n = measured
        else:
            warn_of_unmeasured(matrix.label, n, measured)
    found = Moments(matrix, slots, n, ddof).compute((name,))[name]
    return found[0] if number is None else found


def axis_number(axis: Axis) -> int | None:
    """0 for the axis of cells, 1 for that of genes; None for both.

    Raises
    ------
    SelectionError
        If it is none of them.
    """
    numbers = {"cells": 0, "genes": 1, 0: 0, 1: 1, None: None}
    if axis not in numbers:
        msg = f'there is no axis {axis!r}; "cells" (or 0) gives a number for each gene, "genes" '
        msg += "(or 1) one for each cell, and None one for all"
        raise SelectionError(msg)
    return numbers[axis]


# ---------------------------------------------------------------------- genes that are not measured


def cells_measuring(matrix: ReadableMatrix, groups: NDArray[np.int64], n_groups: int) -> Any:
    """The number of cells of each group whose input has measured each gene: groups × genes.

    Parameters
    ----------
    matrix
        The matrix.
    groups
        The group of each cell; −1 for a cell of none.
    n_groups
        The number of groups.
    """
    inputs, masks = _inputs(matrix)
    counts = np.zeros((n_groups, matrix.shape[1]), np.int64)
    for at, mask in enumerate(masks):
        of_input = groups[(inputs == at) & (groups >= 0)]
        counts[:, mask] += np.bincount(of_input, minlength=n_groups)[:, None]
    return counts


def genes_measured(matrix: ReadableMatrix) -> NDArray[np.int64]:
    """The number of genes that the input of each cell has measured."""
    inputs, masks = _inputs(matrix)
    counts: NDArray[np.int64] = np.array([mask.sum() for mask in masks], np.int64)[inputs]
    return counts


def _inputs(matrix: ReadableMatrix) -> tuple[NDArray[np.int64], list[NDArray[np.bool_]]]:
    """The index of each cell's input, and the genes that each input has measured.

    Inputs that have measured the same genes are one.
    """
    measured = matrix.source.measured(matrix.name)
    distinct = list(dict.fromkeys(one.genes for one in measured))
    width = matrix.source.matrix(matrix.name).shape[1]
    masks = [mask_of(genes, width) for genes in distinct]
    if matrix.genes is not None:
        masks = [mask[matrix.genes] for mask in masks]
    cells = np.arange(matrix.shape[0]) if matrix.cells is None else matrix.cells
    number = {genes: at for at, genes in enumerate(distinct)}
    numbers = np.array([number[one.genes] for one in measured], np.int64)
    at = np.searchsorted([one.rows.stop for one in measured], cells, side="right")
    return numbers[at], masks


def warn_of_unmeasured(label: str, n: NDArray[Any], measured: NDArray[Any]) -> None:
    """Warn that zeros are no measurements, if some are none."""
    n_fewer = int((measured < n).sum())
    if n_fewer:
        logger.warning(
            "%s: %s of %s numbers include zeros of genes that not all inputs have measured; "
            "measured_only=True leaves these out",
            label,
            f"{n_fewer:,}",
            f"{n.size:,}",
        )


def _measured(matrix: ReadableMatrix, axis: int | None) -> NDArray[np.int64]:
    """The number of measurements of each slot of an axis."""
    if axis == 1:
        return genes_measured(matrix)
    counts: NDArray[np.int64] = cells_measuring(matrix, np.zeros(matrix.shape[0], np.int64), 1)[0]
    return counts if axis == 0 else counts.sum(keepdims=True)


def _narrowed(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The values in the type of the matrix; in 64 bits, if sums of repeated entries need them."""
    try:
        return exact_cast(values, dtype)
    except InexactValue:
        return values


def read_ahead(matrix: ReadableMatrix) -> Iterator[Batch]:
    """All batches of a matrix, read in a thread."""
    return prefetch(matrix.batches(), _AHEAD)
