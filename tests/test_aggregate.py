"""QC metrics and aggregates are those of scanpy in memory."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import anndata
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp
from hypothesis import given, settings

import slaf
from slaf.errors import InexactValue, SelectionError
from slaf.testing.strategies import matrices
from tests.builders import counts

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def example(n_cells: int = 50, n_genes: int = 30) -> anndata.AnnData:
    """Counts with empty cells, masks of genes, and groups of which some cells have none."""
    rng = np.random.default_rng(0)
    matrix = counts(n_cells, n_genes).tolil()
    matrix[[0, n_cells - 1]] = 0
    obs = pd.DataFrame(
        {
            "kind": pd.Categorical(rng.choice(["b", "a"], n_cells), ["b", "a", "unused"]),
            "donor": [None if at % 7 == 0 else "xy"[at % 2] for at in range(n_cells)],
        },
        index=[f"cell-{at}" for at in range(n_cells)],
    )
    names = [f"{'MT-' if at % 5 == 0 else 'G'}{at}" for at in range(n_genes)]
    var = pd.DataFrame(
        {"gene_name": names, "ribo": np.arange(n_genes) % 3 == 0},
        index=[f"ENSG{at}" for at in range(n_genes)],
    )
    adata = anndata.AnnData(matrix.tocsr(), obs, var, layers={"halves": matrix.tocsr() / 2})
    adata.raw = adata
    return adata


@pytest.fixture(scope="module")
def adata() -> anndata.AnnData:
    """The example in memory."""
    return example()


@pytest.fixture(scope="module")
def dataset(adata: anndata.AnnData, tmp_path_factory: pytest.TempPathFactory) -> slaf.Dataset:
    """The example as a dataset of several parts."""
    return slaf.convert(adata, tmp_path_factory.mktemp("qc") / "a.slaf", chunk_size=11, raw=True)


def assert_as_scanpy(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Compare the names, the order and the values of metrics."""
    assert list(found) == list(expected)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-6, atol=1e-12)


# scanpy compiles its shares of the greatest counts for a minute.
@pytest.mark.parametrize("tops", [(), pytest.param((3, 30), marks=pytest.mark.slow)])
@pytest.mark.parametrize("layer", [None, "halves", "raw"])
def test_metrics_of_scanpy(
    tops: tuple[int, ...], layer: str | None, dataset: slaf.Dataset, adata: anndata.AnnData
) -> None:
    """QC metrics have scanpy's names, order and values, of any layer, selected or not."""
    mine = adata.copy()
    mine.var["mt"] = mine.var["gene_name"].str.startswith("MT-")
    for view, expected in ((dataset, mine), (slaf.scan(adata)[::-2], mine[::-2].copy())):
        found = view.qc_metrics(mt="^MT-", var_mask="ribo", percent_top=tops, layer=layer)
        expected.var["mt"] = mine.var["mt"]
        with np.errstate(all="ignore"):
            obs, var = sc.pp.calculate_qc_metrics(
                expected,
                qc_vars=["mt", "ribo"],
                percent_top=tops,
                layer=None if layer == "raw" else layer,
                use_raw=layer == "raw",
            )
        assert_as_scanpy(found.obs, obs)
        assert_as_scanpy(found.var, var)


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_metrics_of_any_counts(data: st.DataObject) -> None:
    """QC metrics of any counts are scanpy's."""
    values = st.integers(0, 2**20)
    stored = data.draw(matrices(np.dtype("f4"), repeated=False, values=values.map(float)))
    n_cells, n_genes = stored.shape
    if not n_cells or not n_genes:
        return
    mask = data.draw(st.lists(st.booleans(), min_size=n_genes, max_size=n_genes))
    tops = data.draw(st.lists(st.integers(1, n_genes), unique=True, max_size=3))
    adata = anndata.AnnData(
        sp.csr_matrix(stored.dense()),
        var=pd.DataFrame({"mine": mask}, index=list(map(str, range(n_genes)))),
    )
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        obs, var = sc.pp.calculate_qc_metrics(adata, qc_vars=["mine"], percent_top=None)
    found = slaf.scan(adata).qc_metrics(mask={"mine": mask}, percent_top=tops)
    assert_as_scanpy(found.obs[list(obs)], obs)
    for top in tops:
        sums = -np.sort(-stored.dense().astype(np.float64), axis=1)[:, :top].sum(1)
        with np.errstate(invalid="ignore"):
            expected = sums / found.obs["total_counts"] * 100
        np.testing.assert_array_equal(found.obs[f"pct_counts_in_top_{top}_genes"], expected)
    assert_as_scanpy(found.var, var)


