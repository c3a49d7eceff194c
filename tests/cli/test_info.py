"""`slaf info`: one screen about a dataset or an input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
import scipy.sparse as sp

import slaf
from slaf_cli.report import ExitCode
from tests.builders import counts, write_h5ad
from tests.cli.terminal import run, stop_after

if TYPE_CHECKING:
    from pathlib import Path

INPUT_KEYS = {
    *("kind", "location", "format", "matrix", "n_cells", "n_genes", "dtype", "size", "matrices"),
    *("obs", "var", "annotations", "not_converted", "details", "left_out"),
}


def test_a_dataset_is_described_on_one_screen(dataset: Path, source: Path) -> None:
    """Shape, values, bytes, sources, tables and columns stand on a line each."""
    printed = run("info", dataset).succeeded().out
    assert len(printed.splitlines()) <= 24
    assert "annotations  layers halves (float32)" in printed.splitlines()
    for line in (
        f"dataset      {dataset}",
        "shape        60 cells × 20 genes",
        f"sources      {source} (h5ad, X, float32, 60 cells)",
        "obs          batch (category), depth (float64)",
        "var          length (int64)",
    ):
        assert line in printed.splitlines()
    assert f"nonzeros     {slaf.open(dataset).nnz:,} (" in printed
    assert "values       uint16, least 1, greatest 9, mean " in printed


def test_bytes_of_a_nonzero_are_those_of_its_table(dataset: Path) -> None:
    """The bytes of a nonzero are those of `expression`, not of layers and ids as well."""
    found = slaf.info(dataset)
    assert isinstance(found, slaf.DatasetInfo)
    each = found.tables["expression"].bytes / found.nonzeros
    printed = run("info", dataset).succeeded().out
    assert f"{found.bytes:,} on disk; {each:.4g} a nonzero in expression\n" in printed


def test_json_is_what_the_library_gives(dataset: Path) -> None:
    """--json prints the fields of `slaf.info`, with bytes that add up."""
    found = run("info", dataset, "--json").succeeded().json
    described = slaf.info(dataset)
    assert isinstance(described, slaf.DatasetInfo)
    assert found["kind"] == "dataset"
    assert found["nonzeros"] == described.nonzeros == slaf.open(dataset).nnz
    assert found["density"] == described.nonzeros / (60 * 20)
    config = (dataset / "config.json").stat().st_size
    assert found["bytes"] == config + sum(t["bytes"] for t in found["tables"].values())
    assert found["statistics"].keys() == {
        *("min_value", "max_value", "mean_value", "std_value"),
        *("finite_count", "squares"),
    }
    assert found["sources"][0]["identity"].keys() == {"size", "mtime_ns", "sample"}


def test_an_input_is_described(source: Path) -> None:
    """Format, matrices, columns and content that is not converted are printed for an input."""
    printed = run("info", source, "--matrix", "layer:halves").succeeded().out.splitlines()
    for line in (
        "format         h5ad",
        "matrix         layer:halves (of X, layer:halves)",
        "shape          60 cells × 20 genes",
        "obs            batch (category), depth (float64)",
        "annotations    layers (X)",
        "not converted  nothing",
    ):
        assert line in printed


def test_json_of_an_input(source: Path) -> None:
    """--json has all of it, with the documented keys."""
    found = run("info", source, "--json").succeeded().json
    assert found.keys() == INPUT_KEYS
    assert found["kind"] == "input"
    assert found["size"]["layout"] == "CSR"
    assert found["size"]["exact"] is True
    assert found["annotations"] == ["layers (halves)"]
    assert found["not_converted"] == []


@pytest.mark.parametrize(
    ("layout", "exact"), [("CSR", True), ("CSC", True), ("dense", False)], ids=str
)
def test_layouts_are_told_apart(layout: str, exact: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """Entries are counted where the file counts them, and estimated where it is dense."""
    matrix = counts(30, 10)
    made = {"CSR": matrix, "CSC": sp.csc_matrix(matrix), "dense": matrix.toarray()}[layout]
    found = run("info", write_h5ad(tmp_path / "in.h5ad", made), "--json").succeeded().json
    assert found["size"]["layout"] == layout
    assert found["size"]["exact"] is exact
    # The first cells, which the estimate goes by, are all there are.
    assert found["size"]["entries"] == matrix.nnz
    assert found["size"]["scratch"] == (8 * matrix.nnz if layout == "CSC" else 0)


def test_many_columns_are_cut_short(tmp_path: Path) -> None:
    """Beyond a dozen columns the screen says how many more there are; --json lists them."""
    source = write_h5ad(tmp_path / "in.h5ad", counts(5, 3))
    with h5py.File(source, "r+") as file:
        names = [f"score_{number}" for number in range(20)]
        file["obs"].attrs["column-order"] = names
        for name in names:
            values = file["obs"].create_dataset(name, data=np.zeros(5))
            values.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    assert "and 8 more (--json lists them)" in run("info", source).succeeded().out
    assert list(run("info", source, "--json").succeeded().json["obs"]) == names


def test_places_without_anything_end_with_3(tmp_path: Path) -> None:
    """Nothing, an empty directory and a file of no format are refused with different messages."""
    text = tmp_path / "notes.doc"
    text.write_text("notes")
    missing = run("info", tmp_path / "none").failed(ExitCode.BAD_INPUT)
    assert "there is no such file or directory" in missing
    assert "no known format" in run("info", text).failed(ExitCode.BAD_INPUT)


def test_an_unfinished_conversion_ends_with_3(source: Path, tmp_path: Path) -> None:
    """Where a conversion is unfinished it says how far it is, not what it holds."""
    output = tmp_path / "out.slaf"
    stop_after(20, source, output, chunk_size=10)
    paragraph = run("info", output).failed(ExitCode.BAD_INPUT)
    assert "conversion in progress, 2 of 6 parts" in paragraph


def test_a_damaged_config_ends_with_3(source: Path, tmp_path: Path) -> None:
    """A config.json that is cut short is named."""
    output = tmp_path / "out.slaf"
    slaf.convert(source, output)
    config = output / "config.json"
    config.write_bytes(config.read_bytes()[:100])
    assert "config.json is not JSON" in run("info", output).failed(ExitCode.BAD_INPUT)
