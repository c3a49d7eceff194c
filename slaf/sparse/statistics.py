"""Count, range, mean and deviation of values, which can be merged."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from slaf.kernels import kernels

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

__all__ = ["Statistics"]


@dataclass(frozen=True, slots=True)
class Statistics:
    """Statistics of the finite values; the others are only counted.

    Attributes
    ----------
    count
        The number of all values.
    finite
        The number of values that are neither NaN nor infinite.
    minimum, maximum
        Their range; None if there are none.
    mean
        Their mean.
    squares
        The sum of their squared deviations from the mean.
    """

    count: int = 0
    finite: int = 0
    minimum: float | None = None
    maximum: float | None = None
    mean: float = 0.0
    squares: float = 0.0

    @classmethod
    # Infinite sums, and sums of infinities of both signs, need no warning.
    @np.errstate(over="ignore", invalid="ignore")
    def of(cls, values: NDArray[np.float64]) -> Statistics:
        """The statistics of some values."""
        count = len(values)
        if not count:
            return cls()
        total = float(values.sum())
        if not math.isfinite(total):
            values = values[np.isfinite(values)]
            if not len(values):
                return cls(count)
            # The sum of finite values may be infinite too.
            total = float(values.sum())
        mean = total / len(values)
        deviations = values - mean
        # Not `dot`, whose threads would compete with those of other parts.
        squares = float(np.einsum("i,i->", deviations, deviations))
        return cls(count, len(values), float(values.min()), float(values.max()), mean, squares)

    @classmethod
    def of_counts(cls, values: NDArray[np.uint16]) -> Statistics:
        """The statistics of small whole numbers, whose sums are exact."""
        count = len(values)
        if not count:
            return cls()
        total, squares, least, largest = kernels().sums(values)
        deviations = (squares * count - total * total) / count
        return cls(count, count, float(least), float(largest), total / count, deviations)

    def __add__(self, other: Statistics) -> Statistics:
        """The statistics of the values of both (Chan, Golub and LeVeque 1979)."""
        count = self.count + other.count
        if not self.finite or not other.finite:
            return replace(self if self.finite else other, count=count)
        finite = self.finite + other.finite
        shift = other.mean - self.mean
        return Statistics(
            count,
            finite,
            min(_number(self.minimum), _number(other.minimum)),
            max(_number(self.maximum), _number(other.maximum)),
            self.mean + shift * other.finite / finite,
            self.squares + other.squares + shift * shift * self.finite * other.finite / finite,
        )

    @classmethod
    def total(cls, parts: Iterable[Statistics]) -> Statistics:
        """The statistics of the values of all parts, added in their order."""
        return sum(parts, cls())

    @classmethod
    def from_summary(cls, count: int, summary: Mapping[str, float | None]) -> Statistics:
        """The statistics of `count` values from their `summary`."""
        # The first datasets lack two entries, which follow from the others if all are finite.
        finite = int(summary.get("finite_count", count) or 0)
        if not finite:
            return cls(count)
        squares = summary.get("squares")
        if squares is None:
            squares = _number(summary["std_value"]) ** 2 * finite
        minimum, maximum = summary["min_value"], summary["max_value"]
        return cls(count, finite, minimum, maximum, _number(summary["mean_value"]), squares)

    def summary(self) -> dict[str, float | None]:
        """The entries of config.json, by slafdb's names; None for a value that is not finite.

        The last two, which slafdb does not have, are needed to merge statistics.
        """
        deviation = math.sqrt(self.squares / self.finite) if self.finite else None
        values = {
            "min_value": self.minimum,
            "max_value": self.maximum,
            "mean_value": self.mean if self.finite else None,
            "std_value": deviation,
            "finite_count": self.finite,
            "squares": self.squares if self.finite else None,
        }
        return {
            name: value if value is not None and math.isfinite(value) else None
            for name, value in values.items()
        }


def _number(value: float | None) -> float:
    return math.nan if value is None else value
