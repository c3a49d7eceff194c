"""Blocks, dask arrays and groups of a view: scanpy on them equals scanpy in memory."""

from __future__ import annotations

import sys
import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import anndata
import dask
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp
from hypothesis import given, settings

import slaf
from slaf.errors import GeneMismatch, MissingPackage, SelectionError
from tests.builders import counts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

N_CELLS, N_GENES = 120, 40
SCANPY = tuple(map(int, version("scanpy").split(".")[:2]))


@pytest.fixture(scope="module")
def adata() -> anndata.AnnData:
    """Counts with a stretch of empty cells, a layer of fractions, and labels."""
    values = counts(N_CELLS, N_GENES).toarray()
    values[30:50] = 0
    matrix: Any = sp.csr_matrix(values)
    labels = np.random.default_rng(0).choice(["NTC", "A", "B"], N_CELLS)
    obs = pd.DataFrame(
        {"perturbation": pd.Categorical(labels, ["NTC", "A", "B"])},
        index=[f"cell-{at}" for at in range(N_CELLS)],
    )
    made = anndata.AnnData(matrix, obs, layers={"halves": matrix / 2})
    made.var_names = [f"gene-{at}" for at in range(N_GENES)]
    made.raw = made
    return made


@pytest.fixture(scope="module")
def dataset(adata: anndata.AnnData, tmp_path_factory: pytest.TempPathFactory) -> slaf.Dataset:
    """A dataset of it, whose parts end where no block does."""
    return slaf.convert(adata, tmp_path_factory.mktemp("blocks") / "a.slaf", chunk_size=35)


def dense(matrix: Any) -> Any:
    """A matrix of any kind as a dense array."""
    matrix = matrix.compute() if hasattr(matrix, "compute") else matrix
    return np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix)


# ------------------------------------------------------------------------------------------- blocks


@settings(max_examples=20)
@given(
    rows=st.none() | st.integers(1, N_CELLS + 1),
    cells=st.lists(st.integers(0, N_CELLS - 1), max_size=9),
)
def test_blocks_make_the_view(
    rows: int | None, cells: list[int], dataset: slaf.Dataset, adata: anndata.AnnData
) -> None:
    """The blocks of any view are its cells in order, none empty, and of the requested length."""
    blocks = list(dataset[cells].blocks(rows))
    names = [name for block in blocks for name in block.obs_names]
    assert names == adata.obs_names[cells].to_list()
    assert all(0 < block.n_obs <= (rows or N_CELLS) for block in blocks)
    assert list(dataset[cells].map_blocks(len, rows)) == [block.n_obs for block in blocks]


def test_a_block_of_no_cells(dataset: slaf.Dataset) -> None:
    """A length that is not positive is refused."""
    with pytest.raises(SelectionError, match="a block of 0 cells holds none"):
        list(dataset.blocks(0))


def test_an_array_of_any_view(dataset: slaf.Dataset, adata: anndata.AnnData) -> None:
    """A dask array has the values and the type of the view, of a layer and raw too; of no cells."""
    part, expected = dataset[::-3, 5:], adata[::-3, 5:]
    for layer, matrix in ((None, expected.X), ("halves", expected.layers["halves"])):
        for rows in (None, 7):
            found = part.to_dask(layer, rows)
            assert (found.shape, found.dtype) == (matrix.shape, matrix.dtype)
            assert isinstance(found._meta, sp.csr_matrix)  # noqa: SLF001 - scanpy asks it
            np.testing.assert_array_equal(dense(found), dense(matrix))
    np.testing.assert_array_equal(dense(part.to_dask("raw")), expected.raw.X.toarray())
    assert dense(dataset[:0].to_dask()).shape == (0, N_GENES)
    lazy = part.to_anndata(lazy=True, layers=["halves"])
    assert lazy.raw.X.shape == expected.raw.shape
    pd.testing.assert_frame_equal(lazy.obs, pd.DataFrame(expected.obs))
    np.testing.assert_array_equal(dense(lazy.layers["halves"]), expected.layers["halves"].toarray())


def qc(adata: anndata.AnnData) -> None:
    """QC metrics."""
    sc.pp.calculate_qc_metrics(adata, percent_top=None, inplace=True)


def normalised(adata: anndata.AnnData) -> None:
    """Normalised, with logarithms."""
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)


def variable(adata: anndata.AnnData) -> None:
    """Highly variable genes."""
    normalised(adata)
    sc.pp.highly_variable_genes(adata, n_top_genes=10)


def components(adata: anndata.AnnData) -> None:
    """Principal components, up to their signs."""
    normalised(adata)
    sc.pp.pca(adata, n_comps=4, svd_solver="covariance_eigh")
    adata.obsm["X_pca"] = np.abs(dense(adata.obsm["X_pca"]))


STEPS: tuple[Callable[[anndata.AnnData], None], ...] = (
    qc,
    lambda adata: sc.pp.filter_cells(adata, min_counts=60),
    lambda adata: sc.pp.filter_genes(adata, min_cells=40),
    normalised,
    variable,
    components,
)


@pytest.mark.parametrize("step", range(len(STEPS)))
@pytest.mark.parametrize("layer", [None, "halves"])
def test_scanpy_in_threads(
    step: int, layer: str | None, dataset: slaf.Dataset, adata: anndata.AnnData
) -> None:
    """A lazy AnnData gives what one in memory gives; blocks are empty, and cross parts."""
    check(step, "threads", layer, dataset, adata)


@pytest.mark.slow
@pytest.mark.parametrize("step", range(len(STEPS)))
def test_scanpy_in_processes(step: int, dataset: slaf.Dataset, adata: anndata.AnnData) -> None:
    """The same in processes of dask."""
    check(step, "processes", None, dataset, adata)