def test_metrics_without_more(dataset: slaf.Dataset) -> None:
    """By default shares of those numbers of genes that there are; logarithms can be left out."""
    found = dataset.qc_metrics(log1p=False)
    assert list(found.obs) == ["n_genes_by_counts", "total_counts"]
    assert list(dataset[:0].qc_metrics().var["total_counts"]) == [0.0] * dataset.n_vars


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mt": "^mito"}, "no id or symbol of a gene matches '\\^mito'; they are like 'ENSG0'"),
        ({"mt": "("}, "is no regular expression"),
        ({"mask": {"a": [True]}}, "the mask 'a' is not a boolean for each of 30 genes"),
        ({"var_mask": "gene_name"}, "no column 'gene_name' of booleans .* it has 'ribo'"),
        ({"percent_top": [31]}, "percent_top is \\[31\\], but there are 30 genes"),
        ({"layer": "x"}, "no layer 'x'; there are 'halves'"),
    ],
)
def test_metrics_that_are_refused(
    options: dict[str, Any], message: str, dataset: slaf.Dataset
) -> None:
    """A mask without genes and a column, layer or number that is none are refused."""
    with pytest.raises(SelectionError, match=message):
        dataset.qc_metrics(**options)


def test_shares_of_negative_values() -> None:
    """Shares of the greatest values need counts."""
    view = slaf.scan(anndata.AnnData(np.array([[-1.0, 2.0]])))
    with pytest.raises(SelectionError, match="values below zero"):
        view.qc_metrics(percent_top=[1])


def test_a_summary(dataset: slaf.Dataset) -> None:
    """The summary of all cells and of groups is that of pandas."""
    metrics = dataset.qc_metrics(mt="^MT-")
    expected = metrics.obs["pct_counts_mt"].describe()
    found = metrics.summary().loc["pct_counts_mt"]
    np.testing.assert_allclose(
        found[["n_cells", "q25", "mean", "max"]], expected[["count", "25%", "mean", "max"]]
    )
    by = metrics.summary(dataset.obs["kind"])
    assert by.index.get_level_values(0).unique().to_list() == ["b", "a"]
    chosen = metrics.obs.loc[dataset.obs["kind"] == "a", "total_counts"]
    assert by.loc[("a", "total_counts"), "median"] == chosen.median()


# --------------------------------------------------------------------------------------- aggregates


@pytest.mark.parametrize("layer", [None, "halves", "raw"])
@pytest.mark.parametrize("by", ["kind", ["kind", "donor"]])
def test_aggregates_of_scanpy(
    by: str | list[str], layer: str | None, dataset: slaf.Dataset, adata: anndata.AnnData
) -> None:
    """Aggregates are scanpy's, of any layer, for one column and for several."""
    names: Any = ("sum", "mean", "variance", "count_nonzero", "min", "max")
    columns = [by] if isinstance(by, str) else by
    used = adata[adata.obs[columns].notna().all(axis=1)].copy()
    if layer == "raw":
        used.X = used.raw.X
    expected = sc.get.aggregate(
        used,
        by,
        ["sum", "mean", "var", "count_nonzero"],
        layer=None if layer == "raw" else layer,
        dof=0,
    )
    dense = used.to_df(None if layer == "raw" else layer).groupby(
        [used.obs[name] for name in columns], observed=True
    )
    for view in (dataset, slaf.scan(adata)[np.arange(50)]):
        found = view.aggregate(by, names, layer=layer)
        found = found[found.obs_names.isin(expected.obs_names)]
        expected = expected[found.obs_names]
        assert found.var_names.equals(adata.var_names)
        for name in names[:4]:
            other = "var" if name == "variance" else name
            np.testing.assert_allclose(
                found.layers[name], expected.layers[other], rtol=1e-6, atol=1e-12
            )
        np.testing.assert_array_equal(found.layers["min"], dense.min())
        np.testing.assert_array_equal(found.layers["max"], dense.max())
        assert found.obs["n_cells"].to_list() == dense.size().to_list()
        np.testing.assert_array_equal(found.X, found.layers["sum"])


