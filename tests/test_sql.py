"""Queries give the right numbers, whatever types the tables chose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd
import pytest

import slaf
from slaf.errors import QueryError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("largest", "stored"), [(2**16 - 1, "uint16"), (2**32 - 1, "uint32"), (-(2**31), "int32")]
)
def test_sums_do_not_overflow(largest: int, stored: str, tmp_path: Path) -> None:
    """SUM over values of 16 and 32 bits, and over products of 16 bits, is the exact sum."""
    values = np.full((3, 2), largest)
    ds = slaf.convert(anndata.AnnData(values), tmp_path / "out.slaf")
    assert ds.published.value_type == stored
    whole = ds.sql("SELECT SUM(value) AS total FROM expression")
    assert whole["total"].to_list() == [6 * largest]
    grouped = ds.sql("SELECT SUM(value) AS total FROM expression GROUP BY gene_integer_id")
    assert grouped["total"].to_list() == [3 * largest] * 2
    if stored == "uint16":
        squares = ds.sql("SELECT SUM(value * value) AS total FROM expression")
        assert squares["total"].to_list() == [6 * largest**2]


def test_sums_of_columns_do_not_overflow(tmp_path: Path) -> None:
    """SUM over a 32-bit column of obs is the exact sum, and over a float32 one that of float64."""
    obs = pd.DataFrame(
        {"depth": np.full(4, 2**30, np.int32), "share": np.full(4, 0.1, np.float32)},
        index=list("abcd"),
    )
    ds = slaf.convert(anndata.AnnData(np.ones((4, 1)), obs=obs), tmp_path / "out.slaf")
    sums = ds.sql("SELECT SUM(depth) AS depth, SUM(share) AS share FROM cells")
    assert sums.row(0) == (2**32, obs["share"].to_numpy().astype(np.float64).sum())


@pytest.mark.parametrize(
    "query",
    [
        *("DROP TABLE cells", " delete FROM expression", "Create TABLE x AS SELECT 1"),
        "-- all of it\n/* now\n*/ DROP TABLE cells",
    ],
)
def test_what_is_no_query(query: str, tmp_path: Path) -> None:
    """What would change a table is refused: it would change nothing, and say so to nobody."""
    ds = slaf.convert(anndata.AnnData(np.eye(3)), tmp_path / "out.slaf")
    with pytest.raises(QueryError, match="nothing is changed by SQL"):
        ds.sql(query)
    assert ds.sql("SELECT COUNT(*) AS n FROM cells")["n"].to_list() == [3]
