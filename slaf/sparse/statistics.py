"""Count, range, mean and deviation of values, gathered piece by piece."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

__all__ = ["Statistics"]


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of some finite values; the others are only counted.

    Attributes
    ----------
    count
        All values.
    finite
        Those that are neither NaN nor infinite, which the rest is about.
    least, greatest
        Their range; None if there are none.
    mean
        Their mean.
    squares
        The sum of their squared distances from the mean.
    """

    count: int = 0
    finite: int = 0
    least: float | None = None
    greatest: float | None = None
    mean: float = 0.0
    squares: float = 0.0

    @classmethod
    # Sums that are infinite, or where infinities of both signs meet, are not worth a warning.
    @np.errstate(over="ignore", invalid="ignore")
    def of(cls, values: NDArray[np.float64]) -> Statistics:
        """Of these values, which are not kept."""
        count = len(values)
        if not count:
            return cls()
        total = float(values.sum())
        if not math.isfinite(total):
            values = values[np.isfinite(values)]
            if not len(values):
                return cls(count)
            # Finite values may still have an infinite sum: then it says so.
            total = float(values.sum())
        mean = total / len(values)
        distances = values - mean
        least, greatest = float(values.min()), float(values.max())
        # Not `dot`, which would keep all cores busy waiting for each other.
        squares = float(np.einsum("i,i->", distances, distances))
        return cls(count, len(values), least, greatest, mean, squares)

    def __add__(self, other: Statistics) -> Statistics:
        """Of the values of both (Chan, Golub and LeVeque 1979)."""
        if not self.finite or not other.finite:
            some = self if self.finite else other
            return Statistics(
                self.count + other.count,
                some.finite,
                some.least,
                some.greatest,
                some.mean,
                some.squares,
            )
        finite = self.finite + other.finite
        apart = other.mean - self.mean
        return Statistics(
            self.count + other.count,
            finite,
            min(_known(self.least), _known(other.least)),
            max(_known(self.greatest), _known(other.greatest)),
            self.mean + apart * other.finite / finite,
            self.squares + other.squares + apart * apart * self.finite * other.finite / finite,
        )

    @classmethod
    def total(cls, parts: Iterable[Statistics]) -> Statistics:
        """Of the values of all, in this order."""
        whole = cls()
        for part in parts:
            whole = whole + part
        return whole

    @classmethod
    def from_summary(cls, count: int, summary: Mapping[str, float | None]) -> Statistics:
        """Of `count` values, as `summary` wrote it."""
        # What the first datasets do not say can be told where every value is finite.
        finite = int(summary.get("finite_count", count) or 0)
        if not finite:
            return cls(count)
        squares = summary.get("squares")
        if squares is None:
            squares = _known(summary["std_value"]) ** 2 * finite
        least, greatest = summary["min_value"], summary["max_value"]
        return cls(count, finite, least, greatest, _known(summary["mean_value"]), squares)

    def summary(self) -> dict[str, float | None]:
        """As config.json has them, under slafdb's names; None for what is not a number.

        The last two, which slafdb does not know, let others be added to them.
        """
        deviation = math.sqrt(self.squares / self.finite) if self.finite else None
        found = {
            "min_value": self.least,
            "max_value": self.greatest,
            "mean_value": self.mean if self.finite else None,
            "std_value": deviation,
            "finite_count": self.finite,
            "squares": self.squares if self.finite else None,
        }
        return {
            name: value if value is not None and math.isfinite(value) else None
            for name, value in found.items()
        }


def _known(value: float | None) -> float:
    return math.nan if value is None else value
