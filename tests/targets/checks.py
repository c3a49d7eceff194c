"""What an output is held against: the truth that the input was made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from tests.builders import totals

if TYPE_CHECKING:
    import anndata

    from slaf.testing.strategies import Stored

__all__ = ["assert_same", "assert_values", "entries"]


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
