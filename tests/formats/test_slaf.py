"""A dataset as an input: all that it holds, and the names of what one input does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import slaf
from slaf.errors import MissingMatrix

if TYPE_CHECKING:
    from pathlib import Path


def sample(name: str, genes: list[str]) -> anndata.AnnData:
    """Three cells with these genes, a layer and raw."""
    matrix = sp.csr_matrix(np.arange(1, 3 * len(genes) + 1, dtype=np.float32).reshape(3, -1))
    obs = pd.DataFrame({"kind": ["a", "b", "a"]}, index=[f"{name}-{at}" for at in range(3)])
    var = pd.DataFrame(index=genes)
    adata = anndata.AnnData(matrix, obs=obs, var=var, layers={"twice": matrix * 2})
    adata.raw = anndata.AnnData(matrix * 3, obs=obs, var=var)
    return adata


@pytest.mark.parametrize("matrix", ["X", "raw", "layer:twice"])
def test_each_matrix(matrix: str, tmp_path: Path) -> None:
    """Each matrix of a dataset is converted as the same one of its input."""
    adata = sample("c", ["x", "y"])
    first = slaf.convert(adata, tmp_path / "first.slaf")
    again = slaf.convert(tmp_path / "first.slaf", tmp_path / "again.slaf", matrix=matrix)
    expected = slaf.convert(adata, tmp_path / "expected.slaf", matrix=matrix)
    assert slaf.diff(again, expected).ok
    assert slaf.verify(again, against=first.location.path).ok
    with pytest.raises(MissingMatrix, match="choose one with --matrix: X, raw, layer:twice"):
        slaf.convert(tmp_path / "first.slaf", tmp_path / "no.slaf", matrix="layer:none")


def test_what_belongs_to_one_of_several_inputs_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a union, the genes that each input has measured are named as not converted."""
    inputs = [sample("c", ["x", "y"]), sample("d", ["y", "z"])]
    slaf.convert(inputs, tmp_path / "union.slaf", join="union")
    again = slaf.convert(tmp_path / "union.slaf", tmp_path / "again.slaf")
    assert again.genes_present(0).tolist() == [True, True, True]
    assert "the genes that each input has measured" in caplog.text
    caplog.clear()
    slaf.convert(inputs[0], tmp_path / "one.slaf")
    slaf.convert(tmp_path / "one.slaf", tmp_path / "two.slaf")
    assert "measured" not in caplog.text
