"""Comparison of outputs with the data that the input was made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from slaf.annotations.equality import equal_elements
from tests.builders import assert_same_matrix, totals

if TYPE_CHECKING:
    import anndata

    from slaf.testing.strategies import Stored

__all__ = ["assert_everything", "assert_same", "assert_values", "entries", "with_python_strings"]


def entries(matrix: Any) -> dict[tuple[int, int], Any]:
    """The values of a matrix that are not zero, by cell and gene."""
    result = sp.coo_array(matrix)
    positions = zip(result.coords[0].tolist(), result.coords[1].tolist(), strict=True)
    return dict(zip(positions, result.data.tolist(), strict=True))


def assert_values(matrix: Any, expected: Stored) -> None:
    """Compare every value of an output with sums of the input that Python computes."""
    assert matrix.shape == expected.shape
    values, expected_values = entries(matrix), totals(expected)
    assert values.keys() == expected_values.keys()
    for position, value in expected_values.items():
        assert same_value(values[position], value)


def same_value(left: Any, right: Any) -> bool:
    """Whether two numbers are equal, or both NaN."""
    return bool(left == right or (left != left and right != right))  # noqa: PLR0124


def assert_same(result: anndata.AnnData, expected: anndata.AnnData) -> None:
    """Compare X, obs and var of two AnnData, types and names included."""
    assert result.X.dtype == expected.X.dtype
    left, right = (sp.csr_array(adata.X).sorted_indices() for adata in (result, expected))
    assert left.shape == right.shape
    np.testing.assert_array_equal(left.indptr, right.indptr)
    np.testing.assert_array_equal(left.indices, right.indices)
    np.testing.assert_array_equal(left.data, right.data)
    for name in ("obs", "var"):
        frames = getattr(result, name), getattr(expected, name)
        pd.testing.assert_frame_equal(*frames)
        assert frames[0].index.name == frames[1].index.name


SLOTS = ("obsm", "varm", "obsp", "varp", "uns")


def assert_everything(
    result: anndata.AnnData, expected: anndata.AnnData, *, texts: bool = False
) -> None:
    """Compare two AnnData in every slot; matrices may have another layout.

    With `texts`, strings may have another numpy type.
    """
    assert_same_matrix(result.X, expected.X)
    assert set(result.layers) == set(expected.layers)
    for name in expected.layers:
        assert_same_matrix(result.layers[name], expected.layers[name])
    for slot in ("obs", "var"):
        assert equal_elements(getattr(result, slot), getattr(expected, slot)), slot
    for slot in SLOTS:
        elements, expected_elements = dict(getattr(result, slot)), dict(getattr(expected, slot))
        assert set(elements) == set(expected_elements), slot
        for key, element in expected_elements.items():
            pair = (elements[key], element)
            assert equal_elements(*(map(with_python_strings, pair) if texts else pair)), (slot, key)
    assert (result.raw is None) == (expected.raw is None)
    if expected.raw is not None:
        assert_same_matrix(result.raw.X, expected.raw.X)
        assert equal_elements(result.raw.var, expected.raw.var), "var of raw"
        assert equal_elements(dict(result.raw.varm), dict(expected.raw.varm)), "varm of raw"


def with_python_strings(element: Any) -> Any:
    """An element with Python strings in place of numpy's string types."""
    if isinstance(element, Mapping):
        return {key: with_python_strings(value) for key, value in element.items()}
    if isinstance(element, np.str_):
        return str(element)
    if not isinstance(element, np.ndarray):
        return element
    if element.dtype.names is not None:
        return {name: with_python_strings(element[name]) for name in element.dtype.names}
    return element.astype(object) if element.dtype.kind in "UT" else element
