"""slaf.report of real datasets: warnings, numbers, commands, damage, and what is written."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import slaf
from slaf.errors import OutputExists
from slaf.reports.html import SOURCES_DRAWN, as_html
from tests.builders import counts, write_h5ad
from tests.cli.terminal import run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two inputs of counts, with mitochondrial genes and a layer; and a dataset of both."""
    folder = tmp_path_factory.mktemp("report")
    for seed, name in enumerate(("one", "two")):
        matrix = counts(300, 30, seed=seed)
        path = write_h5ad(folder / f"{name}.h5ad", matrix, layers={"halves": matrix / 2})
        adata = anndata.read_h5ad(path)
        adata.obs_names = [f"{name}-{at}" for at in range(300)]
        adata.var_names = [f"mt-{at}" if at < 3 else f"gene-{at}" for at in range(30)]
        adata.write_h5ad(path)
    slaf.convert([folder / "one.h5ad", folder / "two.h5ad"], folder / "both.slaf")
    return folder


def kinds(made: slaf.DatasetReport) -> list[str]:
    """The kinds of its warnings."""
    return [warning.kind for warning in made.warnings]


def convert(folder: Path, matrix: Any) -> slaf.Dataset:
    """A dataset of a matrix."""
    adata = anndata.AnnData(sp.csr_matrix(np.asarray(matrix, np.float32)))
    return slaf.convert(adata, folder / "made.slaf")


# ---------------------------------------------------------------------------------------- contents


def test_the_numbers_are_those_of_the_inputs(folder: Path) -> None:
    """Medians, nonzeros, knee and greatest genes of each input equal what numpy computes."""
    made = slaf.report(folder / "both.slaf")
    everything = []
    for source, name in zip(made.sources, ("one", "two"), strict=True):
        x = anndata.read_h5ad(folder / f"{name}.h5ad").X.toarray()
        everything.append(x)
        total = x.sum(1)
        share = 100 * x[:, :3].sum(1)[total > 0] / total[total > 0]
        assert source.name == f"{name}.h5ad"
        assert (source.n_genes, source.nonzeros) == (30, int(np.count_nonzero(x)))
        assert source.metrics["total_counts"]["median"] == np.median(total)
        assert source.metrics["n_genes_by_counts"]["max"] == np.count_nonzero(x, axis=1).max()
        assert source.metrics["pct_counts_mt"]["mean"] == pytest.approx(share.mean(), rel=1e-6)
        ordered = np.sort(total)[::-1]
        assert len(source.knee) <= 200
        assert (source.knee[0][0], source.knee[-1][0]) == (1, int(np.count_nonzero(total)))
        assert all(ordered[rank - 1] == value for rank, value in source.knee)
    sums = np.concatenate(everything).sum(0)
    assert [gene.total for gene in made.genes] == sorted(sums, reverse=True)[:20]
    assert made.mt_genes == 3
    assert made.verification.state == "quick"
    config = json.loads((folder / "both.slaf" / "config.json").read_text())
    assert made.digest == config["digest"]


def test_bytes_are_those_on_disk(folder: Path) -> None:
    """The bytes of tables are those of their folders, and of columns those in their files."""
    dataset = slaf.open(folder / "both.slaf").annotate(obsm={"X_pca": np.ones((600, 3))})
    made = slaf.report(dataset)
    for table in made.tables:
        files = (folder / "both.slaf" / f"{table.name}.lance").rglob("*")
        assert table.bytes == sum(file.stat().st_size for file in files if file.is_file())
        columns = {column.name: column.bytes for column in table.columns}
        in_files = sum(fragment.bytes for fragment in table.fragments)
        assert 0.4 * in_files < sum(columns.values()) < in_files
        assert len(columns) == len(dataset.table(table.name).schema)
    assert "obsm X_pca" in made.annotations


def test_the_same_page_twice(folder: Path, tmp_path: Path) -> None:
    """A page has the same bytes when it is made again; names of layers are chosen by option."""
    pages = [tmp_path / "first.html", tmp_path / "second.html"]
    for page in pages:
        slaf.report(folder / "both.slaf", page)
    assert pages[0].read_bytes() == pages[1].read_bytes()
    of_layer = slaf.report(folder / "both.slaf", layer="halves")
    assert (of_layer.matrix, kinds(of_layer)[0]) == ("layer:halves", "fractional")
    assert slaf.report(folder / "both.slaf", mt="gene-1").mt_genes == 10
    with pytest.raises(slaf.SelectionError, match="no layer 'none'"):
        slaf.report(folder / "both.slaf", layer="none")


