"""`slaf transform`, run as a program."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata

import slaf
from slaf_cli.report import ExitCode
from tests.cli.terminal import run

if TYPE_CHECKING:
    from pathlib import Path


def test_a_dataset_is_made(source: Path, tmp_path: Path) -> None:
    """The summary is that of a conversion, and the options are recorded with their numbers."""
    words = ["--min-genes", "3", "--mad", "counts=4", "--log1p", "--normalize-total", "median"]
    words += ["--as-layer", "log", "--json"]
    ran = run("transform", source, tmp_path / "out.slaf", *words).succeeded()
    assert ran.json["n_cells"] > 0
    made = slaf.open(tmp_path / "out.slaf")
    assert [step.name for step in made.published.transforms] == [
        *("filter_cells", "normalize_total", "log1p")
    ]
    assert slaf.verify(made, source).ok


def test_a_dry_run(dataset: Path, tmp_path: Path) -> None:
    """A line for each rule, and one for the result; nothing is written."""
    words = (
        "transform",
        dataset,
        tmp_path / "out.h5ad",
        "--min-genes",
        "3",
        "--min-cells",
        "13",
        "--dry-run",
    )
    lines = run(*words).succeeded().out.splitlines()
    assert lines[0].startswith("filter_cells: min_genes 3 removes ")
    assert lines[1].startswith("filter_genes: min_cells 13 removes ")
    assert lines[1].endswith("genes")
    assert "of 60 cells × " in lines[2]
    assert run(*words, "--json").succeeded().json["rules"][0]["step"] == "filter_cells"
    assert not list(tmp_path.iterdir())


def test_an_export(dataset: Path, tmp_path: Path) -> None:
    """The suffix decides; what was written is summed up."""
    words = ("--sort-by", "batch", "--first", "b1")
    ran = run("transform", dataset, tmp_path / "out.h5ad", *words).succeeded()
    assert "60 cells × 20 genes (h5ad)" in ran.out
    assert anndata.read_h5ad(tmp_path / "out.h5ad").obs["batch"].iloc[0] == "b1"


def test_a_wrong_call(source: Path, tmp_path: Path) -> None:
    """It ends with 2 and names the option; an output that is the input ends with 4."""
    out = tmp_path / "out.slaf"
    ran = run("transform", source, out, "--first", "NTC")
    assert (ran.code, "none of sort_by" in ran.err) == (ExitCode.USAGE, True)
    assert run("transform", source, out, "--max-pct", "mt=x").code == ExitCode.USAGE
    run("transform", source, source, "--log1p").failed(ExitCode.CONFLICT)
