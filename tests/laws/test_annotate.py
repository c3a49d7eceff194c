"""Annotating a dataset gives what AnnData gives, whatever AnnData holds."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import slaf
from slaf.errors import InputError
from slaf.testing.strategies import columns
from tests.laws.test_given_back import adatas

if TYPE_CHECKING:
    from slaf.dataset.dataset import Dataset


def bare(adata: anndata.AnnData) -> anndata.AnnData:
    """The matrix, raw and ids of an AnnData."""
    made = anndata.AnnData(adata.X, obs=adata.obs[[]], var=adata.var[[]])
    made.raw = None if adata.raw is None else adata.raw.to_adata()
    return made


def shuffled(adata: anndata.AnnData, rng: np.random.Generator) -> anndata.AnnData:
    """The same cells and genes in another order."""
    with anndata.settings.override(remove_unused_categories=False):
        return adata[rng.permutation(adata.n_obs), rng.permutation(adata.n_vars)].copy()


def converted(adata: anndata.AnnData, path: Path) -> Dataset | None:
    """The dataset of an AnnData; None if it holds what no dataset does."""
    try:
        return slaf.convert(adata, path, chunk_size=2)
    except InputError:
        return None


@settings(max_examples=3)
@given(data=st.data(), seed=st.integers(0, 9))
@pytest.mark.filterwarnings("ignore")
def test_annotating_gives_what_anndata_gives(data: st.DataObject, seed: int) -> None:
    """Columns, elements and layers in any order of ids make the dataset of the whole AnnData."""
    whole = data.draw(adatas("c"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        expected = converted(whole, folder / "whole.slaf")
        if expected is None:
            return
        dataset = slaf.convert(bare(whole), folder / "out.slaf", chunk_size=2)
        dataset = dataset.annotate(from_anndata=shuffled(whole, np.random.default_rng(seed)))
        assert slaf.diff(expected, dataset).differences == ()
        assert slaf.verify(dataset).ok
        assert slaf.verify(dataset, against=bare(whole)).ok
        again = dataset.annotate(from_anndata=dataset.to_anndata())
        assert again.published.versions == dataset.published.versions
        dropped = [each for each in dataset.published.annotated_names if data.draw(st.booleans())]
        dataset = dataset.annotate(drop=dropped)
        assert slaf.verify(dataset).ok
        assert dataset.to_anndata().shape == whole.shape


@settings(max_examples=2)
@given(data=st.data())
@pytest.mark.filterwarnings("ignore")
def test_what_is_replaced_is_what_anndata_sets(data: st.DataObject) -> None:
    """A column or an element by keyword, in the place of another, is what AnnData would hold."""
    whole, n = data.draw(adatas("c")), 0
    replaced: dict[str, Any] = {}
    n = whole.n_obs
    for name in whole.obs.columns[:2]:
        replaced[name] = data.draw(columns(n, on_disk=True))
    with tempfile.TemporaryDirectory() as name:
        dataset = converted(whole, Path(name) / "out.slaf")
        if dataset is None:
            return
        for column, values in replaced.items():
            whole.obs[column] = values
        expected = converted(whole, Path(name) / "whole.slaf")
        if expected is None:
            with pytest.raises(InputError):
                dataset.annotate(obs=replaced, replace=True)
            return
        dataset = dataset.annotate(obs=replaced, obsm={"new": np.ones((n, 2))}, replace=True)
        dataset = dataset.annotate(drop="obsm:new")
        assert slaf.diff(expected, dataset).differences == ()
        assert slaf.verify(dataset).ok
