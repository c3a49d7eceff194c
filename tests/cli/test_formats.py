"""`slaf formats`, and `slaf info` of several inputs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd

import slaf
from slaf import sources, targets
from tests.cli.terminal import run

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_formats_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every format is listed once, with what it does; a missing package with its extra."""
    monkeypatch.setitem(sys.modules, "tiledbsoma", None)
    found = {one["name"]: one for one in run("formats", "--json").succeeded().json["formats"]}
    assert {name for name, one in found.items() if one["reads"]} == {
        one.name for one in sources.FORMATS
    }
    assert {name for name, one in found.items() if one["writes"]} == {
        *(one.name for one in targets.FORMATS),
        "slaf",
    }
    assert found["tiledb"]["missing"] == {"tiledbsoma": "pip install 'slaf[soma]'"}
    assert found["h5ad"]["missing"] == {}
    printed = run("formats").succeeded().out.splitlines()
    assert len(printed) == len(found)
    line = next(line for line in printed if line.startswith("tiledb "))
    assert line.endswith("; needs tiledbsoma: pip install 'slaf[soma]'")


def test_genes_in_common(dataset: Path, tmp_path: Path) -> None:
    """Of several inputs the shared genes and Jaccard indices are printed, with each description."""
    var = pd.DataFrame(index=["gene-1", "gene-2", "other"])
    anndata.AnnData(np.eye(3), var=var).write_h5ad(tmp_path / "b.h5ad")
    anndata.AnnData(np.zeros((2, 0))).write_h5ad(tmp_path / "c.h5ad")
    inputs = [dataset, tmp_path / "b.h5ad", tmp_path / "c.h5ad"]
    found = run("info", *inputs, "--json").succeeded().json
    assert [one["kind"] for one in found["described"]] == ["dataset", "input", "input"]
    assert found["genes"] == {
        "n_genes": [20, 3, 0],
        "shared": [[20, 2, 0], [2, 3, 0], [0, 0, 0]],
        "jaccard": [[1, 2 / 21, 0], [2 / 21, 1, 0], [0, 0, None]],
        "in_all": 0,
        "in_any": 21,
    }
    printed = run("info", *inputs).succeeded().out
    assert f"{dataset} and {inputs[1]}: 2 shared, Jaccard 0.0952" in printed
    overlap = slaf.gene_overlap([slaf.open(dataset)[:, :4], dataset])
    assert overlap.jaccard.iloc[0, 1] == 0.2
    assert slaf.gene_overlap([inputs[2]]).jaccard.isna().all(axis=None)
    assert slaf.gene_overlap([]).in_any == 0