def test_sums_in_processes(dataset: slaf.Dataset, adata: anndata.AnnData) -> None:
    """Blocks are read in processes of dask."""
    with dask.config.set(scheduler="processes", num_workers=2):
        np.testing.assert_array_equal(dense(dataset.to_dask(rows=60)), adata.X.toarray())


def check(
    step: int, scheduler: str, layer: str | None, dataset: slaf.Dataset, adata: anndata.AnnData
) -> None:
    """Compare a step of scanpy on a lazy AnnData with the same in memory."""
    expected = anndata.AnnData(
        adata.X.copy() if layer is None else adata.layers[layer].copy(), adata.obs, adata.var
    )
    found = anndata.AnnData(dataset.to_dask(layer, rows=8), adata.obs.copy(), adata.var.copy())
    with dask.config.set(scheduler=scheduler), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        STEPS[step](found)
        STEPS[step](expected)
        assert found.shape == expected.shape
        np.testing.assert_allclose(dense(found.X), dense(expected.X), rtol=1e-6)
    for one, other in ((found.obs, expected.obs), (found.var, expected.var)):
        pd.testing.assert_frame_equal(one, other, check_dtype=False, rtol=1e-5)
    if "X_pca" in expected.obsm:
        np.testing.assert_allclose(found.obsm["X_pca"], expected.obsm["X_pca"], atol=1e-3)


@pytest.mark.parametrize("flavor", ["seurat", "cell_ranger"])
def test_highly_variable_genes(flavor: str, dataset: slaf.Dataset, adata: anndata.AnnData) -> None:
    """Highly variable genes are scanpy's in memory, of a layer and of batches too."""
    # In bins of two genes, and of batches so small, genes are equally variable.
    options: dict[str, Any] = {"n_top_genes": 10, "n_bins": 5}
    for layer, key in ((None, None), ("halves", "perturbation" if flavor == "seurat" else None)):
        options |= {"layer": layer, "flavor": flavor, "batch_key": key}
        expected = sc.pp.highly_variable_genes(adata, inplace=False, **options)
        found = dataset.highly_variable_genes(**options)
        pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-3)


@pytest.mark.skipif(SCANPY >= (1, 12), reason="newer")
def test_a_flavor_that_needs_a_newer_scanpy(dataset: slaf.Dataset) -> None:
    """A flavor for which scanpy would read all values says which release does not."""
    with pytest.raises(MissingPackage, match=r"install scanpy 1\.12 or newer"):
        dataset.highly_variable_genes("seurat_v3")


@pytest.mark.skipif(SCANPY < (1, 12), reason="older")
def test_a_flavor_of_counts(dataset: slaf.Dataset, adata: anndata.AnnData) -> None:
    """Highly variable genes of counts are scanpy's in memory."""
    options = {"n_top_genes": 10, "flavor": "seurat_v3"}
    expected = sc.pp.highly_variable_genes(adata, inplace=False, **options)
    found = dataset.highly_variable_genes(**options)  # type: ignore[arg-type]
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-5)


def test_without_dask(dataset: slaf.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without dask the extra that has it is named."""
    monkeypatch.setitem(sys.modules, "dask", None)
    with pytest.raises(MissingPackage, match=r"pip install 'slaf\[dask\]'"):
        dataset.to_anndata(lazy=True)


# ------------------------------------------------------------------------------ groups, end to end


def test_groups(dataset: slaf.Dataset, adata: anndata.AnnData) -> None:
    """Groups are the cells of each label in the order of categories, of a view in any order."""
    order = np.random.default_rng(1).permutation(N_CELLS)
    for view, expected in ((dataset, adata), (slaf.scan(adata)[order], adata[order])):
        found = view.groups("perturbation")
        assert list(found) == ["NTC", "A", "B"]
        for label, group in found.items():
            names = expected.obs_names[expected.obs["perturbation"] == label]
            assert group.obs_names.to_list() == names.to_list()
    assert next(iter(dataset.groups(["perturbation"]))) == ("NTC",)
    with pytest.raises(SelectionError, match="obs has no column 'x'"):
        dataset.groups("x")


@pytest.fixture
def views(dataset: slaf.Dataset, adata: anndata.AnnData) -> Iterator[list[slaf.View]]:
    """Parts of a dataset and of an AnnData."""
    with slaf.scan(adata) as scan:
        yield [dataset[5:30:2, ::-1], scan[100:], dataset[:0]]


@pytest.mark.parametrize("join", ["union", "intersection"])
def test_views_end_to_end(join: Any, views: list[slaf.View], adata: anndata.AnnData) -> None:
    """Views end to end are what anndata concatenates in memory, and are aggregated and selected."""
    views = [views[0][:, :30], views[1]]
    both = slaf.concat(views, join=join)
    parts = [adata[5:30:2, ::-1][:, :30], adata[100:]]
    expected = anndata.concat(parts, join="outer" if join == "union" else "inner")
    expected = expected[:, both.var_names]
    assert both.obs_names.to_list() == expected.obs_names.to_list()
    np.testing.assert_array_equal(both.X.to_memory().toarray(), expected.X.toarray())
    np.testing.assert_array_equal(both.sum("cells"), expected.X.sum(0).A1)
    np.testing.assert_array_equal(dense(both.to_dask(rows=9)), expected.X.toarray())


def test_views_of_other_genes(views: list[slaf.View]) -> None:
    """Genes that differ are refused unless a join is chosen; a view of no cells adds none."""
    assert slaf.concat(views).n_obs == 13 + 20
    with pytest.raises(GeneMismatch):
        slaf.concat([views[0][:, :3], views[1]])
