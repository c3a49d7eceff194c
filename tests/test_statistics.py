"""Statistics of values: numbers where they are finite, None where they are not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from slaf.sparse.statistics import Statistics

LARGEST = float(np.finfo(np.float64).max)


@pytest.mark.parametrize(
    ("values", "finite"),
    [
        ([math.inf, -math.inf], 0),
        ([1.0, math.inf, -math.inf, 3.0], 2),
        ([1.0, math.nan, math.inf, 3.0], 2),
        ([LARGEST, LARGEST], 2),
        ([-LARGEST, LARGEST, LARGEST, LARGEST], 4),
        ([LARGEST, -LARGEST, -LARGEST], 3),
    ],
)
def test_values_with_an_infinite_sum(values: list[float], finite: int) -> None:
    """Infinities and sums beyond float64 cause neither a warning nor a wrong number."""
    statistics = Statistics.of(np.array(values))
    assert (statistics.count, statistics.finite) == (len(values), finite)
    both = (statistics + Statistics.of(np.array([2.0]))).summary()
    finite_values = [value for value in values if math.isfinite(value)] + [2.0]
    assert both["min_value"] == min(finite_values)
    assert both["max_value"] == max(finite_values)
    assert all(value is None or math.isfinite(value) for value in both.values())
