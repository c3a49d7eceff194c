"""What config.json says of the values: exact where it can be, silent where it cannot."""

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
def test_values_whose_sum_is_not_a_number(values: list[float], finite: int) -> None:
    """Infinities and sums beyond float64 are no reason for a warning, nor for a false number."""
    found = Statistics.of(np.array(values))
    assert (found.count, found.finite) == (len(values), finite)
    both = (found + Statistics.of(np.array([2.0]))).summary()
    usual = [value for value in values if math.isfinite(value)] + [2.0]
    assert both["min_value"] == min(usual)
    assert both["max_value"] == max(usual)
    assert all(value is None or math.isfinite(value) for value in both.values())