# ---------------------------------------------------------------------------------------- warnings


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[1, 0], [2, 3]], []),
        ([[-1, 0], [2, 3]], ["negative"]),
        ([[0.5, 0], [2, -1.5]], ["negative", "fractional"]),
        ([[np.nan, 1], [np.inf, 3]], ["not finite"]),
        ([[0, 0], [2, 3]], ["cells without counts"]),
        ([[0, 0], [0, 0]], ["empty"]),
        (np.zeros((0, 2)), ["empty"]),
        (np.zeros((2, 0)), ["empty"]),
        ([[600, 0], *[[1, 1]] * 3], ["raw droplets"]),
        ([[600, 0], *[[20, 1]] * 3], []),
    ],
)
def test_warnings_of_values(values: Any, expected: list[str], tmp_path: Path) -> None:
    """Each kind of values that is no usual count matrix has its warning, and a page."""
    made = slaf.report(convert(tmp_path, values), tmp_path / "page.html")
    assert kinds(made) == expected
    assert "<h2>Warnings</h2>" in (tmp_path / "page.html").read_text()


@pytest.mark.filterwarnings("ignore:.* names are not unique")
def test_warnings_of_ids_and_genes(tmp_path: Path) -> None:
    """Repeated ids are counted, and inputs that lack genes; without verification it says so."""
    first = anndata.AnnData(counts(4, 5), pd.DataFrame(index=list("aabc")))
    first.var_names = list("vwxyz")
    made = slaf.report(
        slaf.convert([first, first[:, :3].copy()], tmp_path / "a.slaf", join="union"), verify=False
    )
    assert kinds(made)[0] == "unverified"
    assert {"repeated ids", "not measured"} <= set(kinds(made))
    texts = {warning.kind: warning.text for warning in made.warnings}
    told = "cells with the id of another before them: 5; 3 in another input: --cell-id-prefix"
    assert told in texts["repeated ids"]
    assert texts["not measured"].startswith("1 of 2 inputs have not measured all 5 genes")


def test_counts_in_another_layer_are_named(tmp_path: Path) -> None:
    """If X is no counts, the warning names the layers and raw that are whole numbers."""
    adata = anndata.AnnData(counts(9, 4).log1p(), layers={"spliced": counts(9, 4)})
    adata.raw = anndata.AnnData(counts(9, 4))
    made = slaf.report(slaf.convert(adata, tmp_path / "a.slaf"))
    assert "whole numbers only are in spliced, raw: --layer" in made.warnings[0].text
    of_raw = slaf.report(tmp_path / "a.slaf", layer="raw")
    assert ("fractional" not in kinds(of_raw), of_raw.value_type) == (True, "uint16")


def test_a_damaged_dataset(tmp_path: Path) -> None:
    """Damage is the first warning, also if values cannot be read; the exit code is 5."""
    dataset = convert(tmp_path, counts(50, 9).toarray())
    (data,) = (tmp_path / "made.slaf" / "expression.lance" / "data").iterdir()
    whole = data.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"\0" * len(whole)):
        data.write_bytes(damaged)
        page = tmp_path / f"{len(damaged)}.html"
        made = slaf.report(dataset, page)
        assert kinds(made)[0] == "damaged"
        assert [source.n_genes for source in made.sources] == [9]
        assert 'class="bad"' in page.read_text()
    ended = run("report", tmp_path / "made.slaf", "--json")
    assert ended.code == 5
    assert ended.json["verification"]["state"] == "failed"


# --------------------------------------------------------------------------------------- repeating


@pytest.mark.parametrize(
    "options",
    [
        {"join": "union", "cell_id_prefix": True, "compression": "small", "by_gene": True},
        {"without": ("obs:batch", "uns"), "layers": "none", "raw": False, "create_indices": True}
        | {"matrix": "layer:halves", "string_ids": True},
    ],
)
def test_the_command_makes_it_again(options: Any, folder: Path, tmp_path: Path) -> None:
    """The shell command of a report makes an equal dataset of the same inputs."""
    names = [str(folder / "one.h5ad"), str(folder / "two.h5ad")]
    dataset = slaf.convert(names, tmp_path / "out put.slaf", **options)
    (command,) = slaf.report(dataset, verify=False).commands
    words = [
        str(tmp_path / word) if word == "again.slaf" else word for word in shlex.split(command)
    ]
    run(*words[1:]).succeeded()
    assert slaf.diff(dataset.location, tmp_path / "again.slaf").ok
    again = slaf.open(tmp_path / "again.slaf").published
    assert again.store_options == dataset.published.store_options
    assert again.tables == dataset.published.tables


