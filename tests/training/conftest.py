"""Datasets that the tests of training share."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import slaf

if TYPE_CHECKING:
    from pathlib import Path

N_CELLS, N_GENES = 700, 40

# Doctests are collected by import.
collect_ignore = [] if find_spec("torch") else ["autoencoder.py"]


def annotated(n_cells: int, seed: int, genes: list[str]) -> anndata.AnnData:
    """Counts with labels in order, a number, an array, a layer and raw."""
    rng = np.random.default_rng(seed)
    dense = rng.integers(1, 9, (n_cells, len(genes))) * (rng.random((n_cells, len(genes))) < 0.3)
    dense[3] = 0
    counts = sp.csr_matrix(dense.astype(np.float32))
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(
                [f"type {at * 5 // n_cells}" for at in range(n_cells)],
                categories=[f"type {at}" for at in (4, 3, 2, 1, 0)],
            ),
            "donor": [f"D{at % 7}" for at in range(n_cells)],
            "guide": [("NTC", "A", "B")[at % 3] for at in range(n_cells)],
            "age": rng.random(n_cells),
        },
        index=[f"cell-{seed}-{at}" for at in range(n_cells)],
    )
    obs.loc[obs.index[5], "donor"] = None
    var = pd.DataFrame(index=genes)
    adata = anndata.AnnData(counts, obs=obs, var=var)
    adata.obsm["X_pca"] = rng.random((n_cells, 3))
    adata.layers["spliced"] = sp.csr_matrix(dense * (rng.random(dense.shape) < 0.5))
    adata.raw = anndata.AnnData(counts * 2, var=var)
    return adata


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> slaf.Dataset:
    """One input, in several parts; not to be changed."""
    folder: Path = tmp_path_factory.mktemp("training")
    genes = [f"gene-{at}" for at in range(N_GENES)]
    adata = annotated(N_CELLS, 0, genes)
    return slaf.convert(adata, folder / "one.slaf", chunk_size=250)


@pytest.fixture(scope="session")
def union(tmp_path_factory: pytest.TempPathFactory) -> slaf.Dataset:
    """Two inputs with different genes; not to be changed."""
    folder: Path = tmp_path_factory.mktemp("union")
    inputs = [annotated(100, 1, ["a", "b", "c", "d"]), annotated(60, 2, ["c", "a", "e"])]
    return slaf.convert(inputs, folder / "union.slaf", join="union")
