"""Figures as inline SVG: a knee plot, and rows of boxes or bars on one axis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slaf.reports.text import power_of_ten

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Axis", "bar", "box", "knee"]

# The knee plot in its own units.
_WIDTH, _HEIGHT = 320, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 18, 8, 34

# The length of an axis of rows; these are stretched to the width of the page.
_LENGTH = 1000


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis of rows from zero, or the least value, to the greatest.

    Attributes
    ----------
    low, high
        Its ends.
    is_log
        Whether it is that of the logarithm of one more than each value.
    """

    low: float
    high: float
    is_log: bool

    @classmethod
    def of(cls, values: Sequence[float], *, is_log: bool) -> Axis:
        """The axis of some values; of negative ones it is not logarithmic."""
        low, high = min(0.0, *values, 0.0), max(0.0, *values, 0.0)
        return cls(low, high if high > low else low + 1, is_log and low == 0)

    def place(self, value: float) -> int:
        """Where a value is, from 0 to 1000."""
        if self.is_log:
            return round(_LENGTH * math.log1p(value) / math.log1p(self.high))
        return round(_LENGTH * ((value - self.low) / (self.high - self.low)))

    def ticks(self) -> Iterator[float]:
        """The values that are labelled."""
        if not self.is_log:
            yield from (self.low, (self.low + self.high) / 2, self.high)
            return
        decades = math.floor(math.log10(max(self.high, 1)))
        step = 1 + decades // 4
        powers = (10.0**power for power in range(1, decades + 1, step))
        yield from (0.0, *(powers if decades else (self.high,)))


def box(axis: Axis, five: Sequence[float]) -> str:
    """The range as a line, the quartiles as a box, and the median as a line in it."""
    low, q25, median, q75, high = map(axis.place, five)
    return (
        f'{_row()}<path class="l" d="M{low} 10H{high}M{low} 5V15M{high} 5V15"/>'
        f'<rect class="b" x="{q25}" y="3" width="{max(q75 - q25, 2)}" height="14"/>'
        f'<path class="m" d="M{median} 1V19"/></svg>'
    )


def bar(axis: Axis, value: float) -> str:
    """A bar from zero to a value."""
    start, stop = sorted((axis.place(0), axis.place(value)))
    width = max(stop - start, 2)
    return f'{_row()}<rect class="b" x="{start}" y="3" width="{width}" height="14"/></svg>'


def _row() -> str:
    """A row; its numbers are next to it and in a table, so that a reader aloud leaves it out."""
    return f'<svg viewBox="0 0 {_LENGTH} 20" preserveAspectRatio="none" aria-hidden="true">'


def knee(points: Sequence[tuple[int, float]], title: str, mark: str) -> str:
    """Sums of cells by rank, on logarithmic axes.

    Parameters
    ----------
    points
        Ranks and sums; two or more.
    title
        The alternative text, escaped.
    mark
        The id of its title.
    """
    last, low, high = points[-1][0], points[-1][1], points[0][1]
    x_axis = (0, max(math.ceil(math.log10(last)), 1))
    y_axis = (math.floor(math.log10(low)), math.ceil(math.log10(high)))
    y_axis = (y_axis[0], max(y_axis[1], y_axis[0] + 1))
    line = " ".join(f"{_across(x_axis, x)},{_down(y_axis, y)}" for x, y in points)
    return (
        f'<svg class="k" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-labelledby="{mark}">'
        f'<title id="{mark}">{title}</title>{"".join(_grid(x_axis, y_axis))}'
        f'<polyline class="c" points="{line}"/></svg>'
    )


def _grid(x_axis: tuple[int, int], y_axis: tuple[int, int]) -> Iterator[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    for power in _powers(x_axis):
        x = _across(x_axis, 10.0**power)
        yield f'<path class="g" d="M{x} {_TOP}V{bottom}"/>'
        yield f'<text x="{x}" y="{bottom + 14}" text-anchor="middle">{power_of_ten(power)}</text>'
    for power in _powers(y_axis):
        y = _down(y_axis, 10.0**power)
        yield f'<path class="g" d="M{_LEFT} {y}H{right}"/>'
        yield f'<text x="{_LEFT - 4}" y="{y + 4}" text-anchor="end">{power_of_ten(power)}</text>'
    yield f'<text x="{(_LEFT + right) // 2}" y="{_HEIGHT - 4}" text-anchor="middle">rank</text>'


def _powers(axis: tuple[int, int]) -> range:
    return range(axis[0], axis[1] + 1, 1 + (axis[1] - axis[0]) // 6)


def _across(axis: tuple[int, int], value: float) -> int:
    share = (math.log10(value) - axis[0]) / (axis[1] - axis[0])
    return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT))


def _down(axis: tuple[int, int], value: float) -> int:
    share = (math.log10(value) - axis[0]) / (axis[1] - axis[0])
    return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM))
