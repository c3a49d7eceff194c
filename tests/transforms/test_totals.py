"""Totals are exact, and do not depend on how cells are read."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from slaf.sparse.ranges import RowRange
from slaf.sparse.reduce import row_sums


@given(st.lists(st.lists(st.integers(-(2**62), 2**62), max_size=4), max_size=6))
@settings(max_examples=40, deadline=None)
def test_whole_numbers_are_summed_exactly(rows: list[list[int]]) -> None:
    """The sum of a row is the one of Python's integers, where 64 bits hold it."""
    counts = np.array([len(row) for row in rows], np.int64)
    values = np.array([value for row in rows for value in row], np.int64)
    for row, total in zip(rows, row_sums(counts, values).tolist(), strict=True):
        if abs(sum(row)) < 2**63:
            assert total == sum(row)


def test_floats_are_summed_from_left_to_right() -> None:
    """However rows are cut into batches, a row has the same bits."""
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 90, 50)
    values = rng.random(int(counts.sum())).astype(np.float32)
    whole = row_sums(counts, values)
    for rows in RowRange(0, 50).split(7):
        start, stop = (int(counts[:at].sum()) for at in (rows.start, rows.stop))
        part = row_sums(counts[rows.start : rows.stop], values[start:stop])
        assert part.tolist() == whole[rows.start : rows.stop].tolist()
