"""`slaf qc` and `slaf aggregate`: what the library computes, on the command line."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np

import slaf
from slaf_cli.report import ExitCode
from tests.cli.terminal import run

if TYPE_CHECKING:
    from pathlib import Path


def test_a_summary_in_json(dataset: Path, source: Path) -> None:
    """--json prints the summary of the library, of a dataset, of an input and of groups."""
    words = ("--mask", "ones=gene-1", "--percent-top", "5", "--by", "batch", "--json")
    found = run("qc", dataset, *words).succeeded().json
    assert found == run("qc", source, *words).succeeded().json
    metrics = slaf.open(dataset).qc_metrics(mask={"ones": "gene-1"}, percent_top=[5])
    expected = metrics.summary().to_dict(orient="index")
    assert found["metrics"] == expected
    assert list(expected) == [
        *("n_genes_by_counts", "total_counts", "pct_counts_in_top_5_genes"),
        *("total_counts_ones", "pct_counts_ones"),
    ]
    assert (found["n_cells"], found["n_genes"], list(found["groups"])) == (
        60,
        20,
        ["b0", "b1", "b2"],
    )
    groups = metrics.summary(slaf.open(dataset).obs["batch"])
    one: Any = groups.loc["b1"]
    assert found["groups"]["b1"] == one.to_dict(orient="index")


def test_a_summary_as_text(dataset: Path) -> None:
    """The summary is a table with a row for each metric, of a layer and of groups too."""
    printed = run("qc", dataset, "--mt", "gene-1", "--layer", "halves").succeeded().out
    assert printed.splitlines()[0] == "60 cells × 20 genes"
    assert [line.split()[0] for line in printed.splitlines()[3:]] == [
        *("n_genes_by_counts", "total_counts", "total_counts_mt", "pct_counts_mt"),
    ]
    assert "b2" in run("qc", dataset, "--by", "batch").succeeded().out


def test_metrics_are_written(dataset: Path, tmp_path: Path) -> None:
    """--write adds the metrics to obs and var; other values are replaced on request only."""
    copy = shutil.copytree(dataset, tmp_path / "copy.slaf")
    assert run("qc", copy, "--write", "--var-mask", "x").code == ExitCode.BAD_INPUT
    run("qc", copy, "--write").succeeded()
    opened = slaf.open(copy)
    expected = opened.qc_metrics()
    for frame, found in ((expected.obs, opened.obs), (expected.var, opened.var)):
        for name in frame:
            np.testing.assert_array_equal(found[name], frame[name])
    assert run("qc", copy, "--write", "--layer", "halves").code == ExitCode.BAD_INPUT
    run("qc", copy, "--write", "--layer", "halves", "--replace").succeeded()
    total = slaf.open(copy).obs["total_counts"]
    np.testing.assert_array_equal(total, expected.obs["total_counts"] / 2)
    assert slaf.verify(copy).ok


def test_options_that_are_none(dataset: Path) -> None:
    """A list that is none, and --replace without --write, are refused."""
    assert run("qc", dataset, "--percent-top", "a").code == ExitCode.USAGE
    assert run("qc", dataset, "--replace").code == ExitCode.USAGE
    assert run("qc", dataset, "--mt", "nothing").code == ExitCode.BAD_INPUT


def test_aggregates_are_written(dataset: Path, source: Path, tmp_path: Path) -> None:
    """Aggregates of a dataset or an input become a file or a dataset, by the name of the output."""
    words = ("--by", "batch", "--func", "mean,count_nonzero", "--layer", "halves")
    expected = slaf.open(dataset).aggregate("batch", ["mean", "count_nonzero"], layer="halves")
    found = run("aggregate", dataset, tmp_path / "a.h5ad", *words, "--json").succeeded().json
    assert (found["format"], found["n_groups"], found["n_genes"]) == ("h5ad", 3, 20)
    run("aggregate", source, tmp_path / "a.slaf", *words).succeeded()
    for made in (
        anndata.read_h5ad(tmp_path / "a.h5ad"),
        slaf.open(tmp_path / "a.slaf").to_anndata(),
    ):
        for name in ("mean", "count_nonzero"):
            layer = made.layers[name]
            np.testing.assert_array_equal(layer.toarray(), expected.layers[name])
        assert made.obs["n_cells"].to_list() == [20, 20, 20]
        assert made.obs["batch"].to_list() == ["b0", "b1", "b2"]
    assert run("aggregate", source, tmp_path / "a.slaf", *words).code == ExitCode.CONFLICT
    run("aggregate", source, tmp_path / "a.slaf", *words, "--overwrite").succeeded()


def test_columns_and_statistics_may_be_given_several_times(dataset: Path, tmp_path: Path) -> None:
    """--by and --func, given twice, are those of one list: neither is lost."""
    words = ("--by", "batch", "--by", "depth", "--func", "sum", "--func", "mean")
    run("aggregate", dataset, tmp_path / "a.h5ad", *words).succeeded()
    made = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert {"batch", "depth"} <= set(made.obs)
    assert set(made.layers) == {"sum", "mean"}


def test_an_aggregate_with_its_other_options(dataset: Path, tmp_path: Path) -> None:
    """--ddof and --measured-only are those of the library."""
    words = ("--by", "batch", "--func", "variance", "--ddof", "1", "--measured-only")
    run("aggregate", dataset, tmp_path / "a.h5ad", *words).succeeded()
    expected = slaf.open(dataset).aggregate("batch", "variance", ddof=1)
    np.testing.assert_array_equal(anndata.read_h5ad(tmp_path / "a.h5ad").X.toarray(), expected.X)
