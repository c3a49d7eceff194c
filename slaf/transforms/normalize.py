"""Normalise cells to a total, and the logarithm of values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.errors import InputError
from slaf.kernels import kernels
from slaf.sparse.casting import CACHE_ENTRIES, pooled_empty
from slaf.sparse.ranges import RowRange
from slaf.sparse.reduce import as_floats, row_sums
from slaf.transforms.base import UnfitValue, ValueStep

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from slaf.sparse.batch import Batch

__all__ = ["Log1p", "NormalizeTotal", "median_total"]

_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


@dataclass(frozen=True)
class NormalizeTotal(ValueStep):
    """Values multiplied so that each cell has the same total.

    Attributes
    ----------
    target_sum
        The total.
    """

    target_sum: float = 1e4

    def dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """float64 of float64, else float32, as in scanpy."""
        return _FLOAT64 if dtype == _FLOAT64 else _FLOAT32

    def apply(self, batch: Batch, dtype: np.dtype[Any], keys: NDArray[np.uint64]) -> NDArray[Any]:
        """The normalised values, computed in float64 and rounded once."""
        del keys
        check_not_negative(batch)
        totals = row_sums(batch.counts, batch.values).astype(np.float64, copy=False)
        with np.errstate(invalid="ignore", over="ignore"):
            factors = self.target_sum / np.where(totals == 0, self.target_sum, totals)
        scaled = pooled_empty(batch.nnz, dtype)
        if kernels().scale(batch.counts, batch.values, factors, scaled):
            _check_finite(batch, scaled)
        return scaled


@dataclass(frozen=True)
class Log1p(ValueStep):
    """The natural logarithm of one more than each value."""

    def dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """float32 of float32 and float16, else float64, as in scanpy."""
        return _FLOAT32 if dtype.kind == "f" and dtype != _FLOAT64 else _FLOAT64

    def apply(self, batch: Batch, dtype: np.dtype[Any], keys: NDArray[np.uint64]) -> NDArray[Any]:
        """The logarithms, computed in float64 and rounded once."""
        del keys
        check_not_negative(batch)
        logarithms = pooled_empty(batch.nnz, dtype)
        # By numpy, part by part: a float64 of each takes more time to allocate than to compute.
        scratch = np.empty(CACHE_ENTRIES)
        for part in RowRange(0, batch.nnz).split(CACHE_ENTRIES):
            span, wide = slice(part.start, part.stop), scratch[: len(part)]
            np.log1p(batch.values[span], out=wide, dtype=np.float64)
            logarithms[span] = wide
        return logarithms

    def uns(self, uns: Mapping[str, Any]) -> Mapping[str, Any]:
        """The uns, with the mark of scanpy if X is changed."""
        return uns if self.target is not None else {**uns, "log1p": {"base": None}}


def median_total(totals: NDArray[Any]) -> float:
    """The median of the totals of cells that have any.

    Raises
    ------
    InputError
        If no cell has any.
    """
    positive = as_floats(totals[totals > 0])
    if not len(positive):
        msg = "no cell has a value, so there is no median of totals; give target_sum"
        raise InputError(msg)
    return float(np.median(positive))


def check_not_negative(batch: Batch) -> None:
    """Refuse negative values.

    Raises
    ------
    UnfitValue
        If there is one.
    """
    if batch.values.dtype.kind in "bu" or not batch.nnz:
        return
    negative = batch.values < 0
    if negative.any():
        reason = "but only counts, which are not negative, are normalised; choose their layer"
        raise UnfitValue(int(np.argmax(negative)), reason)


def _check_finite(batch: Batch, values: NDArray[Any]) -> None:
    """Refuse infinite values that were made of finite ones.

    Raises
    ------
    UnfitValue
        If there is one.
    """
    beyond = np.isinf(values) & np.isfinite(batch.values)
    if beyond.any():
        reason = f"too large for {values.dtype} once it is multiplied; choose a smaller target"
        raise UnfitValue(int(np.argmax(beyond)), reason)
