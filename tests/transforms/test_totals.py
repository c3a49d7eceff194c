"""Totals are exact, and do not depend on how cells are read."""

from __future__ import annotations

from typing import Any

import anndata
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings

import slaf
from slaf.errors import InputError
from slaf.sparse.ranges import RowRange
from slaf.sparse.reduce import row_sums


@given(st.lists(st.lists(st.integers(-(2**62), 2**62), max_size=4), max_size=6))
@settings(max_examples=40, deadline=None)
def test_whole_numbers_are_summed_exactly(rows: list[list[int]]) -> None:
    """The sum of a row is the one of Python's integers, also where 64 bits do not hold it."""
    counts = np.array([len(row) for row in rows], np.int64)
    values = np.array([value for row in rows for value in row], np.int64)
    for row, total in zip(rows, row_sums(counts, values).tolist(), strict=True):
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


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_totals_beyond_64_bits(dtype: Any) -> None:
    """A total that 64 bits do not hold is a larger number, and not one that wrapped around."""
    values = np.array([2**62, 2**62, 2**62, 1, 3], dtype)
    assert row_sums(np.array([3, 0, 2]), values).tolist() == [3 * 2**62, 0, 4]
    matrix = sp.csr_matrix((values, [0, 1, 2, 0, 1], [0, 3, 5]), (2, 3))
    normal = slaf.scan(anndata.AnnData(matrix)).normalize_total(12).X.to_memory().toarray()
    assert normal.tolist() == [[4, 4, 4], [3, 9, 0]]


def test_what_a_float_does_not_hold_is_refused() -> None:
    """A value that is too large once it is multiplied is refused; one that is infinite is not."""
    tiny = slaf.scan(anndata.AnnData(sp.csr_matrix(np.array([[1e-310, 0, 2e-310]]))))
    with pytest.raises(InputError, match="too large for float64 once it is multiplied"):
        tiny.normalize_total(1e4).X.to_memory()
    infinite = slaf.scan(anndata.AnnData(sp.csr_matrix(np.array([[np.inf, 1.0]]))))
    assert np.isnan(infinite.normalize_total(1e4).X.to_memory()[0, 0])
