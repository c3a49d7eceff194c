"""What an output is held against: the truth that the input was made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from slaf.annotations.equality import equal_elements
from tests.builders import as_matrix, totals

if TYPE_CHECKING:
    import anndata

    from slaf.testing.strategies import Stored

__all__ = ["assert_everything", "assert_same", "assert_values", "entries", "plainly"]


def entries(matrix: Any) -> dict[tuple[int, int], Any]:
    """What a matrix holds where it is not zero, by cell and gene."""
    found = sp.coo_array(matrix)
    places = zip(found.coords[0].tolist(), found.coords[1].tolist(), strict=True)
    return dict(zip(places, found.data.tolist(), strict=True))


def assert_values(matrix: Any, expected: Stored) -> None:
    """Compare every value of an output with Python's own sums of what went in."""
    assert matrix.shape == expected.shape
    found, wanted = entries(matrix), totals(expected)
    assert found.keys() == wanted.keys()
    for place, value in wanted.items():
        assert found[place] == value or (found[place] != found[place] and value != value)  # noqa: PLR0124


def assert_same(found: anndata.AnnData, expected: anndata.AnnData) -> None:
    """Compare X, obs and var of two AnnData, types and names included."""
    assert found.X.dtype == expected.X.dtype
    one, other = (sp.csr_array(adata.X).sorted_indices() for adata in (found, expected))
    assert one.shape == other.shape
    np.testing.assert_array_equal(one.indptr, other.indptr)
    np.testing.assert_array_equal(one.indices, other.indices)
    np.testing.assert_array_equal(one.data, other.data)
    for name in ("obs", "var"):
        frames = getattr(found, name), getattr(expected, name)
        pd.testing.assert_frame_equal(*frames)
        assert frames[0].index.name == frames[1].index.name


SLOTS = ("obsm", "varm", "obsp", "varp", "uns")


def assert_everything(
    found: anndata.AnnData, expected: anndata.AnnData, *, texts: bool = False
) -> None:
    """Compare two AnnData in every slot; matrices of cells and genes may be of another layout.

    With `texts`, text may be held by another of numpy's types.
    """
    assert_same_matrix(found.X, expected.X)
    assert set(found.layers) == set(expected.layers)
    for name in expected.layers:
        assert_same_matrix(found.layers[name], expected.layers[name])
    for slot in ("obs", "var"):
        assert equal_elements(getattr(found, slot), getattr(expected, slot)), slot
    for slot in SLOTS:
        ours, theirs = dict(getattr(found, slot)), dict(getattr(expected, slot))
        assert set(ours) == set(theirs), slot
        for key, element in theirs.items():
            pair = (ours[key], element)
            assert equal_elements(*(map(plainly, pair) if texts else pair)), (slot, key)
    assert (found.raw is None) == (expected.raw is None)
    if expected.raw is not None:
        assert_same_matrix(found.raw.X, expected.raw.X)
        assert equal_elements(found.raw.var, expected.raw.var), "var of raw"
        assert equal_elements(dict(found.raw.varm), dict(expected.raw.varm)), "varm of raw"


def assert_same_matrix(found: Any, expected: Any) -> None:
    """Compare type and every value, NaN included."""
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(as_matrix(found), as_matrix(expected))


def plainly(element: Any) -> Any:
    """The same with all text as Python's own: of numpy's types the values are what counts."""
    if isinstance(element, Mapping):
        return {key: plainly(value) for key, value in element.items()}
    if isinstance(element, np.str_):
        return str(element)
    if not isinstance(element, np.ndarray):
        return element
    if element.dtype.names is not None:
        return {name: plainly(element[name]) for name in element.dtype.names}
    return element.astype(object) if element.dtype.kind in "UT" else element
