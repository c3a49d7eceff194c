"""Cells and genes asked for in every way, as positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given

from slaf.annotations.columns import find_names
from slaf.dataset.selection import resolve_indexer
from slaf.errors import SelectionError
from slaf.sparse.ranges import as_positions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_IDS = ["a", "b", "c", "b", "e"]


@dataclass(frozen=True)
class Named:
    """Cells with ids; a filter gives its length."""

    size: int
    axis: str = "cells"

    def ids(self) -> pa.ChunkedArray:
        """Their ids."""
        return pa.chunked_array([_IDS])

    def find(self, names: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where ids are."""
        return find_names(names, self.ids())

    def symbols(self) -> None:
        """No symbols."""

    def is_filter(self, text: str) -> bool:
        """Only "c" is a filter too."""
        return text == "c"

    def where(self, condition: str) -> NDArray[np.int64]:
        """The length of the filter."""
        return np.array([len(condition)])


def _positions(selector: Any, n: int = 5) -> NDArray[np.int64]:
    return as_positions(resolve_indexer(selector, Named(n)))


@given(st.integers(0, 9), st.slices(9))
def test_a_slice_selects_what_it_selects_of_a_list(n: int, chosen: slice) -> None:
    """Steps, negative ends and backward slices mean what they mean in Python."""
    assert _positions(chosen, n).tolist() == list(range(n))[chosen]


@given(st.lists(st.integers(-5, 4), max_size=8))
def test_positions_may_be_negative_repeated_and_in_any_order(chosen: list[int]) -> None:
    """A list of positions selects those of a list, in the order asked for."""
    assert _positions(chosen).tolist() == [range(5)[at] for at in chosen]
    assert _positions(np.array(chosen, np.int16)).tolist() == [range(5)[at] for at in chosen]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16])
def test_narrow_integers_select_among_many(dtype: type[np.integer[Any]]) -> None:
    """Positions in a type that does not hold the number of cells are positions all the same."""
    assert _positions(np.array([3, 0, 99], dtype), 70_000).tolist() == [3, 0, 99]
    if dtype is not np.uint8:
        assert _positions(np.array([-1], dtype), 70_000).tolist() == [69_999]


@given(st.lists(st.booleans(), min_size=5, max_size=5))
def test_a_mask_selects_where_it_is_true(mask: list[bool]) -> None:
    """A list or array of booleans, one a cell, selects the cells it is true for."""
    expected = [at for at, wanted in enumerate(mask) if wanted]
    assert _positions(mask).tolist() == expected
    assert _positions(np.array(mask)).tolist() == expected


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (None, [0, 1, 2, 3, 4]),
        (2, [2]),
        (-1, [4]),
        (np.int64(3), [3]),
        (np.uint8(3), [3]),
        ([], []),
        (np.array([]), []),
        (["e", "a", "e"], [4, 0, 4]),
        (("c",), [2]),
        (np.array(["c", "a"]), [2, 0]),
        (np.array(["c", "a"], object), [2, 0]),
        (range(1, 3), [1, 2]),
        ("x > 3", [5]),
    ],
    ids=repr,
)
def test_everything_that_selects(selector: Any, expected: list[int]) -> None:
    """All, one, none, ids in their order, and a string, which is a filter."""
    found = _positions(selector)
    assert found.tolist() == expected
    assert found.dtype == np.int64


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        (5, "there is no position 5 among 5 cells"),
        (-6, "there is no position -6 among 5 cells"),
        ([0, 7], "there is no position 7"),
        ([True, False], "the mask has 2 values, but there are 5 cells"),
        ([0.5], "selected by whole numbers, not by values of type float64"),
        ([1.0], "selected by whole numbers"),
        (["b"], "'b' is the id of several cells; select them by position"),
        (["a", "x", "y"], "there are no cells with the id 'x', 'y'"),
        (["x"], "there are no cells with the id 'x'$"),
        (["a", 1], "there are no cells with the id"),
        ([[0, 1]], "by one dimension, not by an array of 2"),
        (np.uint64(2**63 + 1), "there is no position 9223372036854775809"),
    ],
    ids=repr,
)
def test_what_is_not_there_is_named(selector: Any, message: str) -> None:
    """A position, id or mask that does not fit is an error that says what was asked for."""
    with pytest.raises(SelectionError, match=message):
        _positions(selector)