def test_the_commands_of_an_append(folder: Path, tmp_path: Path) -> None:
    """Inputs that were read in another way are appended by a command of their own."""
    slaf.convert(folder / "one.h5ad", tmp_path / "a.slaf", layers="none")
    slaf.append(folder / "two.h5ad", tmp_path / "a.slaf", matrix="layer:halves")
    made = slaf.report(tmp_path / "a.slaf")
    assert [command.split()[1] for command in made.commands] == ["convert", "append"]
    assert made.left_behind[0] == "layers"
    for command in made.commands:
        words = shlex.split(command.replace("again.slaf", str(tmp_path / "b.slaf")))
        run(*words[1:]).succeeded()
    assert slaf.diff(tmp_path / "a.slaf", tmp_path / "b.slaf").ok


def test_the_lines_of_a_transformation(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines of Python of a report repeat the steps with the numbers that were computed."""
    monkeypatch.chdir(tmp_path)
    names = [folder / "one.h5ad", folder / "two.h5ad"]
    dataset = slaf.transform(
        names, "a.slaf", min_genes=3, mad={"counts": 5}, normalize_total="median", log1p=True
    )
    assert isinstance(dataset, slaf.Dataset)
    made = slaf.report(dataset)
    assert kinds(made) == ["fractional"]
    assert "normalize_total, log1p" in made.warnings[0].text
    page = as_html(made)
    for step in made.steps:
        assert step.before
        assert step.after
        assert f"<tr><td>{step.name}<td>{step.before[0]:,}<td>{step.after[0]:,}" in page
    exec("\n".join(made.commands), {})  # noqa: S102 - the lines of the report
    assert slaf.diff("a.slaf", "again.slaf").ok


# ----------------------------------------------------------------------------------------- outputs


def test_only_a_page_is_replaced(folder: Path, tmp_path: Path) -> None:
    """A file is not replaced without overwrite, and one that is no page never."""
    page, other = tmp_path / "new" / "page.html", tmp_path / "other.html"
    slaf.report(folder / "both.slaf", page)
    other.write_text("mine")
    with pytest.raises(OutputExists, match="--overwrite replaces a page"):
        slaf.report(folder / "both.slaf", page)
    with pytest.raises(OutputExists, match="is no page of a report"):
        slaf.report(folder / "both.slaf", other, overwrite=True)
    slaf.report(folder / "both.slaf", page, verify=False, overwrite=True)
    assert "unverified" in page.read_text()
    assert other.read_text() == "mine"


def test_files_for_multiqc(tmp_path: Path) -> None:
    """Each section is a file that MultiQC finds by name, with the sources as samples."""
    adata = anndata.AnnData(counts(20, 5))
    adata.write_h5ad(tmp_path / "<b>&.h5ad")
    slaf.convert([tmp_path / "<b>&.h5ad"] * 2, tmp_path / "a.slaf", allow_duplicate=True)
    made = slaf.report(tmp_path / "a.slaf", multiqc=tmp_path / "deep" / "mqc")
    found = {
        path.name: json.loads(path.read_text()) for path in (tmp_path / "deep" / "mqc").iterdir()
    }
    assert set(found) == {"a.slaf_slaf_sources_mqc.json", "a.slaf_slaf_knee_mqc.json"}
    table = found["a.slaf_slaf_sources_mqc.json"]["data"]
    assert list(table) == ["a _b__.h5ad", "a _b__.h5ad (2)"]
    assert table["a _b__.h5ad"]["cells"] == 20
    curves = found["a.slaf_slaf_knee_mqc.json"]["data"]
    assert [tuple(pair) for pair in curves["a _b__.h5ad"]] == list(made.sources[0].knee)
    assert len(curves) <= SOURCES_DRAWN
    slaf.convert(adata, tmp_path / "b.slaf")
    slaf.report(tmp_path / "b.slaf", multiqc=tmp_path / "deep" / "mqc")
    other = json.loads((tmp_path / "deep" / "mqc" / "b.slaf_slaf_sources_mqc.json").read_text())
    assert list(other["data"]) == ["b"]


def test_the_command(folder: Path, tmp_path: Path) -> None:
    """The command writes what the library does, prints the warnings, and says what it needs."""
    page = tmp_path / "page.html"
    words = ("report", folder / "both.slaf", "-o", page, "--layer", "halves", "--no-verify")
    printed = run(*words).succeeded().out
    assert "fractional: the values are not counts: " in printed
    assert "unverified: " in printed
    slaf.report(folder / "both.slaf", tmp_path / "same.html", layer="halves", verify=False)
    assert page.read_bytes() == (tmp_path / "same.html").read_bytes()
    found = run("report", folder / "both.slaf", "--json", "--mt", "gene-12$").succeeded().json
    assert (found["mt_genes"], len(found["sources"])) == (1, 2)
    assert run("report", folder / "both.slaf").code == 2
    assert run(*words).code == 4
    run(*words, "--overwrite", "--multiqc", tmp_path / "mqc", "-q").succeeded()
    assert len(list((tmp_path / "mqc").iterdir())) == 2