def test_cells_without_a_group(dataset: slaf.Dataset, caplog: pytest.LogCaptureFixture) -> None:
    """Cells without a label are in no group, and a warning counts them."""
    found = dataset.aggregate("donor")
    assert "8 cells without a group are left out" in caplog.text
    assert found.obs["n_cells"].sum() == 42
    assert dataset[:0].aggregate("donor").shape == (0, 30)


def test_aggregates_in_any_order(dataset: slaf.Dataset) -> None:
    """Aggregates of counts are the same for any order of cells, and one of all is the sum."""
    order = np.random.default_rng(1).permutation(dataset.n_obs)
    one, other = dataset.aggregate("kind"), dataset[order].aggregate("kind")
    assert one.X.tobytes() == other.X.tobytes()
    np.testing.assert_array_equal(one.X.sum(0), dataset.sum("cells"))


def test_a_column_named_twice(dataset: slaf.Dataset) -> None:
    """It makes the groups that it makes once."""
    once, twice = dataset.aggregate("kind"), dataset.aggregate(["kind", "kind"])
    pd.testing.assert_frame_equal(once.obs, twice.obs)
    np.testing.assert_array_equal(once.X, twice.X)


def test_groups_of_equal_names() -> None:
    """Groups whose labels join to the same text have different names."""
    obs = pd.DataFrame({"a": ["x_y", "x"], "b": ["z", "y_z"]}, index=["1", "2"])
    found = slaf.scan(anndata.AnnData(np.eye(2), obs)).aggregate(["a", "b"])
    assert found.obs_names.to_list() == ["x_y_z", "x_y_z-1"]
    assert found.obs[["a", "b"]].to_numpy().tolist() == [["x", "y_z"], ["x_y", "z"]]


def test_aggregates_of_a_union(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Cells whose input has not measured a gene are counted, and on request left out of means."""
    paths: list[Path] = []
    for at, genes in enumerate((["a", "b"], ["b", "c"])):
        obs = pd.DataFrame({"kind": ["k", "l"]}, index=[f"{at}-0", f"{at}-1"])
        values: NDArray[Any] = np.array([[2, 4], [6, 8]]) + at
        paths.append(tmp_path / f"{at}.h5ad")
        anndata.AnnData(sp.csr_matrix(values), obs, pd.DataFrame(index=genes)).write_h5ad(paths[-1])
    dataset = slaf.convert(paths, tmp_path / "out.slaf", join="union")
    found = dataset.aggregate("kind", "mean")
    assert found.X.tolist() == [[1, 3.5, 2.5], [3, 7.5, 4.5]]
    assert found.layers["n_measured"].tolist() == [[1, 2, 1], [1, 2, 1]]
    assert "4 of 6 numbers include zeros of genes" in caplog.text
    found = dataset.aggregate("kind", "mean", measured_only=True)
    assert found.X.tolist() == [[2, 3.5, 5], [6, 7.5, 9]]


def test_aggregates_that_are_refused(dataset: slaf.Dataset) -> None:
    """A column or a statistic that there is none of, and sums beyond 64 bits, are refused."""
    with pytest.raises(SelectionError, match="obs has no column 'x'; it has 'kind', 'donor'"):
        dataset.aggregate("x")
    with pytest.raises(SelectionError, match="no statistic 'median'; choose of sum, mean"):
        dataset.aggregate("kind", "median")  # type: ignore[arg-type]
    obs = pd.DataFrame({"kind": ["a", "a"]}, index=["1", "2"])
    large = anndata.AnnData(np.full((2, 1), 2**63 - 1), obs)
    with pytest.raises(InexactValue, match="do not hold the sum 18446744073709551614"):
        slaf.scan(large).aggregate("kind")


def test_groups_of_more_combinations_than_64_bits_number() -> None:
    """Cells that differ in one of many columns with many categories are of two groups."""
    categories = [str(at) for at in range(1 << 13)]
    names = ["a", "b", "c", "d", "e"]
    for differing in names:
        obs = pd.DataFrame(
            {
                name: pd.Categorical(
                    ["0", "4096" if name == differing else "0", None], categories=categories
                )
                for name in names
            },
            index=["x", "y", "z"],
        )
        view = slaf.scan(anndata.AnnData(np.ones((3, 2)), obs))
        assert view.aggregate(names).obs["n_cells"].tolist() == [1, 1]
        assert [group.obs_names.tolist() for group in view.groups(names).values()] == [["x"], ["y"]]
